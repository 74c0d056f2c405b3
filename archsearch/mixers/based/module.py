"""Taylor linear attention. Axes: B batch, L length, D width, H heads, E head, T features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archsearch.mixers._module import wide
from archsearch.mixers._recurrent import RecurrentMixer, Streams, heads, merged
from archsearch.mixers.base import MixerContext
from archsearch.mixers.based.spec import Based


def taylor_features(x_BHLE: Tensor) -> Tensor:
    """The map phi with phi(q) . phi(k) = 1 + s + s^2/2, s = q . k / sqrt(f) (2402.18668, 4.1)."""
    width = x_BHLE.shape[-1]
    x = x_BHLE / width**0.25
    row, column = torch.triu_indices(width, width, device=x.device)
    # x_a x_b and x_b x_a share one feature, which therefore weighs sqrt 2 times as much
    weight_T = x.new_ones(row.shape).masked_fill(row == column, 0.5**0.5)
    second = x.index_select(-1, row) * x.index_select(-1, column) * weight_T
    return torch.cat((torch.ones_like(x[..., :1]), x, second), dim=-1)


class BasedModule(RecurrentMixer):
    """See ``spec.Based``."""

    def __init__(self, spec: Based, context: MixerContext) -> None:
        super().__init__(spec, context)
        self.num_heads = spec.num_heads
        width, key_width = context.d_model, spec.num_heads * spec.feature_dim
        self.query_key = nn.Linear(width, 2 * key_width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        self.state_shape = (spec.num_heads, spec.features, width // spec.num_heads + 1)

    def streams(self, x_BLD: Tensor, position_L: Tensor) -> Streams:
        q, k = (heads(x, self.num_heads) for x in wide(self.query_key(x_BLD)).chunk(2, dim=-1))
        v = heads(wide(self.value(x_BLD)), self.num_heads)
        # the sum of weights rides along as one more value
        with_ones = torch.cat((v, torch.ones_like(v[..., :1])), dim=-1)
        return Streams(taylor_features(q), taylor_features(k), with_ones)

    def finish(self, y_BHLV: Tensor, x_BLD: Tensor) -> Tensor:
        # every weight is at least 1/2, so the sum of weights is too
        y = y_BHLV[..., :-1] / y_BHLV[..., -1:].clamp_min(0.5)
        return self.output(merged(y).to(x_BLD.dtype))


MODULE = BasedModule

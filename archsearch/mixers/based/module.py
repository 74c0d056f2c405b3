"""Taylor linear attention. Axes: B batch, L length, D width, H heads, E head, T features."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from archsearch.mixers._linear_attention import dense_linear_attention, linear_attention
from archsearch.mixers._module import SequenceMixer
from archsearch.mixers.base import MixerContext
from archsearch.mixers.based.spec import Based

LinearAttention = Callable[[Tensor, Tensor, Tensor], Tensor]


def taylor_features(x_BHLE: Tensor) -> Tensor:
    """The map phi with phi(q) . phi(k) = 1 + s + s^2/2, s = q . k / sqrt(f) (2402.18668, 4.1)."""
    width = x_BHLE.shape[-1]
    x = x_BHLE / width**0.25
    row, column = torch.triu_indices(width, width, device=x.device)
    # x_a x_b and x_b x_a share one feature, which therefore weighs sqrt 2 times as much
    weight_T = torch.where(row == column, 0.5**0.5, 1.0).to(x.dtype)
    second = x.index_select(-1, row) * x.index_select(-1, column) * weight_T
    return torch.cat((torch.ones_like(x[..., :1]), x, second), dim=-1)


class BasedModule(SequenceMixer):
    """See ``spec.Based``."""

    def __init__(self, spec: Based, context: MixerContext) -> None:
        super().__init__(spec, context)
        self.num_heads = spec.num_heads
        width, key_width = context.d_model, spec.num_heads * spec.feature_dim
        self.query_key = nn.Linear(width, 2 * key_width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.output = nn.Linear(width, width, bias=False)

    def forward(self, x_BLD: Tensor) -> Tensor:
        return self._mix(x_BLD, linear_attention)

    def reference(self, x_BLD: Tensor) -> Tensor:
        return self._mix(x_BLD, dense_linear_attention)

    def _mix(self, x_BLD: Tensor, attention: LinearAttention) -> Tensor:
        q, k = (self._split(x) for x in self.query_key(x_BLD).chunk(2, dim=-1))
        v = self._split(self.value(x_BLD))
        # sums over the whole past lose the small terms in half precision
        with torch.autocast(x_BLD.device.type, enabled=False):
            wide = torch.promote_types(v.dtype, torch.float32)
            q, k, v = q.to(wide), k.to(wide), v.to(wide)
            with_ones = torch.cat((v, torch.ones_like(v[..., :1])), dim=-1)
            y = attention(taylor_features(q), taylor_features(k), with_ones)
            # every weight is at least 1/2, so the sum of weights is too
            y = y[..., :-1] / y[..., -1:].clamp_min(0.5)
        return self.output(y.to(x_BLD.dtype).transpose(1, 2).flatten(2))

    def _split(self, x_BLD: Tensor) -> Tensor:
        return x_BLD.reshape(*x_BLD.shape[:2], self.num_heads, -1).transpose(1, 2)


MODULE = BasedModule

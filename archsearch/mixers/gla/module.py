"""Gated linear attention. Axes: B batch, L length, D width, H heads, E keys, V values."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archsearch.mixers._module import wide
from archsearch.mixers._recurrent import RecurrentMixer, Streams, heads, merged, unit
from archsearch.mixers.base import MixerContext
from archsearch.mixers.gla.spec import RANK, GatedLinearAttention


class GatedLinearAttentionModule(RecurrentMixer):
    """See ``spec.GatedLinearAttention``."""

    per_channel = True

    def __init__(self, spec: GatedLinearAttention, context: MixerContext) -> None:
        super().__init__(spec, context)
        width = context.d_model
        self.num_heads, self.gate_divisor = spec.num_heads, spec.gate_divisor
        self.state_shape = (spec.num_heads, *spec.widths(width))
        self.query_key_value = nn.Linear(width, 2 * width, bias=False)
        self.decay = nn.Sequential(
            nn.Linear(width, RANK, bias=False), nn.Linear(RANK, width // 2, bias=True)
        )
        self.gate = nn.Linear(width, width, bias=False)
        self.output = nn.Linear(width, width, bias=False)

    def streams(self, x_BLD: Tensor, position_L: Tensor) -> Streams:
        width = self.context.d_model
        sizes = [width // 2, width // 2, width]
        parts = torch.split(wide(self.query_key_value(x_BLD)), sizes, dim=-1)
        q, k, v = (heads(x, self.num_heads) for x in parts)
        log_decay = F.logsigmoid(wide(self.decay(x_BLD))) / self.gate_divisor
        return Streams(q * q.shape[-1] ** -0.5, k, v, heads(log_decay, self.num_heads))

    def finish(self, y_BHLV: Tensor, x_BLD: Tensor) -> Tensor:
        gated = F.silu(self.gate(x_BLD)) * merged(unit(y_BHLV))
        return self.output(gated.to(x_BLD.dtype))


MODULE = GatedLinearAttentionModule

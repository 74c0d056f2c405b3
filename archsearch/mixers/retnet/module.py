"""Retention. Axes: B batch, L length, D width, H heads, E keys, V values."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archsearch.mixers._attention import rotate
from archsearch.mixers._module import wide
from archsearch.mixers._recurrent import RecurrentMixer, Streams, heads, merged, turns, unit
from archsearch.mixers.base import MixerContext
from archsearch.mixers.retnet.spec import RetNet


class RetNetModule(RecurrentMixer):
    """See ``spec.RetNet``."""

    positional = True
    log_decay: Tensor

    def __init__(self, spec: RetNet, context: MixerContext) -> None:
        super().__init__(spec, context)
        width = context.d_model
        self.num_heads, self.value_width = spec.num_heads, spec.expand_value * width
        self.state_shape = (spec.num_heads, *spec.widths(width))
        self.query_key_value = nn.Linear(width, 2 * width + self.value_width, bias=False)
        self.gate = nn.Linear(width, self.value_width, bias=False)
        self.output = nn.Linear(self.value_width, width, bias=False)
        log_decay = [math.log1p(-(2.0 ** (-5 - h))) for h in range(spec.num_heads)]
        decays = torch.tensor(log_decay, dtype=torch.float64)
        self.register_buffer("log_decay", decays, persistent=False)

    def streams(self, x_BLD: Tensor, position_L: Tensor) -> Streams:
        width = self.context.d_model
        sizes = [width, width, self.value_width]
        parts = torch.split(wide(self.query_key_value(x_BLD)), sizes, dim=-1)
        q, k, v = (heads(x, self.num_heads) for x in parts)
        head_width = q.shape[-1]
        cos, sin = turns(position_L, head_width // 2, head_width, q)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        decay = self.log_decay.to(q.dtype)[None, :, None, None]
        return Streams(q * head_width**-0.5, k, v, decay)

    def finish(self, y_BHLV: Tensor, x_BLD: Tensor) -> Tensor:
        gated = F.silu(self.gate(x_BLD)) * merged(unit(y_BHLV))
        return self.output(gated.to(x_BLD.dtype))


MODULE = RetNetModule

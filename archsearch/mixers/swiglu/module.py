"""Gated linear unit with SiLU."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from archsearch.mixers._module import ChannelMixer
from archsearch.mixers.base import MixerContext
from archsearch.mixers.swiglu.spec import SwiGLU


class SwiGLUModule(ChannelMixer):
    """See ``spec.SwiGLU``."""

    def __init__(self, spec: SwiGLU, context: MixerContext) -> None:
        super().__init__(spec, context)
        hidden = spec.hidden(context.d_model)
        self.gate_value = nn.Linear(context.d_model, 2 * hidden, bias=False)
        self.output = nn.Linear(hidden, context.d_model, bias=False)

    def forward(self, x_BLD: Tensor) -> Tensor:
        gate, value = self.gate_value(x_BLD).chunk(2, dim=-1)
        return self.output(F.silu(gate) * value)


MODULE = SwiGLUModule

"""Gated linear unit with GELU."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from archsearch.mixers._module import ChannelMixer
from archsearch.mixers.base import MixerContext
from archsearch.mixers.glu.spec import GLU


class GLUModule(ChannelMixer):
    """See ``spec.GLU``."""

    def __init__(self, spec: GLU, context: MixerContext) -> None:
        super().__init__(spec, context)
        hidden = spec.hidden(context.d_model)
        self.value_gate = nn.Linear(context.d_model, 2 * hidden)
        self.output = nn.Linear(hidden, context.d_model)

    def forward(self, x_BLD: Tensor) -> Tensor:
        value, gate = self.value_gate(x_BLD).chunk(2, dim=-1)
        return self.output(value * F.gelu(gate))


MODULE = GLUModule

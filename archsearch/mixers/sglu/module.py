"""Gated linear unit without activation."""

from __future__ import annotations

from torch import Tensor, nn

from archsearch.mixers._module import ChannelMixer
from archsearch.mixers.base import MixerContext
from archsearch.mixers.sglu.spec import SGLU


class SGLUModule(ChannelMixer):
    """See ``spec.SGLU``."""

    def __init__(self, spec: SGLU, context: MixerContext) -> None:
        super().__init__(spec, context)
        hidden = spec.hidden(context.d_model)
        self.values = nn.Linear(context.d_model, 2 * hidden, bias=False)
        self.output = nn.Linear(hidden, context.d_model, bias=False)

    def forward(self, x_BLD: Tensor) -> Tensor:
        first, second = self.values(x_BLD).chunk(2, dim=-1)
        return self.output(first * second)


MODULE = SGLUModule

"""Two-layer perceptron with GELU."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from archsearch.mixers._module import ChannelMixer
from archsearch.mixers.base import MixerContext
from archsearch.mixers.mlp.spec import MLP


class MLPModule(ChannelMixer):
    """See ``spec.MLP``."""

    def __init__(self, spec: MLP, context: MixerContext) -> None:
        super().__init__(spec, context)
        hidden = spec.hidden(context.d_model)
        self.widen = nn.Linear(context.d_model, hidden)
        self.output = nn.Linear(hidden, context.d_model)

    def forward(self, x_BLD: Tensor) -> Tensor:
        return self.output(F.gelu(self.widen(x_BLD)))


MODULE = MLPModule

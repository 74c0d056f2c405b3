"""Stands for a skipped channel mixer; the model never calls it."""

from __future__ import annotations

import torch
from torch import Tensor

from archsearch.mixers._module import ChannelMixer


class NoMixerModule(ChannelMixer):
    """See ``spec.NoMixer``."""

    def forward(self, x_BLD: Tensor) -> Tensor:
        return torch.zeros_like(x_BLD)


MODULE = NoMixerModule

"""What runs: base classes of sequence and channel mixers. Axes: B batch, L length, D width."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from archsearch.mixers.base import MixerContext, MixerSpec


class SequenceMixer(nn.Module):
    """Maps x of shape (B, L, D) to y of the same shape, causally; owns no residual and no norm.

    Attributes:
        penalty: An auxiliary loss left by the last forward pass in training mode, or None.
    """

    penalty: Tensor | None = None

    def __init__(self, spec: MixerSpec, context: MixerContext) -> None:
        super().__init__()
        self.context = context

    @abstractmethod
    def forward(self, x_BLD: Tensor) -> Tensor:
        """The fast form."""

    @abstractmethod
    def reference(self, x_BLD: Tensor) -> Tensor:
        """The plain dense or step-by-step form of the same function, for tests."""

    def initialise(self, generator: torch.Generator) -> None:
        """Draws what the model's general rule (see ``model.initialise``) does not cover."""


class ChannelMixer(nn.Module):
    """Maps each position of x (B, L, D) on its own; owns no residual and no norm."""

    def __init__(self, spec: MixerSpec, context: MixerContext) -> None:
        super().__init__()
        self.context = context

    @abstractmethod
    def forward(self, x_BLD: Tensor) -> Tensor:
        """The channel map."""

    def initialise(self, generator: torch.Generator) -> None:
        """Draws what the model's general rule does not cover."""

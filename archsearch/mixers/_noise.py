"""Noise in training that goes on after a checkpoint as if there had been none."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn


class Noise(nn.Module):
    """Random generators, one after the other; the k-th is a function of a seed and k alone.

    Both are buffers and thus part of every checkpoint. Not for code that is run again for its
    gradients: that would take the next generator.

    Attributes:
        seed: Drawn by ``initialise``.
        count: Generators handed out so far.
    """

    seed: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seed", torch.zeros((), dtype=torch.int64))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def initialise(self, generator: torch.Generator) -> None:
        """Draws the seed, and starts again."""
        self.seed.copy_(torch.randint(2**62, (), generator=generator))
        self.count.zero_()

    def next_generator(self) -> torch.Generator:
        """The generator of this draw, on the CPU."""
        digest = hashlib.sha256(f"{int(self.seed)}/{int(self.count)}".encode()).digest()
        self.count += 1
        return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)

    def normal(self, like: Tensor) -> Tensor:
        """Standard normal noise in the shape, type and place of a tensor."""
        return torch.randn(like.shape, generator=self.next_generator()).to(like)

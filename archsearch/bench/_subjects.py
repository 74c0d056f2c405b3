"""What several benches train, and how: two layers, cells up to 512 and to 2,048 tokens."""

from __future__ import annotations

from archsearch.architecture import Architecture, Block, Component
from archsearch.protocol import TrainingConfig
from archsearch.tasks.mqar import Cell

FOUR = (
    Cell(length=64, pairs=4),
    Cell(length=128, pairs=8),
    Cell(length=256, pairs=16),
    Cell(length=512, pairs=64),
)
FIVE = (*FOUR, Cell(length=2048, pairs=64, power_a=1.0))

PROTOCOL = TrainingConfig(
    steps=2400, batch_tokens=2048, learning_rate=3e-3, eval_every=100, validation_queries=512
)
"""Of the shipped spaces; why, results/protocol tells."""

_CONV = Component(name="short_conv", options={"kernel_size": 3})


def behind_conv(mixer: Component, d_model: int, first: Component = _CONV) -> Architecture:
    """A short convolution of 3 taps (or another first layer), then the mixer."""
    return Architecture(d_model=d_model, blocks=(Block(sequence=first), Block(sequence=mixer)))

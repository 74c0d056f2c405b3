"""What a preset states: norm, positions, and the block of each layer; torch-free."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from archsearch.architecture import Architecture, Block, Norm, Position
from archsearch.mixers.base import Citation

_HEAD_WIDTH = 64


class Preset(NamedTuple):
    """A published stack as a function of width and depth.

    Attributes:
        name: As its file.
        summary: One sentence.
        citation: Where the stack comes from.
        norm: Before each mixer and at the end.
        position: Encoding of positions.
        block: The block of a layer, from the number of heads.
    """

    name: str
    summary: str
    citation: Citation
    norm: Norm
    position: Position
    block: Callable[[int], Block]

    def design(self, d_model: int, depth: int) -> Architecture:
        """The stack at a width and a depth."""
        block = self.block(num_heads(d_model))
        return Architecture(
            d_model=d_model, norm=self.norm, position=self.position, blocks=(block,) * depth
        )


def num_heads(d_model: int) -> int:
    """Heads of width 64, as these models have them; fewer where 64 does not divide the width."""
    most = max(1, d_model // _HEAD_WIDTH)
    return next(heads for heads in range(most, 0, -1) if d_model % heads == 0)

"""How a sliding window is cut into blocks, and how many pairs it has; torch-free.

Blocks of b queries read their own block and the p blocks before it: b (1 + p) keys, of which the
window of each query is a part.
"""

from __future__ import annotations

from typing import NamedTuple

from archsearch.mixers.base import CostForm, CostTerm

# Up to here a block is as wide as the window (two blocks of keys); wider windows are cut into
# blocks of about half of this, so that the overhang stays a fraction of the window.
_WIDEST_SINGLE_BLOCK = 128


class WindowBlocks(NamedTuple):
    """The cut: ``num_blocks`` of ``size`` queries, each reading ``num_previous`` + 1 blocks."""

    size: int
    num_previous: int
    num_blocks: int

    @property
    def keys(self) -> int:
        """Keys that a block of queries reads."""
        return self.size * (self.num_previous + 1)

    @property
    def pairs(self) -> int:
        """(query, key) pairs that are computed, masked or not."""
        return self.num_blocks * self.size * self.keys


def window_blocks(window: int, length: int) -> WindowBlocks | None:
    """The cut for a window of ``window`` keys, self included; None where dense is no dearer."""
    if window <= _WIDEST_SINGLE_BLOCK:
        size, num_previous = window, min(1, window - 1)
    else:
        num_previous = -(-2 * (window - 1) // _WIDEST_SINGLE_BLOCK)
        size = -(-(window - 1) // num_previous)
    blocks = WindowBlocks(size, num_previous, -(-length // size))
    return None if window >= length or blocks.pairs >= length**2 else blocks


def executed_pairs(window: int, length: int) -> int:
    """Pairs that the block algorithm computes."""
    blocks = window_blocks(window, length)
    return length**2 if blocks is None else blocks.pairs


def pairs_form(reach: CostTerm, scale: float, dilation: int = 1) -> CostForm:
    """``scale`` times the pairs wN - r w(w-1)/2 of a window of w keys at distances 0, r, 2r, ..."""
    share = reach.coefficient
    if reach.power == 1:
        share = min(share, 1 / dilation)  # no more keys than the positions of one residue class
    return CostForm.of(
        (scale * share, 1 + reach.power),
        (-scale * dilation * share**2 / 2, 2 * reach.power),
        (scale * dilation * share / 2, reach.power),
    )

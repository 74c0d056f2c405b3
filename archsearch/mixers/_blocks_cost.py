"""Mixers whose queries pick blocks of the past for themselves: how many pairs that is; torch-free.

The query at i, in block b = i // l, reads its own block up to itself and ``count`` - 1 of the b
blocks before it, or all of them where there are no more. The first ``count`` l queries thus read
everything. What the others pick is computed in tiles of up to 64 queries that picked the same
block; each block may leave one tile that is not full, so that their number has a bound that no
input moves.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import NamedTuple

from archsearch.mixers.base import CostForm, CostTerm, Reach, reach_at, reach_term

# Wider tiles would stand half empty where blocks are wide.
_WIDEST_TILE = 64

UNLIMITED = 2**60
"""A length for what holds at every length."""


class Picking(NamedTuple):
    """The cut: the first ``dense`` queries read everything, the other ``rest`` use ``tiles``.

    A tile has ``rows`` queries and the ``size`` keys of a block.
    """

    size: int
    rows: int
    num_blocks: int
    dense: int
    rest: int
    tiles: int

    @property
    def pairs(self) -> int:
        """(query, key) pairs that are computed, masked or not."""
        return self.dense**2 + self.tiles * self.rows * self.size


def block_size(block: Reach, length: int) -> int:
    """Positions of a block, never more than there are."""
    return min(reach_at(block, length), length)


def most_blocks(block: Reach, n_max: int) -> int:
    """Blocks, the last one maybe incomplete, that a sequence of up to ``n_max`` positions can have.

    The longest has fewer than a shorter one where a block has just become longer: with ``cbrt`` 64
    positions have 16 blocks of 4, and 65 have 13 of 5.
    """
    if isinstance(block, str) and block.startswith("N/"):
        return min(int(block.removeprefix("N/")), n_max)
    size = reach_at(block, n_max)
    shorter = {"sqrt": size - 1, "cbrt": (size - 1) ** 2}.get(str(block), 0)
    return max(-(-n_max // size), shorter)


def picking(size: int, count: int, length: int) -> Picking:
    """The cut for ``count`` blocks of ``size``, the query's own included."""
    num_blocks = -(-length // size)
    dense = min(length, count * size)
    rest, rows = length - dense, min(size, _WIDEST_TILE)
    tiles = (rest * count + num_blocks * (rows - 1)) // rows if rest else 0
    return Picking(size, rows, num_blocks, dense, rest, tiles)


def read_pairs(size: int, count: int, length: int) -> int:
    """Pairs that the definition has."""
    whole, rest = divmod(length, size)
    full = min(whole, count)
    read = full * (full + 1) // 2 + (whole - full) * count  # blocks read by whole blocks
    pairs = size**2 * read - whole * size * (size - 1) // 2
    last = min(whole + 1, count) - 1
    return pairs + rest * last * size + rest * (rest + 1) // 2


def earlier_blocks(size: int, length: int) -> int:
    """Pairs of a query and a block before its own: the sum of floor(i / l)."""
    whole, rest = divmod(length, size)
    return size * whole * (whole - 1) // 2 + rest * whole


def earlier_blocks_executed(size: int, length: int) -> int:
    """The same as computed: all queries but the first block's with all blocks but the last."""
    return (length - size) * ((length - 1) // size)


def blocks_term(block: Reach, count: int, n_max: int | None) -> CostTerm:
    """The positions of ``count`` blocks as a term in N.

    ``reach_term`` for a reach of several blocks: what covers more than a quarter of the longest
    tested length is priced as the fraction of N that it was tested as, policies too.
    """
    share, power, _ = reach_term(block, None)
    if power < 1 and n_max is not None:
        tokens = count * block_size(block, n_max)
        if 4 * tokens > n_max:
            return CostTerm(min(1.0, tokens / n_max), Fraction(1))
    return CostTerm(min(1.0, count * share) if power == 1 else count * share, power)


def read_form(block: Reach, count: int, n_max: int | None, scale: float) -> CostForm:
    """``scale`` times ``read_pairs``: rN - r^2/2 + rl/2 - Nl/2 + N/2 for r = ``count`` l.

    That is for whole blocks. Where a block is a fraction of N, what the last one lacks counts too.
    """
    share, power, _ = blocks_term(block, count, n_max)
    width, width_power, _ = reach_term(block, n_max)
    if width_power == 1:
        whole = math.floor(1 / width + 1e-9)
        rest, full = max(0.0, 1 - whole * width), min(whole, count)
        read = full * (full + 1) / 2 + (whole - full) * count
        square = width**2 * (read - whole / 2)
        square += rest * (min(whole + 1, count) - 1) * width + rest**2 / 2
        return CostForm.of((scale * square, 2), (scale * (whole * width + rest) / 2, 1))
    return CostForm.of(
        (scale * share, 1 + power),
        (-scale * share**2 / 2, 2 * power),
        (scale * share * width / 2, power + width_power),
        (-scale * width / 2, 1 + width_power),
        (scale / 2, 1),
    )


def earlier_form(block: Reach, n_max: int | None, scale: float) -> CostForm:
    """``scale`` times ``earlier_blocks``: (N^2/l - N)/2, linear for a fraction of N."""
    share, power, _ = reach_term(block, n_max)
    if power == 1:
        whole = math.floor(1 / share)
        slope = share * whole * (whole - 1) / 2 + (1 - share * whole) * whole
        return CostForm.of((scale * slope, 1))
    return CostForm.of((scale / (2 * share), 2 - power), (-scale / 2, 1))


def num_earlier_form(block: Reach, n_max: int | None, scale: float) -> CostForm:
    """``scale`` times the number of blocks but for the last, floor((N-1) / l)."""
    share, power, _ = reach_term(block, n_max)
    if power == 1:
        return CostForm.of((scale * (math.ceil(1 / share - 1e-9) - 1), 0))
    return CostForm.of((scale / share, 1 - power), (-scale, 0))

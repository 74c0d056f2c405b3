"""How far a window reads, and what share of a cell's queries that answers."""

from __future__ import annotations

from archsearch.architecture import Architecture
from archsearch.canonical import spec_of
from archsearch.mixers.base import reach_at
from archsearch.tasks.base import Split
from archsearch.tasks.mqar import Cell, MQARConfig

_QUERIES = 4096
"""Of a cell, at least, from which a share is counted."""


def receptive_field(design: Architecture, length: int) -> int:
    """Positions before its own that a stack of short convolutions and windows reads.

    Args:
        design: Of these two mixers only.
        length: Of the sequence, for windows that follow it.
    """
    total = 0
    for block in design.blocks:
        spec = spec_of(block.sequence)
        taps = getattr(spec, "kernel_size", None)
        total += (taps if taps is not None else reach_at(spec.window, length)) - 1  # type: ignore[attr-defined]
    return total


def shares_within_reach(design: Architecture, task: MQARConfig, seed: int) -> list[float]:
    """Of each test cell's queries the share whose key lies in the design's receptive field.

    Counted in generated sequences, some thousand queries a cell. The value behind a key lies nearer
    to the query than the key does.
    """
    return [share_within_reach(design, task, cell, seed) for cell in task.test_cells]


def share_within_reach(design: Architecture, task: MQARConfig, cell: Cell, seed: int) -> float:
    """Of one cell; see ``shares_within_reach``."""
    sequences = -(-_QUERIES // cell.pairs)
    near = total = 0
    at_once = max(1, 2**20 // cell.length)  # so that long sequences fit into memory
    for index in range(-(-sequences // at_once)):
        size = min(at_once, sequences - index * at_once)
        distance = task.batch(cell, Split.TEST, index, size, seed).key_distance
        near += int((distance <= receptive_field(design, cell.length)).sum())
        total += distance.size
    return near / total

"""How many sequences of each cell are made in a second."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from archsearch.bench._processes import Lost, run_each
from archsearch.errors import ArchsearchError
from archsearch.tasks.base import Split
from archsearch.tasks.mqar import Cell, MQARConfig

_LEAST_SECONDS = 0.2
"""Of a repeat, so that the clock does not matter."""


class DataBench(NamedTuple):
    """One cell.

    Attributes:
        batch: Sequences of a batch.
        sequences_per_second: Median of the repeats, fillers random, on one core.
    """

    cell: str
    batch: int
    sequences_per_second: float
    tokens_per_second: float


def measure(cells: Sequence[Cell], *, batch_tokens: int, repeats: int = 5) -> Iterator[DataBench]:
    """Measures cells one after another, each in a fresh process."""
    tasks = [(cell, max(1, batch_tokens // cell.length), repeats) for cell in cells]
    for _, found in run_each(_rate, tasks, preload="archsearch.tasks.mqar"):
        if isinstance(found, Lost):
            raise ArchsearchError(found.reason)
        yield found


def _rate(task: tuple[Cell, int, int]) -> DataBench:
    cell, size, repeats = task
    config = MQARConfig(cells=(cell,))
    index = 0

    def repeat() -> float:
        nonlocal index
        first, began = index, time.perf_counter()
        while True:
            config.batch(cell, Split.TRAIN, index, size, seed=0)
            index += 1
            seconds = time.perf_counter() - began
            if seconds >= _LEAST_SECONDS:
                return (index - first) * size / seconds

    repeat()
    rate = statistics.median(repeat() for _ in range(repeats))
    return DataBench(str(cell), size, rate, rate * cell.length)

from __future__ import annotations

import pytest

from archsearch.bench.data import measure
from archsearch.tasks.mqar import Cell


def test_each_cell_is_measured() -> None:
    cells = [Cell(length=16, pairs=2), Cell(length=64, pairs=4)]
    found = list(measure(cells, batch_tokens=256, repeats=1))
    assert [(row.cell, row.batch) for row in found] == [("(16,2)", 16), ("(64,4)", 4)]
    for row, cell in zip(found, cells, strict=True):
        assert row.sequences_per_second > 0
        assert row.tokens_per_second == pytest.approx(cell.length * row.sequences_per_second)

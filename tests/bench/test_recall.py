from __future__ import annotations

import json
from pathlib import Path

import pytest

from archsearch.architecture import Component
from archsearch.bench.recall import (
    CELLS,
    VARIANTS,
    RecallRow,
    _row,
    best,
    design,
    mean,
    read,
    study,
    subjects,
)
from archsearch.canonical import check
from archsearch.errors import StoreError
from archsearch.mixers import specs
from archsearch.records import Failure, FailureKind
from archsearch.tasks.mqar import Cell, MQARConfig

CONV = Component(name="short_conv")


def row(mixer: str, rate: float, *accuracy: float) -> RecallRow:
    return RecallRow(mixer, rate, 0, "finished", 5, accuracy, 1.0, 10, 2, "N", "0" * 16)


def test_every_sequence_mixer_is_a_subject_and_can_be_built() -> None:
    found = subjects()
    assert {c.name for c in found} == {n for n in specs if specs.get(n).kind == "sequence"}
    assert len(found) == len({str(c) for c in found})
    for component in found:
        check(design(component))
    assert len(subjects(["tnl"])) == 1 + len(VARIANTS["tnl"])


def test_a_study_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path = tmp_path / "new" / "rows.jsonl"
    (first,) = study([CONV], path, rates=(1e-2,), steps=1)
    assert (first.mixer, first.learning_rate, first.step) == ("short_conv", 1e-2, 1)
    assert len(first.accuracy) == len(CELLS)
    assert first.flops == 2 * 196_608 // 2
    assert read(path) == [first]
    assert list(study([CONV], path, rates=(1e-2,), steps=1)) == []
    assert len(path.read_text().splitlines()) == 1


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    good = json.dumps(row("a", 1e-3, 0.5)._asdict())
    for bad in ("{", '{"mixer": "a"}', "[]", good[:-9]):
        path.write_text(f"{good}\n{bad}\n")
        with pytest.raises(StoreError, match=r"rows\.jsonl:2: not a result of this study"):
            read(path)
    assert read(tmp_path / "none.jsonl") == []


def test_the_best_rate_has_the_highest_mean() -> None:
    rows = [row("a", 1e-3, 0.5, 0.1), row("a", 1e-2, 0.3, 0.4), row("b", 1e-3)]
    assert best(rows) == {"a": rows[1], "b": rows[2]}
    assert mean(rows[2]) == 0.0


def test_a_failed_run_is_a_row(tmp_path: Path) -> None:
    task = MQARConfig(cells=(Cell(length=64, pairs=4),))
    failure = Failure(kind=FailureKind.ERROR, message="no luck")
    found = _row(CONV, 1e-3, 0, task, failure)
    assert (found.outcome, found.accuracy, found.detail) == ("failed", (), "no luck")

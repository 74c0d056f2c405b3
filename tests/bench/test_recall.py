from __future__ import annotations

import json
from pathlib import Path

import pytest

from archsearch.architecture import Component
from archsearch.bench.recall import (
    CELLS,
    VARIANTS,
    RecallRow,
    Task,
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

CONV = Component(name="short_conv")


def row(mixer: str, rate: float, *accuracy: float) -> RecallRow:
    protocol = {"batch_tokens": 16_384}
    return RecallRow(
        mixer, rate, 0, 5, "finished", 5, accuracy, 1.0, 10, 2, "N", "0" * 16, protocol, {}
    )


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
    assert first.key == ("short_conv", 1e-2, 1, 16_384, 0)
    assert (first.outcome, first.step) == ("finished", 1)
    assert len(first.accuracy) == len(CELLS)
    assert first.flops == 2 * 6 * 64 * 256
    assert first.protocol["vocab_size"] == 8192
    assert {"torch", "precision"} <= first.versions.keys()
    assert [row._replace(protocol={}) for row in read(path)] == [first._replace(protocol={})]
    with path.open("a") as file:
        file.write('{"mixer": "torn')
    assert len(read(path)) == 1
    assert list(study([CONV], path, rates=(1e-2,), steps=1)) == []
    assert path.read_text().endswith("}\n")
    # another budget is another run
    (second,) = study([CONV], path, rates=(1e-2,), steps=2)
    assert second.steps == 2
    assert len(read(path)) == 2


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_trained() -> None:
    with pytest.raises(StoreError, match="cannot be written"):
        next(study([CONV], Path("/proc/nowhere/rows.jsonl"), steps=10**6))


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


def test_a_failed_run_is_a_row_and_is_taken_up_again(tmp_path: Path) -> None:
    failure = Failure(kind=FailureKind.ERROR, message="no luck")
    found = _row(Task(CONV, 1e-3, 1, 16_384, 0), failure)
    assert (found.outcome, found.accuracy, found.detail) == ("failed", (), "no luck")
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(found._asdict()) + "\n")
    (again,) = study([CONV], path, rates=(1e-3,), steps=1)
    assert again.outcome == "finished"

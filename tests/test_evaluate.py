"""The worker's border: an evaluation or a failure, never an exception; rungs are whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import archsearch.evaluate as border
from archsearch.costs import flops_at
from archsearch.evaluate import CHECKPOINT, MANIFEST, RESULT, evaluate, file_sha256, read_rung
from archsearch.records import Evaluation, Failure, FailureKind, RunOutcome, RunSeed
from archsearch.training import start
from tests.helpers import request


def test_an_evaluation_tells_all(tmp_path: Path) -> None:
    done = evaluate(request(directory=str(tmp_path / "6")))
    assert isinstance(done, Evaluation)
    assert done.outcome is RunOutcome.FINISHED
    assert done.step == 6
    assert [c.label for c in done.test] == ["(8,2)", "(16,2)"]
    assert done.precision == "float32"
    assert done.versions["torch"] == str(torch.__version__)
    assert done.node
    assert read_rung(tmp_path / "6") == done
    assert {p.name for p in tmp_path.iterdir()} == {"6"}
    manifest = json.loads((tmp_path / "6" / MANIFEST).read_text())
    assert manifest.pop("request") == request().key
    assert manifest == {n: file_sha256(tmp_path / "6" / n) for n in (CHECKPOINT, RESULT)}


def test_a_finished_rung_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = request(directory=str(tmp_path / "6"))
    first = evaluate(asked)
    monkeypatch.setattr(border, "_evaluate", lambda _: pytest.fail("it was run again"))
    assert evaluate(asked) == first


def test_rungs_follow_one_another(tmp_path: Path) -> None:
    whole = evaluate(request())
    first = evaluate(request(to_step=3, directory=str(tmp_path / "3")))
    assert isinstance(first, Evaluation)
    assert isinstance(whole, Evaluation)
    assert first.outcome is RunOutcome.PAUSED
    assert first.test == ()
    second = evaluate(request(checkpoint=str(tmp_path / "3"), directory=str(tmp_path / "6")))
    assert isinstance(second, Evaluation)
    assert (second.outcome, second.curve, second.test) == (whole.outcome, whole.curve, whole.test)
    assert second.train_flops == whole.train_flops


def test_flops_spent_are_three_times_forward_with_the_head() -> None:
    done = evaluate(request())
    assert isinstance(done, Evaluation)
    run = start(request())
    per_step = {
        cell: 3
        * (256 // cell.length)
        * (flops_at(request().architecture, cell.length) + 2 * 64 * 8 * cell.pairs)
        for cell in run.task.cells
    }
    assert done.train_flops == sum(per_step[run.data.cell_of(step)] for step in range(6))


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("no room"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("CUDA out of memory. Tried to"),
    ],
)
def test_no_room_is_a_result(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fails(_: Any) -> None:
        raise error

    monkeypatch.setattr(border, "_evaluate", fails)
    done = evaluate(request())
    assert isinstance(done, Evaluation)
    assert done.outcome is RunOutcome.OOM
    assert done.detail


def test_any_other_error_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: Any) -> None:
        raise KeyError("what")

    monkeypatch.setattr(border, "_evaluate", fails)
    done = evaluate(request())
    assert isinstance(done, Failure)
    assert done.kind is FailureKind.ERROR
    assert done.message == "KeyError: 'what'"
    assert "in fails" in done.traceback


def test_a_run_whose_checkpoint_is_missing_begins_anew(tmp_path: Path) -> None:
    done = evaluate(request(checkpoint=str(tmp_path / "none")))
    whole = evaluate(request())
    assert isinstance(done, Evaluation)
    assert isinstance(whole, Evaluation)
    assert (done.curve, done.test) == (whole.curve, whole.test)


def test_a_test_that_is_not_finite_is_a_divergence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = border.test

    def odd(run: Any) -> Any:
        return tuple(c.model_copy(update={"log_probability": float("nan")}) for c in real(run))

    monkeypatch.setattr(border, "test", odd)
    done = evaluate(request(directory=str(tmp_path / "6")))
    assert isinstance(done, Evaluation)
    assert (done.outcome, done.test) == (RunOutcome.DIVERGED, ())


def test_a_memory_limit_is_taken_off_again() -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_DATA)
    done = evaluate(request(memory_limit_bytes=64 * 2**30))
    assert isinstance(done, Evaluation)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


def test_the_workers_threads_are_the_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(torch, "set_num_threads", seen.append)
    evaluate(request(threads=3))
    assert seen == [3]


def test_a_rung_of_another_request_is_not_an_answer(tmp_path: Path) -> None:
    """A rung is found by its place; what stands there must still be the request's own."""
    mine, other = request(directory=str(tmp_path / "6")), request(directory=str(tmp_path / "6"))
    other = other.model_copy(update={"seed": RunSeed(campaign=99)})
    done = evaluate(mine)
    assert read_rung(tmp_path / "6", mine.key) == done
    assert read_rung(tmp_path / "6", other.key) is None
    assert evaluate(other) != done
    assert read_rung(tmp_path / "6", other.key) is not None
    moved = mine.model_copy(update={"threads": 2, "directory": None, "deadline_seconds": 1.0})
    assert moved.key == mine.key

"""The contract of ``execution.base``, on every executor: one answer each, whatever workers do."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from archsearch.errors import ArchsearchError
from archsearch.execution import executors
from archsearch.execution.base import Answer, Executor, received, worker_function
from archsearch.records import Evaluation, EvaluationRequest, Failure, FailureKind, RunOutcome
from tests.execution.conftest import FUNCTION
from tests.helpers import request

PATIENCE = 90.0


def asked(
    kind: str, *, log: Path | None = None, run: int = 0, **changes: object
) -> EvaluationRequest:
    plain = request(directory=f"/nowhere/{kind}", checkpoint=None if log is None else str(log))
    seed = plain.seed.model_copy(update={"run": run})
    return plain.model_copy(update={"seed": seed, **changes})


def answers(executor: Executor, count: int) -> list[Answer]:
    found: list[Answer] = []
    end = time.monotonic() + PATIENCE
    while len(found) < count:
        assert time.monotonic() < end, f"{len(found)} of {count} answers: {found}"
        found += executor.poll(1.0)
    return found


def only(executor: Executor, asked_for: EvaluationRequest) -> Evaluation | Failure:
    ticket = executor.submit(asked_for)
    [answer] = answers(executor, 1)
    assert answer.ticket == ticket
    assert executor.poll(0.05) == []
    return answer.result


def assert_works(executor: Executor) -> None:
    result = only(executor, asked("ok"))
    assert isinstance(result, Evaluation), result
    assert result.detail != str(os.getpid())


def test_both_executors_are_under_test() -> None:
    assert executors.names() == ("ray", "serial")


def test_each_request_is_carried_out_and_answered_once(executor: Executor, tmp_path: Path) -> None:
    log = tmp_path / "log"
    kinds = ["ok", "raise", "ok", "exit", "ok", "hard_exit", "ok", "ok"]
    sent = [executor.submit(asked(kind, log=log, run=i)) for i, kind in enumerate(kinds)]
    assert len(set(sent)) == len(kinds)
    got = answers(executor, len(kinds))
    assert sorted(a.ticket for a in got) == sorted(sent)
    assert executor.poll(0.05) == []
    by_ticket = {a.ticket: a.result for a in got}
    for ticket, kind in zip(sent, kinds, strict=True):
        assert isinstance(by_ticket[ticket], Evaluation if kind == "ok" else Failure), kind
    runs = [int(line.split()[0]) for line in log.read_text().splitlines()]
    assert sorted(runs) == list(range(len(kinds)))


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("raise", "ValueError: no such thing"),
        ("raise_nothing", "ValueError: "),
        ("unpicklable", "Unpicklable: mine alone"),
        ("nothing", "AttributeError"),
        ("text", "AttributeError"),
    ],
)
def test_our_own_errors_are_told_with_their_story(executor: Executor, kind: str, text: str) -> None:
    failure = only(executor, asked(kind))
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.ERROR
    assert failure.message.startswith(text)
    assert "faults.py" in failure.traceback or "base.py" in failure.traceback
    assert_works(executor)


@pytest.mark.parametrize("kind", ["exit", "hard_exit", "segfault"])
def test_a_lost_worker_is_a_crash_and_is_replaced(executor: Executor, kind: str) -> None:
    failure = only(executor, asked(kind))
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.CRASHED
    assert failure.message
    assert_works(executor)


@pytest.mark.parametrize("kind", ["sleep", "catch_all"])
def test_a_hanging_worker_is_ended_at_its_deadline(executor: Executor, kind: str) -> None:
    failure = only(executor, asked(kind, deadline_seconds=2.0))
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.TIMEOUT
    assert_works(executor)


def test_a_deadline_does_not_outlive_its_request(executor: Executor) -> None:
    result = only(executor, asked("ok", deadline_seconds=30.0))
    assert isinstance(result, Evaluation)
    assert_works(executor)


def test_too_much_memory_is_the_designs_result(executor: Executor) -> None:
    result = only(executor, asked("memory", memory_limit_bytes=3 * 2**30))
    assert isinstance(result, Evaluation), result
    assert result.outcome is RunOutcome.OOM
    assert result.detail
    assert_works(executor)


def test_what_was_cancelled_is_never_answered(executor: Executor) -> None:
    for _ in range(3):
        executor.submit(asked("sleep"))
    executor.cancel()
    assert executor.poll(0.2) == []
    assert_works(executor)


def test_workers_keep_their_memory(executor: Executor) -> None:
    result = only(executor, asked("environment"))
    assert isinstance(result, Evaluation)
    assert result.detail == "4294967296"


def test_an_answer_that_is_none_is_a_failure() -> None:
    result = received("Evaluation", "{}")
    assert isinstance(result, Failure)
    assert result.kind is FailureKind.ERROR
    result = received("str", '"x"')
    assert isinstance(result, Failure)


def test_functions_are_found_by_name() -> None:
    assert worker_function(FUNCTION).__name__ == "act"
    with pytest.raises(ArchsearchError):
        executors.get("seriel")

"""Runs in fresh processes, as studies make them, and what their rows have in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from archsearch.bench._processes import TRAINING, Lost, run_each
from archsearch.records import Evaluation, EvaluationRequest, Failure, FailureKind

FAILED = "failed"
"""The outcome of a run that our code or the machine broke."""

Task = TypeVar("Task")


def evaluate_each(
    tasks: Iterable[tuple[Task, EvaluationRequest]], *, workers: int
) -> Iterator[tuple[Task, Evaluation | Failure]]:
    """Carries out the request beside each task; yields tasks with their answers as they come."""
    answers = run_each(_evaluate, tasks, preload=TRAINING, count=workers)
    for (task, _), answer in answers:
        if isinstance(answer, Lost):
            answer = Failure(kind=FailureKind.CRASHED, message=answer.reason)
        yield task, answer


def _evaluate(task: tuple[Any, EvaluationRequest]) -> Evaluation | Failure:
    from archsearch.evaluate import evaluate

    return evaluate(task[1])


def result_of(answer: Evaluation | Failure) -> dict[str, Any]:
    """How a run ended, as fields of a row: the same for every study."""
    if isinstance(answer, Failure):
        return {
            "outcome": FAILED, "step": 0, "accuracy": (), "seconds": 0.0, "versions": {},
            "detail": answer.message,
        }  # fmt: skip
    return {
        "outcome": answer.outcome.value,
        "step": answer.step,
        "accuracy": tuple(cell.accuracy for cell in answer.test),
        "seconds": answer.seconds,
        "versions": {**answer.versions, "precision": answer.precision},
        "detail": answer.detail,
    }

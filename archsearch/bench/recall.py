"""What each sequence mixer recalls behind a short convolution, at several learning rates.

Two layers, one seed, the same data for all mixers: a check of the mixers against what is published
of them, not a search. Results are kept line by line in a file; a run that is in it is not repeated.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from archsearch import journal
from archsearch.architecture import Architecture, Component, Scalar
from archsearch.bench._evaluations import FAILED, evaluate_each, result_of
from archsearch.bench._subjects import behind_conv
from archsearch.canonical import canonicalise
from archsearch.costs import price
from archsearch.mixers import specs
from archsearch.protocol import TrainingConfig
from archsearch.records import Evaluation, EvaluationRequest, Failure, RunSeed
from archsearch.tasks.mqar import Cell, MQARConfig

D_MODEL = 64
RATES = (3e-3, 1e-2, 1e-3)
"""The most telling first, so that an unfinished study is worth reading."""
STEPS = 600
BATCH_TOKENS = 16_384
CELLS = ((64, 4), (128, 8), (256, 16))
"""(length, pairs)."""


VARIANTS: dict[str, tuple[dict[str, Scalar], ...]] = {
    "hgrn2": ({"expand_ratio": 64},),
    "tnl": ({"decay": "exponential"},),
    "base_conv": ({"kernel_size": "long"},),
}
"""Options that are tried beside the defaults, where what is published was measured with them."""


class Task(NamedTuple):
    """One run to be made."""

    mixer: Component
    learning_rate: float
    steps: int
    batch_tokens: int
    seed: int

    @property
    def key(self) -> tuple[str, float, int, int, int]:
        """As of its row."""
        return str(self.mixer), self.learning_rate, self.steps, self.batch_tokens, self.seed


class RecallRow(NamedTuple):
    """One run.

    Attributes:
        mixer: Second layer, with what is not at its default; the first is a short convolution of 3
            taps.
        accuracy: By test cell; empty when the run failed or diverged.
        steps: The budget.
        step: Where it ended: the budget, or earlier when it had solved every validation cell.
        seconds: Of the run, on one thread.
        flops: Useful, forward, of the design at the longest cell, without embedding and head.
        state_floats: Of the design there.
        protocol: Vocabulary, fillers, cells and tokens of a batch.
        versions: Of what the result may depend on.
    """

    mixer: str
    learning_rate: float
    seed: int
    steps: int
    outcome: str
    step: int
    accuracy: tuple[float, ...]
    seconds: float
    flops: int
    state_floats: int
    growth: str
    digest: str
    protocol: dict[str, Any]
    versions: dict[str, str]
    detail: str = ""

    @property
    def key(self) -> tuple[str, float, int, int, int]:
        """What tells one run of the study from another."""
        tokens = self.protocol["batch_tokens"]
        return self.mixer, self.learning_rate, self.steps, tokens, self.seed


def design(mixer: Component) -> Architecture:
    """A short convolution, then the mixer."""
    return behind_conv(mixer, D_MODEL)


def subjects(names: Sequence[str] | None = None) -> list[Component]:
    """Sequence mixers, each at its defaults and in its variants; all of them unless named."""
    chosen = names or [name for name in specs if specs.get(name).kind == "sequence"]
    return [
        Component(name=name, options=options)
        for name in chosen
        for options in ({}, *VARIANTS.get(name, ()))
    ]


def study(
    mixers: Sequence[Component],
    path: Path,
    *,
    rates: Sequence[float] = RATES,
    steps: int = STEPS,
    batch_tokens: int = BATCH_TOKENS,
    seed: int = 0,
    workers: int = 1,
) -> Iterator[RecallRow]:
    """Runs what the file does not hold yet, appends each result to it, and yields it.

    A run that failed (not: that did not learn, or diverged) is taken up again.

    Args:
        mixers: See ``subjects``.
        path: JSON lines; made if it is not there.
        rates: Learning rates.
        steps: Budget of a run.
        batch_tokens: Tokens of a batch.
        seed: Of weights and data.
        workers: Processes, one thread each.

    Raises:
        StoreError: The file cannot be read or written.
    """
    done = {row.key for row in read(path) if row.outcome != FAILED}
    planned = [Task(m, rate, steps, batch_tokens, seed) for rate in rates for m in mixers]
    wanted = [task for task in planned if task.key not in done]
    journal.prepare(path)
    requests = ((task, _request(task)) for task in wanted)
    for task, result in evaluate_each(requests, workers=workers):
        row = _row(task, result)
        journal.append(path, row._asdict())
        yield row


def read(path: Path) -> list[RecallRow]:
    """The rows of a file, in the order in which they were written; none if there is no file.

    Raises:
        StoreError: A line is damaged.
    """
    return journal.read(path, _parsed)


def _parsed(data: dict[str, Any]) -> RecallRow:
    row = RecallRow(**{**data, "accuracy": tuple(data["accuracy"])})
    hash(row.key)  # that it has one
    return row


def best(rows: Iterable[RecallRow]) -> dict[str, RecallRow]:
    """Of each mixer the run with the highest mean accuracy."""
    found: dict[str, RecallRow] = {}
    for row in rows:
        known = found.get(row.mixer)
        if known is None or mean(row) > mean(known):
            found[row.mixer] = row
    return found


def mean(row: RecallRow) -> float:
    """Unweighted mean over the cells."""
    return sum(row.accuracy) / len(row.accuracy) if row.accuracy else 0.0


def _request(task: Task) -> EvaluationRequest:
    cells = tuple(Cell(length=length, pairs=pairs) for length, pairs in CELLS)
    return EvaluationRequest(
        architecture=canonicalise(design(task.mixer)),
        task=MQARConfig(vocab_size=8192, fillers="zero", cells=cells),
        training=TrainingConfig(
            steps=task.steps, batch_tokens=task.batch_tokens, learning_rate=task.learning_rate
        ),
        seed=RunSeed(campaign=task.seed),
        to_step=task.steps,
    )


def _row(task: Task, answer: Evaluation | Failure) -> RecallRow:
    request = _request(task)
    cost = price(request.architecture, request.task.longest_test_length)
    known: dict[str, Any] = {
        "mixer": str(task.mixer),
        "learning_rate": task.learning_rate,
        "seed": task.seed,
        "steps": task.steps,
        "flops": cost.flops,
        "state_floats": cost.state_floats,
        "growth": cost.growth_text,
        "digest": request.architecture.digest,
        "protocol": {
            **request.task.model_dump(mode="json", include={"vocab_size", "fillers"}),
            "cells": CELLS,
            "batch_tokens": request.training.batch_tokens,
        },
    }
    return RecallRow(**known, **result_of(answer))

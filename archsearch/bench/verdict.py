"""Seconds and steps until a design has passed every cell: what a verdict costs.

Each run has a process of its own, set up as a campaign's workers are. The clock begins before the
model is built; the final test is no part of the verdict.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from archsearch.architecture import Architecture, Component
from archsearch.bench._processes import TRAINING, Lost, run_each
from archsearch.bench._subjects import behind_conv
from archsearch.canonical import canonicalise
from archsearch.protocol import TrainingConfig
from archsearch.records import EvaluationRequest, RunOutcome, RunSeed
from archsearch.tasks.mqar import Cell, MQARConfig

DESIGNS: dict[str, Architecture] = {
    "attention, d = 64": behind_conv(Component(name="attention"), 64),
    "attention, d = 32": behind_conv(Component(name="attention"), 32),
    "learned selection, d = 64": behind_conv(
        Component(name="learned_selection", options={"cap": 256}),
        64,
        Component(name="base_conv", options={"kernel_size": 3}),
    ),
    "Based, d = 64": behind_conv(Component(name="based"), 64),
    "DeltaNet, d = 128": behind_conv(Component(name="delta_net"), 128),
}
"""Two layers each: a short convolution (BaseConv before the selection), then the mixer."""

FILLERS: Literal["zero"] = "zero"
"""As in the shipped spaces."""


class Run(NamedTuple):
    """One seed of a design.

    Attributes:
        solved: Whether it passed every validation cell.
        seconds: Until then or until its last step, validations included.
        step: Likewise.
        worst: Validation accuracy of the worst cell at the end.
    """

    solved: bool
    seconds: float
    step: int
    worst: float


class VerdictBench(NamedTuple):
    """One design on some cells, over the seeds.

    Attributes:
        cells: Longest length and number of the cells.
        seconds: Until a seed passed every validation cell; median of all seeds, None if half of
            them or more did not pass.
        steps: Likewise.
        runs: Each seed that came to its end.
        failures: Why the others did not.
    """

    design: str
    cells: str
    seeds: int
    seconds: float | None
    steps: float | None
    runs: tuple[Run, ...]
    failures: tuple[str, ...]

    @property
    def solved(self) -> int:
        """Seeds that passed every validation cell."""
        return sum(run.solved for run in self.runs)

    @property
    def worst(self) -> tuple[float, ...]:
        """Of those that did not, the accuracy of the worst cell."""
        return tuple(run.worst for run in self.runs if not run.solved)


def measure(
    designs: Sequence[str], *, cells: Sequence[Cell], training: TrainingConfig, seeds: int = 3
) -> Iterator[VerdictBench]:
    """Measures designs one after another.

    Args:
        designs: Of ``DESIGNS``.
        cells: To train and validate on.
        training: The protocol.
        seeds: Runs of a design.
    """
    for name in designs:
        tasks = [(DESIGNS[name], tuple(cells), training, seed) for seed in range(seeds)]
        found = [answer for _, answer in run_each(_run, tasks, preload=TRAINING)]
        yield _result(name, cells, seeds, found)


def _result(
    name: str, cells: Sequence[Cell], seeds: int, found: Sequence[Run | Lost]
) -> VerdictBench:
    runs = tuple(answer for answer in found if not isinstance(answer, Lost))
    solved = [run for run in runs if run.solved]
    return VerdictBench(
        design=name,
        cells=f"{len(cells)} cells to {max(c.length for c in cells)}",
        seeds=seeds,
        seconds=_median([r.seconds for r in solved], seeds),
        steps=_median([r.step for r in solved], seeds),
        runs=runs,
        failures=tuple(answer.reason for answer in found if isinstance(answer, Lost)),
    )


def _median(values: Sequence[float], seeds: int) -> float | None:
    """Of all seeds, those without a value being worse than any; None if the median is one."""
    middle = statistics.median([*values, *[math.inf] * (seeds - len(values))])
    return middle if math.isfinite(middle) else None


def _run(task: tuple[Architecture, tuple[Cell, ...], TrainingConfig, int]) -> Run:
    import torch

    from archsearch.training import advance, start

    torch.set_num_threads(1)
    design, cells, training, seed = task
    began = time.perf_counter()
    request = EvaluationRequest(
        architecture=canonicalise(design),
        task=MQARConfig(cells=cells, fillers=FILLERS),
        training=training,
        seed=RunSeed(campaign=seed),
        to_step=training.steps,
    )
    run = start(request)
    outcome = advance(run, training.steps)
    seconds = time.perf_counter() - began
    worst = min(run.curve[-1].accuracy) if run.curve else 0.0
    return Run(outcome is RunOutcome.SOLVED, seconds, run.step, worst)

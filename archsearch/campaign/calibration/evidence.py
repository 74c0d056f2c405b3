"""The runs of a calibration, brought in order: rows by design and rate, and which rate is best."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import NamedTuple

from archsearch.campaign.calibration.plan import CalibrationPlan
from archsearch.campaign.calibration.records import CalibrationRow, CalibrationRun, Place
from archsearch.campaign.estimates import score_of
from archsearch.campaign.race import LEAST_GAIN_NATS, last_validation
from archsearch.campaign.references import FULL_ATTENTION
from archsearch.records import Evaluation, RunOutcome

CLOSE_NATS = 0.05
"""Mean log-probabilities, at the end of a run or over seeds, that are as good as equal."""


class Evidence(NamedTuple):
    """What is known so far.

    Attributes:
        plan: What was to be run.
        results: By design and rate, in the order of the seeds; what failed is left out.
        rows: By design, lowest rate first; only of rates with a result.
    """

    plan: CalibrationPlan
    results: dict[tuple[str, float], tuple[Evaluation, ...]]
    rows: dict[str, tuple[CalibrationRow, ...]]

    def best(self, name: str) -> CalibrationRow | None:
        """The design at its best rate; None before it was trained."""
        return next((row for row in self.rows.get(name, ()) if row.best), None)

    def tried(self, name: str) -> bool:
        """Whether a design has a result at every rate: before, its best one is not known."""
        return len(self.rows.get(name, ())) == len(self.plan.rates)

    @property
    def yardstick(self) -> CalibrationRow | None:
        """Full attention: the better one, at its best rate."""
        found = [row for row in map(self.best, FULL_ATTENTION) if row is not None]
        return max(found, key=lambda row: row.merit, default=None)

    @property
    def learned(self) -> dict[str, CalibrationRow]:
        """Designs that learned something at some rate, at their best one."""
        found = {}
        for name in self.plan.designs:
            row = self.best(name)
            if row is not None and gained(self.plan, row):
                found[name] = row
        return found


def gained(plan: CalibrationPlan, row: CalibrationRow) -> bool:
    """Whether the row is better than guessing."""
    return row.log_probability - plan.file.task.guess_nats >= LEAST_GAIN_NATS


def evidence_of(plan: CalibrationPlan, runs: Iterable[CalibrationRun]) -> Evidence:
    """Orders the runs of a plan; those beyond it are left out."""
    by_place = {run.place: run.result for run in runs}
    results: dict[tuple[str, float], tuple[Evaluation, ...]] = {}
    for name in plan.designs:
        for rate in plan.rates:
            seeds = (by_place.get(Place(name, rate, seed)) for seed in range(plan.seeds))
            found = tuple(evaluation for evaluation in seeds if evaluation is not None)
            if found:
                results[name, rate] = found
    rows = {
        name: _with_best(
            [
                _row(plan, name, rate, results[name, rate])
                for rate in plan.rates
                if (name, rate) in results
            ]
        )
        for name in plan.designs
    }
    return Evidence(plan, results, rows)


def _with_best(rows: Sequence[CalibrationRow]) -> tuple[CalibrationRow, ...]:
    # of equals the lower rate
    best = max(rows, key=lambda row: row.merit, default=None)
    return tuple(row.model_copy(update={"best": row is best}) for row in rows)


def _row(
    plan: CalibrationPlan, name: str, rate: float, evaluations: Sequence[Evaluation]
) -> CalibrationRow:
    cells = [_cells(plan, evaluation) for evaluation in evaluations]
    means = tuple(fmean(column) for column in zip(*cells, strict=True))
    scores = tuple(score_of(evaluation) for evaluation in evaluations)
    guess_nats = plan.file.task.guess_nats
    last = [last_validation(evaluation, guess_nats) for evaluation in evaluations]
    steps = tuple(evaluation.step for evaluation in evaluations)
    seconds = [evaluation.seconds for evaluation in evaluations]
    return CalibrationRow(
        name=name,
        learning_rate=rate,
        seeds=len(evaluations),
        solved=sum(evaluation.outcome is RunOutcome.SOLVED for evaluation in evaluations),
        scores=scores,
        accuracy=fmean(scores),
        cell_accuracy=means,
        worst_cell=min(means),
        steps=steps,
        validation_accuracy=fmean(accuracy for accuracy, _ in last),
        log_probability=fmean(value for _, value in last),
        seconds=fmean(seconds),
        seconds_per_step=sum(seconds) / sum(steps) if sum(steps) else None,
    )


def _cells(plan: CalibrationPlan, evaluation: Evaluation) -> list[float]:
    if evaluation.outcome is RunOutcome.DIVERGED or not evaluation.test:
        return [0.0] * len(plan.file.task.test_cells)
    return [cell.accuracy for cell in evaluation.test]

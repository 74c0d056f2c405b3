"""How often races and stops were wrong, and what they saved, from the runs that were audited."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from archsearch.objectives import capped_accuracy
from archsearch.records import Evaluation, RunOutcome, TrialRecord, VerdictKind

CONFIDENCE = 0.95

BETTER_BY = 0.02
"""By how much a loser's score must exceed the winner's before the choice counts as wrong."""


class Share(NamedTuple):
    """So many of so many, with the Clopper-Pearson interval of the rate; None of none."""

    number: int
    of: int
    low: float | None
    high: float | None


class Decisions(NamedTuple):
    """What was decided against runs of the trials told so far.

    Attributes:
        lost: Runs that lost their race.
        wrong_choices: Of those finished all the same, the ones clearly better than the winner.
        stopped: Runs that the stopping rule ended.
        wrongful_stops: Of those finished all the same, the ones that are on the front.
        steps: Trained, by all runs.
        steps_saved: Not trained by the runs that were ended; some of them might have ended
            earlier by success.
    """

    lost: int
    wrong_choices: Share
    stopped: int
    wrongful_stops: Share
    steps: int
    steps_saved: int

    @property
    def saved(self) -> float:
        """Share of the steps that were not trained."""
        total = self.steps + self.steps_saved
        return self.steps_saved / total if total else 0.0


def share(count: int, of: int) -> Share:
    """A rate with its exact binomial interval (Clopper and Pearson 1934), 95 %."""
    if not of:
        return Share(count, of, None, None)
    from scipy.stats import binomtest

    found = binomtest(count, of).proportion_ci(CONFIDENCE, method="exact")
    return Share(count, of, float(found.low), float(found.high))


def decisions(records: Iterable[TrialRecord], members: Collection[int], steps: int) -> Decisions:
    """Counts over a campaign.

    Args:
        records: Trials; references do not count.
        members: Numbers of the trials on the front.
        steps: Of the full budget.
    """
    lost = stopped = trained = saved = 0
    choices: list[bool] = []
    stops: list[bool] = []
    for record in records:
        if record.reference is not None or record.told_order is None:
            continue
        against = record.verdicts
        for run, last in record.runs.items():
            trained += last.step
            verdict = against.get(run)
            if verdict is None:
                continue
            lost += verdict.kind is VerdictKind.LOST
            stopped += verdict.kind is VerdictKind.STOPPED
            if last.outcome is RunOutcome.PAUSED:
                saved += steps - last.step
            elif not verdict.audited:
                continue
            elif verdict.kind is VerdictKind.STOPPED:
                stops.append(record.number in members and record.scored_run == run)
            elif record.scored is not None:
                choices.append(_score(last) > _score(record.scored) + BETTER_BY)
    return Decisions(
        lost,
        share(sum(choices), len(choices)),
        stopped,
        share(sum(stops), len(stops)),
        trained,
        saved,
    )


def _score(evaluation: Evaluation) -> float:
    return capped_accuracy([c.accuracy for c in evaluation.test]) if evaluation.test else 0.0

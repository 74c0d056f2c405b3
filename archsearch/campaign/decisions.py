"""How often races and stops were wrong, and what they saved, from the runs that were audited."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

from archsearch.campaign.estimates import score_of
from archsearch.records import RunOutcome, TrialRecord, VerdictKind

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

    def plain(self) -> dict[str, Any]:
        """As JSON-able data, the share of the steps saved beside the counts."""
        return {
            **self._asdict(),
            "wrong_choices": self.wrong_choices._asdict(),
            "wrongful_stops": self.wrongful_stops._asdict(),
            "saved": self.saved,
        }

    @property
    def saved(self) -> float:
        """Share of the steps that were not trained."""
        total = self.steps + self.steps_saved
        return self.steps_saved / total if total else 0.0


def share(count: int, of: int) -> Share:
    """A rate with its exact binomial interval (Clopper and Pearson 1934), 95 %.

    Args:
        count: Of successes.
        of: Trials; without any there is no interval.
    """
    if not of:
        return Share(count, of, None, None)
    # scipy.stats has it by name, and takes half a second more to import
    from scipy.special import betaincinv

    tail = (1 - CONFIDENCE) / 2
    low = betaincinv(count, of - count + 1, tail) if count else 0.0
    high = betaincinv(count + 1, of - count, 1 - tail) if count < of else 1.0
    return Share(count, of, float(low), float(high))


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
                choices.append(score_of(last) > score_of(record.scored) + BETTER_BY)
    return Decisions(
        lost,
        share(sum(choices), len(choices)),
        stopped,
        share(sum(stops), len(stops)),
        trained,
        saved,
    )

"""How often races and stops were wrong, and what they saved, from the runs that were audited."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from archsearch.campaign.estimates import score_of, student_quantile
from archsearch.records import RunOutcome, RunVerdict, TrialRecord, VerdictKind

CONFIDENCE = 0.95

BETTER_BY = 0.02
"""By how much a loser's score must exceed the winner's before the choice counts as wrong."""


class Share(NamedTuple):
    """So many of so many, with the Clopper-Pearson interval of the rate; None of none."""

    number: int
    of: int
    low: float | None
    high: float | None


class Saving(NamedTuple):
    """A share of the training FLOPs, with its 95 % interval over trials; None with one trial."""

    share: float
    low: float | None
    high: float | None


class Decisions(NamedTuple):
    """What was decided against runs of the trials told so far.

    Attributes:
        lost: Runs that lost their race.
        wrong_choices: Of those finished all the same, the ones clearly better than the winner; only
            where the winner came to its end.
        stopped: Runs that the stopping rule ended.
        wrongful_stops: Of those finished all the same, the ones that are on the front.
        saved: What was not trained, of what there would have been without races and stops.
        saved_by_stops: Likewise, of what there would have been with races alone.
    """

    lost: int
    wrong_choices: Share
    stopped: int
    wrongful_stops: Share
    saved: Saving
    saved_by_stops: Saving

    def plain(self) -> dict[str, Any]:
        """As JSON-able data."""
        return {
            name: value._asdict() if isinstance(value, Share | Saving) else value
            for name, value in self._asdict().items()
        }


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


def saving(spent: NDArray[np.float64], left: NDArray[np.float64]) -> Saving:
    """What is left out as a share of all, with an interval for a ratio of means over trials.

    The interval is the delta method's (Cochran 1977, section 2.11), within 0 and 1.

    Args:
        spent: Training FLOPs of each trial.
        left: What each would have taken besides.
    """
    total = spent + left
    whole = float(total.sum())
    if not whole:
        return Saving(0.0, None, None)
    ratio = float(left.sum()) / whole
    if len(total) < 2:
        return Saving(ratio, None, None)
    residuals = left - ratio * total
    variance = float(residuals @ residuals) * len(total) / (len(total) - 1)
    half = student_quantile(len(total) - 1) * math.sqrt(variance) / whole
    return Saving(ratio, max(0.0, ratio - half), min(1.0, ratio + half))


def decisions(records: Iterable[TrialRecord], members: Collection[int], steps: int) -> Decisions:
    """Counts over a campaign.

    What a run that was ended would have taken is not known: it might have succeeded early. Those
    that were finished all the same tell which part of the rest such runs need.

    Args:
        records: Trials; references do not count.
        members: Numbers of the trials on the front.
        steps: Of the full budget.
    """
    told = [r for r in records if r.reference is None and r.told_order is not None]
    counted: Counter[VerdictKind] = Counter()
    choices: list[bool] = []
    stops: list[bool] = []
    left = {kind: np.zeros(len(told)) for kind in VerdictKind}
    audited: dict[VerdictKind, list[tuple[int, int]]] = {kind: [] for kind in VerdictKind}
    for place, record in enumerate(told):
        for step, verdict in _decided(record):
            kind, last = verdict.kind, record.runs[verdict.run]
            counted[kind] += 1
            if last.outcome is RunOutcome.PAUSED:
                left[kind][place] += last.train_flops * (steps - last.step) / last.step
            elif verdict.audited:
                audited[kind].append((last.step - step, steps - step))
                if kind is VerdictKind.STOPPED:
                    stops.append(record.number in members and record.scored_run == verdict.run)
                elif record.scored_run is not None:
                    better = score_of(last) - score_of(record.runs[record.scored_run])
                    choices.append(better > BETTER_BY)
    for kind, ways in audited.items():
        left[kind] *= _needed(ways)
    spent = np.array([record.train_flops for record in told])
    return Decisions(
        lost=counted[VerdictKind.LOST],
        wrong_choices=share(sum(choices), len(choices)),
        stopped=counted[VerdictKind.STOPPED],
        wrongful_stops=share(sum(stops), len(stops)),
        saved=saving(spent, left[VerdictKind.LOST] + left[VerdictKind.STOPPED]),
        saved_by_stops=saving(spent, left[VerdictKind.STOPPED]),
    )


def _decided(record: TrialRecord) -> Iterator[tuple[int, RunVerdict]]:
    """Each decision against a run, and the step at which it was made."""
    for judgement in record.judgements:
        for verdict in judgement.verdicts:
            yield judgement.step, verdict


def _needed(ways: Sequence[tuple[int, int]]) -> float:
    """Which part of the steps that were left such runs take; all of them where none was seen."""
    possible = sum(whole for _, whole in ways)
    return sum(taken for taken, _ in ways) / possible if possible else 1.0

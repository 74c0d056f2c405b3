"""How often races and stops were wrong, and what they saved, from the runs that were audited."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from archsearch.campaign.estimates import REPLICATES, score_of
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
    """A share of the training FLOPs, with its 95 % interval.

    There is none with one trial, or where all was trained.
    """

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


class Ended(NamedTuple):
    """Runs that were ended for one reason.

    Attributes:
        left: FLOPs that those of each trial would have taken to the end of the budget.
        audited: Of each run that was finished all the same, the steps that it took after the
            decision, and those that were left.
    """

    left: NDArray[np.float64]
    audited: Sequence[tuple[int, int]]

    @property
    def needed(self) -> float:
        """Which part of what is left such runs take; all of it where none was audited."""
        possible = sum(whole for _, whole in self.audited)
        return sum(taken for taken, _ in self.audited) / possible if possible else 1.0

    def drawn(self, random: np.random.Generator) -> NDArray[np.float64]:
        """``needed`` as it may be, in each replicate.

        By Jeffreys' posterior of a rate, which is wide rather than narrow: parts of a whole vary
        no more than successes and failures of the same mean.
        """
        count = len(self.audited)
        hits = count * self.needed
        return random.beta(hits + 0.5, count - hits + 0.5, size=REPLICATES)


def saving(spent: NDArray[np.float64], *ended: Ended) -> Saving:
    """What is left out as a share of all, with a 95 % interval.

    Trials differ, by the delta method for a ratio of means (Cochran 1977, section 2.11); and which
    part of the rest ended runs need is known by a few of them, or by none.

    Args:
        spent: Training FLOPs of each trial.
        ended: Runs that are left out.
    """
    left = sum((one.needed * one.left for one in ended), np.zeros(len(spent)))
    total = spent + left
    whole, rest = float(total.sum()), float(left.sum())
    if not rest:
        return Saving(0.0, None, None)
    ratio = rest / whole
    if len(spent) < 2:
        return Saving(ratio, None, None)
    residuals = left - ratio * total
    deviation = math.sqrt(float(residuals @ residuals) * len(spent) / (len(spent) - 1)) / whole
    random = np.random.default_rng(0)  # equal records give equal intervals
    drawn = sum((one.drawn(random) * one.left.sum() for one in ended), np.zeros(REPLICATES))
    shares = drawn / (spent.sum() + drawn)
    shares += deviation * random.standard_t(len(spent) - 1, size=REPLICATES)
    low, high = np.quantile(shares, (0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2))
    return Saving(ratio, max(0.0, min(ratio, float(low))), min(1.0, max(ratio, float(high))))


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
    spent = np.array([record.train_flops for record in told])
    lost, stopped = (
        Ended(left[kind], audited[kind]) for kind in (VerdictKind.LOST, VerdictKind.STOPPED)
    )
    return Decisions(
        lost=counted[VerdictKind.LOST],
        wrong_choices=share(sum(choices), len(choices)),
        stopped=counted[VerdictKind.STOPPED],
        wrongful_stops=share(sum(stops), len(stops)),
        saved=saving(spent, lost, stopped),
        saved_by_stops=saving(spent, stopped),
    )


def _decided(record: TrialRecord) -> Iterator[tuple[int, RunVerdict]]:
    """Each decision against a run, and the step at which it was made."""
    for judgement in record.judgements:
        for verdict in judgement.verdicts:
            yield judgement.step, verdict

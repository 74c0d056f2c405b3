"""What fresh seeds say of a design: its mean, how far that is known, whether it is on the front.

A search's score is one seed of a design that was noticed because it scored high. Fresh seeds are
not chosen by their scores, so their mean is the estimate wherever there are any, and the search's
own seed has no part in it. Pure functions; equal data give equal numbers.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import NormalDist, fmean
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from archsearch.objectives import LEAST_GAP, capped_accuracy
from archsearch.protocol import SUCCESS_ACCURACY
from archsearch.records import Confirmation, Evaluation, RunOutcome, TrialRecord

REPLICATES = 2000
"""Of the bootstrap; they know a probability of a half to about 0.01."""

PRIOR_SEEDS = 2
"""The pooled variance counts as much as that many more seeds of the design itself."""

CONFIDENCE = 0.95

_CHUNK = 250

K = TypeVar("K")

Scores = Mapping[int, tuple[float, ...]]
"""Scores of the fresh seeds in the order of the seeds, by the trial's number."""


def score_of(evaluation: Evaluation) -> float:
    """What a run counts for: as in the search, one that diverged for nothing."""
    if evaluation.outcome is RunOutcome.DIVERGED or not evaluation.test:
        return 0.0
    return capped_accuracy([cell.accuracy for cell in evaluation.test])


def by_trial(confirmations: Iterable[Confirmation]) -> dict[int, list[Confirmation]]:
    """Confirmations by the trial's number, in the order of their seeds."""
    found: dict[int, list[Confirmation]] = {}
    for confirmation in sorted(confirmations, key=lambda c: (c.number, c.seed)):
        found.setdefault(confirmation.number, []).append(confirmation)
    return found


def scores_of(confirmations: Iterable[Confirmation]) -> dict[int, tuple[float, ...]]:
    """Scores of the fresh seeds by the trial's number."""
    return {
        number: tuple(score_of(c.evaluation) for c in mine)
        for number, mine in by_trial(confirmations).items()
    }


def estimated(records: Iterable[TrialRecord], scores: Scores) -> list[TrialRecord]:
    """The records, with the mean over fresh seeds as accuracy wherever there are any."""
    return [
        r.model_copy(update={"accuracy": fmean(scores[r.number])}) if r.number in scores else r
        for r in records
    ]


def cell_means(record: TrialRecord, confirmations: Sequence[Confirmation]) -> tuple[float, ...]:
    """Accuracy on each test cell: mean over the fresh seeds, the search's without any."""
    if not confirmations:
        return tuple(cell.accuracy for cell in record.test)
    rows = [_cells(c.evaluation, len(record.test)) for c in confirmations]
    return tuple(fmean(column) for column in zip(*rows, strict=True))


def _cells(evaluation: Evaluation, count: int) -> tuple[float, ...]:
    """Accuracy on each test cell; a run that diverged has answered nothing."""
    return tuple(cell.accuracy for cell in evaluation.test) or (0.0,) * count


def cell_intervals(
    confirmations: Iterable[Confirmation], count: int
) -> list[dict[int, tuple[float, float]]]:
    """For each test cell the ``intervals`` over seeds of its accuracies.

    The variance of a cell is moderated by that of all designs with fresh seeds on the same cell:
    seeds differ more where the task is hard.

    Args:
        confirmations: Of all designs, in any order.
        count: Of the test cells.
    """
    fresh = by_trial(confirmations).items()
    rows = {number: [_cells(c.evaluation, count) for c in mine] for number, mine in fresh}
    return [
        intervals({n: tuple(seed[i] for seed in seeds) for n, seeds in rows.items()}, most=1.0)
        for i in range(count)
    ]


def intervals(scores: Scores, most: float = SUCCESS_ACCURACY) -> dict[int, tuple[float, float]]:
    """The 95 % interval of each design's mean, within what a score can be.

    Student's t with the variance of the design's own seeds moderated by that of all designs, as
    Smyth (2004) has it, but with a fixed weight: to estimate it would take many designs. Where few
    of them scatter, the others' intervals are too wide. A bootstrap of three seeds stays between
    the least and the greatest of them, where the mean lies in three of four cases at best; and
    three equal scores do not say that a fourth is. In simulations 95 % or more of the intervals
    hold their mean, whether all designs vary as much or half of them five times as much as the
    others.

    Args:
        scores: Of the fresh seeds.
        most: That a score can be.

    Returns:
        By the trial's number; empty while no design has two seeds.
    """
    found = {}
    for number, (variance, degrees) in moderated(scores).items():
        half = student_quantile(degrees) * math.sqrt(variance / len(scores[number]))
        mean = fmean(scores[number])
        found[number] = (max(0.0, mean - half), min(most, mean + half))
    return found


def moderated(scores: Mapping[K, Sequence[float]]) -> dict[K, tuple[float, int]]:
    """The variance of each design's seeds, moderated by that of all, and its degrees of freedom.

    Returns:
        Empty while no design has two seeds.
    """
    squares = {n: sum((v - fmean(vs)) ** 2 for v in vs) for n, vs in scores.items()}
    freedom = sum(len(values) - 1 for values in scores.values())
    if not freedom:
        return {}
    pooled = sum(squares.values()) / freedom
    degrees = {n: PRIOR_SEEDS + len(values) - 1 for n, values in scores.items()}
    return {n: ((PRIOR_SEEDS * pooled + squares[n]) / d, d) for n, d in degrees.items()}


def wilson(hits: float, of: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927), which holds for shares of 0 and 1, too."""
    if not of:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
    share, whole = hits / of, 1 + z * z / of
    middle = share + z * z / (2 * of)
    half = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    return max(0.0, (middle - half) / whole), min(1.0, (middle + half) / whole)


def student_quantile(degrees: int) -> float:
    """The 97.5 % quantile of Student's t, by its expansion about the normal's (Hill 1970).

    Within 1 % from 2 degrees of freedom on. scipy knows it better, and takes longer to import than
    a command that lists a front may take.
    """
    z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return float(z + sum(term / degrees ** (i + 1) for i, term in enumerate(terms)))


class Contender(NamedTuple):
    """A design that may be on the front.

    Attributes:
        costs: What it is compared by beside accuracy, as losses: fresh seeds do not change them.
        accuracy: What it counts for without fresh seeds.
    """

    number: int
    costs: tuple[float, ...]
    accuracy: float


def membership(
    contenders: Sequence[Contender],
    floor: Contender | None,
    scores: Scores,
    seed: int,
) -> dict[int, float]:
    """The probability of each contender to be on the front, by bootstrap over the fresh seeds.

    In each of the replicates every design draws its mean anew, and the front is built as ever. The
    bootstrap is parametric, by the distribution that the intervals have: drawing three seeds from
    themselves makes three equal ones certain, and of designs that it put at P <= 0.1 one in six was
    a member (simulated fronts of six designs; one in twelve by this one).

    Args:
        contenders: In any order.
        floor: Convolutions only; None counts as 0.
        scores: Of the fresh seeds.
        seed: Of the campaign.

    Returns:
        By the trial's number; empty while no design has two seeds.
    """
    contenders = sorted(contenders, key=lambda c: (c.costs, c.number))
    everyone = [*contenders, *([floor] if floor is not None else [])]
    # whatever has no fresh seed varies as the others do
    known = {**{c.number: (c.accuracy,) for c in everyone}, **scores}
    spread = moderated(known)
    if not contenders or not spread:
        return {}
    random = np.random.default_rng(np.random.SeedSequence((seed, _digest(everyone, scores))))
    drawn = np.stack([_draw(known[c.number], *spread[c.number], random) for c in everyone], axis=1)
    level = np.full(REPLICATES, LEAST_GAP)
    if floor is not None:
        level += drawn[:, -1]
    costs = np.array([c.costs for c in contenders])
    on_front = np.zeros(len(contenders))
    for start in range(0, REPLICATES, _CHUNK):  # so that thousands of designs fit into memory
        part = slice(start, start + _CHUNK)
        on_front += _on_front(drawn[part, : len(contenders)], costs, level[part]).sum(axis=0)
    return {c.number: float(p) for c, p in zip(contenders, on_front / REPLICATES, strict=True)}


def _draw(
    scores: Sequence[float], variance: float, degrees: int, random: np.random.Generator
) -> NDArray[np.float64]:
    """A design's mean in each replicate, from its moderated variance and its degrees of freedom."""
    error = math.sqrt(variance / len(scores)) * random.standard_t(degrees, size=REPLICATES)
    # rounded, so that equal scores stay equal whatever their mean's last bit
    return np.clip(fmean(scores) + error, 0.0, SUCCESS_ACCURACY).round(9)


def _on_front(
    accuracy: NDArray[np.float64], costs: NDArray[np.float64], level: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Who is a member in each replicate (a row); columns are sorted by costs, (n, m - 1)."""
    useful = np.where(accuracy >= level[:, None], accuracy, -np.inf)
    distinct, starts, group = np.unique(costs, axis=0, return_index=True, return_inverse=True)
    best = np.maximum.reduceat(useful, starts, axis=1)  # of each cost
    cheaper = np.full_like(best, -np.inf)
    for place, own in enumerate(distinct):
        # whatever costs no more stands before it
        no_worse = np.flatnonzero((distinct[:place] <= own).all(axis=1))
        cheaper[:, place] = best[:, no_worse].max(axis=1, initial=-np.inf)
    group = group.reshape(-1)
    members: NDArray[np.bool_] = (useful >= best[:, group]) & (useful > cheaper[:, group])
    return members


def _digest(everyone: Sequence[Contender], scores: Scores) -> int:
    text = json.dumps([[*c, *scores.get(c.number, ())] for c in everyone])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")

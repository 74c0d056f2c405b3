"""Ends a run that trails what led to the front at its price.

A run is compared with the runs of similar price that came to the front's accuracy there, or came
closest: at the same step, cell by cell. One that lies clearly below the worst of them somewhere,
and above them nowhere, is ended. So is one that has nothing to add, because designs at or below its
price solve the task already. Where nothing at or below its price is good enough for the front,
whatever learns at all would be a member, and nothing is ended.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from archsearch.campaign.stopping.base import Candidate, Floats, Past
from archsearch.protocol import SOLVED_ACCURACY

LEAST_PROGRESS = 0.25
"""Share of the budget before anything is ended: earlier, curves say little about their ends."""

BAND = 0.3
"""Half of the width of a cost band, in log10: prices within a factor of two either way."""

LEAST_FINISHED = 6
"""Finished runs in a band before anything is ended in it."""

LEAST_REACHED = 3
"""Runs to compare with at least; where fewer came to the front, those that came closest."""

LEAST_SOLVED = 2
"""Cheaper designs that solve the task before a price is out of the question: one may be luck."""

SCORE_TOLERANCE = 0.02
"""Scores this close count as equal: what seeds make of one design."""

QUANTILE = 0.1
MARGIN_NATS = 0.05


def stops(candidate: Candidate, past: Past) -> bool:
    """Whether nothing speaks for the run."""
    if candidate.progress < LEAST_PROGRESS:
        return False
    finished = np.isfinite(past.accuracy)
    band = finished & (np.abs(past.cost - candidate.cost) <= BAND)
    if np.count_nonzero(band) < LEAST_FINISHED:
        return False
    as_cheap = past.accuracy[finished & (past.cost <= candidate.cost)]
    if np.count_nonzero(as_cheap >= SOLVED_ACCURACY) >= LEAST_SOLVED:
        return True
    front = float(as_cheap.max(initial=0.0))
    if front < past.floor:
        return False
    bar = _bar(candidate, past, band, front)
    difference = candidate.log_probability - bar
    return bool((difference <= MARGIN_NATS).all() and (difference < -MARGIN_NATS).any())


def _bar(candidate: Candidate, past: Past, band: NDArray[np.bool_], front: float) -> Floats:
    """A low quantile, cell by cell, of the runs that are worth comparing with."""
    inside = np.flatnonzero(band)
    reached = inside[past.accuracy[inside] >= front - SCORE_TOLERANCE]
    if len(reached) < LEAST_REACHED:
        reached = inside[np.argsort(-past.accuracy[inside], kind="stable")[:LEAST_REACHED]]
    quantile: Floats = np.quantile(past.log_probability[reached, candidate.rung], QUANTILE, axis=0)
    return quantile


STOPS = stops

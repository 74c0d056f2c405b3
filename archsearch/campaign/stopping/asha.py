"""Asynchronous successive halving with two objectives (Li et al. 2020; Schmucker et al. 2021).

At each rung a run is ranked among those that came there, one of each trial told so far, by
non-dominated sorting of (log-probability, cost), and within a rank by crowding distance (Deb et al.
2002); the better half goes on. As a design's price is known from the start, such a ranking keeps
every cheap design: the rule is here to be compared with.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from archsearch.campaign.stopping.base import Candidate, Floats, Past
from archsearch.pareto import ranks

REDUCTION = 2
"""One run in so many goes on; rungs lie a factor of two apart."""

LEAST_RUNS = 4
"""Runs at a rung before any is ended there."""


def stops(candidate: Candidate, past: Past) -> bool:
    """Whether the run is in the worse part of those that came to its rung."""
    at_rung = past.log_probability[:, candidate.rung]
    came = np.isfinite(at_rung).all(axis=1) if at_rung.size else np.zeros(0, dtype=bool)
    mean = np.append(at_rung[came].mean(axis=1), candidate.log_probability.mean())
    points = np.column_stack([-mean, np.append(past.cost[came], candidate.cost)])
    if len(points) < LEAST_RUNS:
        return False
    better = int(np.count_nonzero(_before(points, len(points) - 1)))
    return better >= -(-len(points) // REDUCTION)


def _before(points: Floats, index: int) -> NDArray[np.bool_]:
    """Which points stand before one: lower in rank, or of equal rank and less crowded.

    Equal points have one crowding distance, so none of them is before another.
    """
    rank = ranks(points)
    peers = np.flatnonzero(rank == rank[index])
    distance = np.zeros(len(points))
    distance[peers] = crowding(points[peers])
    equal = (points == points[index]).all(axis=1)
    before: NDArray[np.bool_] = (rank < rank[index]) | (
        (rank == rank[index]) & (distance > distance[index]) & ~equal
    )
    return before


def crowding(points: Floats) -> Floats:
    """Crowding distance of each point of one front; equal points share the distance of one.

    Args:
        points: (n, m), minimised.
    """
    distinct, which = np.unique(points, axis=0, return_inverse=True)
    found = np.zeros(len(distinct))
    for column in distinct.T:
        order = np.argsort(column, kind="stable")
        span = column[order[-1]] - column[order[0]]
        found[order[[0, -1]]] = np.inf
        if span > 0:
            found[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / span
    return found[which.reshape(-1)]


STOPS = stops

"""Dominance, ranks, hypervolume and the knee of points of which every coordinate is minimised.

Points are the losses of ``objectives.Objective.loss``: an array (n, m), one row a design. No
function changes its input.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Points = NDArray[np.float64]


def _checked(points: ArrayLike) -> Points:
    array = np.asarray(points, dtype=np.float64)
    if array.size == 0 and array.ndim < 2:
        array = array.reshape(0, 2)
    if array.ndim != 2 or array.shape[1] < 1:
        raise ValueError(f"points must be an array (n, m); got shape {array.shape}")
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if bad.size:
        raise ValueError(f"points must be finite; row {bad[0]} is {array[bad[0]].tolist()}")
    return array


def dominates(a: ArrayLike, b: ArrayLike) -> bool:
    """Whether ``a`` is nowhere worse than ``b`` and somewhere better."""
    first, second = _checked(np.stack([np.asarray(a), np.asarray(b)]))
    return bool((first <= second).all() and (first < second).any())


def non_dominated(points: ArrayLike, *, keep_duplicates: bool = True) -> NDArray[np.bool_]:
    """Which points no other point dominates.

    Takes about n (log n + front) comparisons.

    Args:
        points: (n, m), minimised.
        keep_duplicates: Whether of equal points all are kept, or only the first.

    Returns:
        A mask (n,).

    Raises:
        ValueError: A coordinate is NaN or infinite; the message names the row.
    """
    array = _checked(points)
    distinct, first_seen, which = np.unique(array, axis=0, return_index=True, return_inverse=True)
    on_front = sorted_front(distinct)
    if keep_duplicates:
        return on_front[which.reshape(-1)]
    mask = np.zeros(len(array), dtype=bool)
    mask[first_seen[on_front]] = True
    return mask


def sorted_front(points: Points) -> NDArray[np.bool_]:
    """``non_dominated`` of rows sorted by the first coordinate, then by the second, and so on.

    Whatever dominates a row stands before it. Of equal rows the first is kept. Linear with two
    coordinates.
    """
    if points.shape[1] == 2:
        second = points[:, 1]
        beaten_from = np.append(np.inf, np.minimum.accumulate(second)[:-1])
        return np.asarray(second < beaten_from)
    front = np.empty_like(points)
    size = 0
    on_front = np.zeros(len(points), dtype=bool)
    for i, row in enumerate(points):
        if not (front[:size] <= row).all(axis=1).any():
            on_front[i] = True
            front[size] = row
            size += 1
    return on_front


def ranks(points: ArrayLike) -> NDArray[np.int64]:
    """0 for the front, 1 for the front of what remains without it, and so on (Deb et al. 2002).

    Raises:
        ValueError: A coordinate is NaN or infinite; the message names the row.
    """
    array = _checked(points)
    found = np.empty(len(array), dtype=np.int64)
    remaining = np.arange(len(array))
    rank = 0
    while remaining.size:
        front = non_dominated(array[remaining])
        found[remaining[front]] = rank
        remaining = remaining[~front]
        rank += 1
    return found


def hypervolume(points: ArrayLike, reference: ArrayLike) -> float:
    """The volume that the points dominate and the reference point bounds (Zitzler, Thiele 1998).

    A point that is not better than the reference in every coordinate adds nothing.

    Args:
        points: (n, m), minimised.
        reference: (m,).

    Raises:
        ValueError: A coordinate is NaN or infinite, or the widths differ.
    """
    array = _checked(points)
    bound = _checked(np.reshape(np.asarray(reference, dtype=np.float64), (1, -1)))[0]
    if len(array) and array.shape[1] != bound.size:
        raise ValueError(f"points have {array.shape[1]} coordinates, the reference {bound.size}")
    inside = array[(array < bound).all(axis=1)] if len(array) else array
    if not len(inside):
        return 0.0
    # takes 0.15 s, which commands that only list a front should not wait for
    import moocore

    return float(moocore.hypervolume(inside, ref=bound))


def knee(points: ArrayLike, *, cost: int = 1) -> int | None:
    """The index of the member of a front that bulges furthest towards the ideal.

    That is the member furthest below the line through the extremes, both coordinates scaled to the
    front's range (Das 1999); between equals the cheapest.

    Args:
        points: (n, 2), minimised; those that are dominated play no part.
        cost: Which coordinate says how expensive a point is.

    Returns:
        None where the front has no bulge: none of its members lies below that line.

    Raises:
        ValueError: There is no point, a coordinate is NaN or infinite, or there are not two.
    """
    array = _checked(points)
    if not len(array):
        raise ValueError("no points have no knee")
    if array.shape[1] != 2:
        raise ValueError(f"a knee is one of points with 2 coordinates; got {array.shape[1]}")
    members = np.flatnonzero(non_dominated(array))
    front = array[members]
    low = front.min(axis=0)
    spread = front.max(axis=0) - low
    if not spread.all():  # one point, perhaps repeated
        return None
    height = ((front - low) / spread).sum(axis=1)
    # points on one line differ by rounding only
    if height.min() >= 1 - 1e-9:
        return None
    lowest = np.flatnonzero(height <= height.min() + 1e-9)
    return int(members[lowest[np.argmin(front[lowest, cost])]])

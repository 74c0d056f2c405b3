"""Methods over their seeds: median times to the front, against the baselines, with intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from archsearch.bench.search import BASELINES, Outcome
from archsearch.bench.simulation import Method
from archsearch.bench.simulation import drawn as drawn_below

Floats = NDArray[np.float64]

_REPLICATES = 2000


class Ratio(NamedTuple):
    """A median share, or one median time divided by another; 95 % interval by bootstrap."""

    value: float
    low: float
    high: float | None


class Summary(NamedTuple):
    """A method over its seeds, at one number of workers.

    Attributes:
        seconds: Median time to the front; None if half of the campaigns never came there.
        low: Of its 95 % interval, by bootstrap.
        high: Likewise; None if it is beyond all campaigns.
        against: How often this median fits into that of each of ``BASELINES``; None without either.
        reached: Campaigns that came there.
        seeds: Campaigns.
    """

    method: Method
    workers: int
    seconds: float | None
    low: float | None
    high: float | None
    against: tuple[Ratio | None, ...]
    reached: int
    seeds: int
    evaluated: float
    stopped: int
    wrongful: int
    members: int
    members_stopped: int
    saved: Ratio
    saved_by_stops: Ratio
    driver_seconds: float


def summarise(outcomes: Iterable[Outcome]) -> list[Summary]:
    """One row for each method and number of workers, fastest first."""
    groups: dict[tuple[int, Method], list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault((outcome.workers, outcome.method), []).append(outcome)
    medians = {
        # who never came there counts as endless
        key: _medians(key, [np.inf if o.seconds is None else o.seconds for o in group])
        for key, group in groups.items()
    }
    rows = []
    for key, group in groups.items():
        workers, method = key
        own = medians[key]
        seconds, low, high = _interval(own)
        rows.append(
            Summary(
                method=method,
                workers=workers,
                seconds=seconds,
                low=low,
                high=high,
                against=tuple(_ratio(medians.get((workers, base)), own) for base in BASELINES),
                reached=sum(o.seconds is not None for o in group),
                seeds=len(group),
                evaluated=float(np.median([o.evaluated for o in group])),
                stopped=sum(o.stopped for o in group),
                wrongful=sum(o.wrongful for o in group),
                members=sum(o.members for o in group),
                members_stopped=sum(o.members_stopped for o in group),
                saved=_share(key, [o.saved for o in group]),
                saved_by_stops=_share(key, [o.saved_by_stops for o in group]),
                driver_seconds=float(np.median([o.driver_seconds for o in group])),
            )
        )
    return sorted(rows, key=lambda r: (r.workers, np.inf if r.seconds is None else r.seconds))


def _medians(key: tuple[int, Method], values: Sequence[float]) -> Floats:
    """The median, and those of bootstrap samples."""
    # its own for each group: equal ones would draw the same campaigns of two methods
    seed = drawn_below(f"{key[1]}/{key[0]}", 2**63)
    generator = np.random.default_rng(np.random.SeedSequence(seed))
    drawn = np.median(generator.choice(values, (_REPLICATES, len(values))), axis=1)
    return np.array([np.median(values), *drawn])


def _share(key: tuple[int, Method], values: Sequence[float]) -> Ratio:
    value, low, high = _interval(_medians(key, values))
    assert value is not None
    assert low is not None
    return Ratio(value, low, high)


def _interval(medians: Floats) -> tuple[float | None, float | None, float | None]:
    """The value and its 95 % interval; None where it is endless."""
    found = (medians[0], *np.quantile(medians[1:], (0.025, 0.975), method="nearest"))
    a, b, c = (float(v) if np.isfinite(v) else None for v in found)
    return a, b, c


def _ratio(base: Floats | None, own: Floats) -> Ratio | None:
    if base is None or not np.isfinite([base[0], own[0]]).all():
        return None
    with np.errstate(invalid="ignore"):
        quotients = base / own
    # endless by endless says nothing; half of the campaigns came there, so it is rare
    value, low, high = _interval(quotients[~np.isnan(quotients)])
    return None if value is None or low is None else Ratio(value, low, high)

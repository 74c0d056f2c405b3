"""How the designs of a table compare: each at its best rate, and those that nothing beats."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from archsearch.bench.table import Member, RunKey, TableDesign, TableRun
from archsearch.mixers.base import CONVOLUTIONS
from archsearch.objectives import LEAST_GAP, OBJECTIVES, capped_accuracy
from archsearch.pareto import non_dominated


def standings(
    designs: Iterable[TableDesign], runs: Mapping[RunKey, TableRun], rates: Sequence[float]
) -> list[Member]:
    """Each design at its best rate, as far as it was recorded.

    The rate is chosen by validation, so that the score, which is of the test, is not the best of
    several. Rates with fewer seeds than another one are no candidates.
    """
    recorded: dict[str, dict[int, list[TableRun]]] = {}
    for (key, rate, _), run in runs.items():
        recorded.setdefault(key, {}).setdefault(rate, []).append(run)
    found = []
    for design in designs:
        by_rate = recorded.get(design.key)
        if by_rate is None:
            continue
        most = max(map(len, by_rate.values()))
        full = sorted(rate for rate, seeds in by_rate.items() if len(seeds) == most)
        best = max(full, key=lambda rate: _mean(map(_validated, by_rate[rate])))
        found.append(
            Member(
                key=design.key,
                design=design.design,
                families=design.families,
                learning_rate=rates[best],
                score=_mean(map(_tested, by_rate[best])),
                flops=design.price.flops,
            )
        )
    return found


def _validated(run: TableRun) -> float:
    return capped_accuracy(run.curve[-1].accuracy) if run.accuracy and run.curve else 0.0


def _tested(run: TableRun) -> float:
    return capped_accuracy(run.accuracy) if run.accuracy else 0.0


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)


def convolutions_only(standing: Iterable[Member]) -> float | None:
    """The best score of a design of nothing but convolutions; None if there is none."""
    return max((m.score for m in standing if CONVOLUTIONS.issuperset(m.families)), default=None)


def front_of(standing: Sequence[Member], floor: float | None) -> tuple[Member, ...]:
    """The non-dominated designs that beat convolutions only, cheapest first.

    Args:
        standing: Each design at its best rate.
        floor: Best score of convolutions only; None where there is none.
    """
    least = (floor or 0.0) + LEAST_GAP
    candidates = [m for m in standing if m.score >= least]
    if not candidates:
        return ()
    losses = [
        (OBJECTIVES["accuracy"].loss(m.score), OBJECTIVES["flops"].loss(m.flops))
        for m in candidates
    ]
    members = [m for m, on in zip(candidates, non_dominated(losses), strict=True) if on]
    return tuple(sorted(members, key=lambda m: (m.flops, m.key)))

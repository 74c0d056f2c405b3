"""Several campaigns side by side: what differs in how they were scored, then whose front is better.

Scores under different protocols are not compared: with another task, budget or price two numbers do
not mean the same. What is left then are the fronts themselves, each by its own protocol.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from archsearch.campaign.reading import Reading
from archsearch.objectives import OBJECTIVES, Objective
from archsearch.pareto import dominates, hypervolume, non_dominated
from archsearch.records import FrontRow

LEVELS = 6
"""Prices at which accuracies are compared, evenly spread over the fronts on a log scale."""

_OF_SCORES = ("task", "training", "learning rates", "objectives", "oracles")
"""Unless these are alike, scores are not compared; other differences are told only."""


class Difference(NamedTuple):
    """Something in which the campaigns differ.

    Attributes:
        name: Of the setting, such as ``training.steps``.
        values: In the order of the campaigns.
        of_scores: Whether scores mean different things for it.
    """

    name: str
    values: tuple[Any, ...]
    of_scores: bool


class Common(NamedTuple):
    """A design that several campaigns trained.

    Attributes:
        rows: By the campaign's place.
    """

    digest: str
    design: str
    rows: Mapping[int, FrontRow]


class Comparison(NamedTuple):
    """Of campaigns in the order in which they were given.

    Attributes:
        differences: Of protocol and search.
        bound: The reference point of all hypervolumes, as losses: the weakest of all campaigns, so
            that no front is cut off. None if scores differ in meaning, as for all that follow but
            ``common``.
        hypervolumes: Of the fronts.
        union_hypervolume: Of all fronts together.
        on_union: How many members of each lie on the front of all together.
        covered: ``covered[i][j]``: share of the members of j that some member of i beats or equals
            (Zitzler, Thiele 1998).
        levels: Prices, ascending.
        attained: For each campaign the best accuracy at each of these prices; None for none.
        common: Designs that two or more of them trained, the most accurate first.
    """

    differences: tuple[Difference, ...]
    bound: tuple[float, ...] | None
    hypervolumes: tuple[float, ...] | None
    union_hypervolume: float | None
    on_union: tuple[int, ...] | None
    covered: tuple[tuple[float, ...], ...] | None
    levels: tuple[float, ...] | None
    attained: tuple[tuple[float | None, ...], ...] | None
    common: tuple[Common, ...]

    @property
    def is_comparable(self) -> bool:
        """Whether all scores mean the same."""
        return not any(difference.of_scores for difference in self.differences)


def compare(readings: Sequence[Reading]) -> Comparison:
    """Holds the fronts of two campaigns or more against each other."""
    found = differences(readings)
    fronts = [reading.front for reading in readings]
    common = _common([(*f.members, *f.dominated, *f.references) for f in fronts])
    nothing = Comparison(found, None, None, None, None, None, None, None, common)
    points = [reading.campaign.settings.reference_point for reading in readings]
    if not nothing.is_comparable or any(point is None for point in points):
        return nothing
    objectives = [OBJECTIVES[name] for name in fronts[0].objectives]
    losses = [[_losses(m, objectives) for m in front.members] for front in fronts]
    bound = tuple(
        max(o.loss(point[i]) for point in points if point is not None)
        for i, o in enumerate(objectives)
    )
    everyone = [point for front in losses for point in front]
    best = {p for p, on in zip(everyone, non_dominated(everyone), strict=True) if on}
    levels = _levels([m.cost for front in fronts for m in front.members])
    return nothing._replace(
        bound=bound,
        hypervolumes=tuple(hypervolume(front, bound) if front else 0.0 for front in losses),
        union_hypervolume=hypervolume(everyone, bound) if everyone else 0.0,
        on_union=tuple(sum(point in best for point in front) for front in losses),
        covered=tuple(tuple(_coverage(a, b) for b in losses) for a in losses),
        levels=levels,
        attained=tuple(
            tuple(
                max((m.accuracy for m in front.members if m.cost <= level), default=None)
                for level in levels
            )
            for front in fronts
        ),
    )


def differences(readings: Sequence[Reading]) -> tuple[Difference, ...]:
    """What differs, that of scores first."""
    tables = [_settings(reading) for reading in readings]
    found = []
    for name in dict.fromkeys(name for table in tables for name in table):
        values = tuple(table.get(name) for table in tables)
        told = [table[name] for table in tables if name in table]
        if any(value != told[0] for value in told):
            found.append(Difference(name, values, name.split(".")[0] in _OF_SCORES))
    return tuple(sorted(found, key=lambda difference: not difference.of_scores))


def _settings(reading: Reading) -> dict[str, Any]:
    """What a campaign was done by, flat; without what is not known yet."""
    file, settings = reading.campaign.file, reading.campaign.settings
    found: dict[str, Any] = {}
    for section, model in (("task", file.task), ("training", file.training)):
        for key, value in model.model_dump(mode="json").items():
            found[f"{section}.{key}"] = value
    found.pop("training.learning_rate", None)
    # what was asked for may be ``auto``
    used = {e.precision for record in reading.records for e in record.evaluations}
    del found["training.precision"]
    if used:
        found["training.precision"] = ", ".join(sorted(used))
    return {
        **found,
        "learning rates": list(file.search.learning_rates),
        "objectives": list(file.objectives),
        "constraints": [str(constraint) for constraint in file.constraints],
        "oracles": file.search.oracles,
        "space": _digest(file.space.plain()),
        "trials": settings.trials,
        "minutes": settings.time_budget_minutes,
        "rungs": list(file.search.rungs),
        "fresh seeds": len(reading.confirmations),
        "sampler": settings.sampler,
        "stopping": settings.stopping,
        "seed": settings.seed,
        "archsearch": settings.versions.get("archsearch", ""),
        "torch": settings.versions.get("torch", "").split("+")[0],
    }


def _digest(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:8]


def _common(fronts: Sequence[Sequence[FrontRow]]) -> tuple[Common, ...]:
    found: dict[str, dict[int, FrontRow]] = {}
    for place, rows in enumerate(fronts):
        for row in rows:
            if row.outcome.was_trained:
                found.setdefault(row.digest, {}).setdefault(place, row)
    shared = [
        Common(digest, next(iter(rows.values())).design, rows)
        for digest, rows in sorted(found.items())
        if len(rows) > 1
    ]
    return tuple(sorted(shared, key=lambda one: -max(r.accuracy for r in one.rows.values())))


def _losses(row: FrontRow, objectives: Sequence[Objective]) -> tuple[float, ...]:
    values = (row.accuracy, row.cost, row.learnability or 0.0)
    return tuple(o.loss(value) for o, value in zip(objectives, values, strict=False))


def _coverage(one: Sequence[tuple[float, ...]], other: Sequence[tuple[float, ...]]) -> float:
    if not other:
        return 0.0
    beaten = sum(any(p == q or dominates(p, q) for p in one) for q in other)
    return beaten / len(other)


def _levels(costs: Sequence[float]) -> tuple[float, ...]:
    if not costs:
        return ()
    low, high = max(1.0, min(costs)), max(1.0, *costs)
    if low == high:
        return (high,)
    ratio = (high / low) ** (1 / (LEVELS - 1))
    # the last one is exact: a power of a root is not
    return (*(low * ratio**i for i in range(LEVELS - 1)), high)

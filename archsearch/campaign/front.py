"""The front of a campaign, from its records: pure, and the same for every reader."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from archsearch.campaign.config import Campaign
from archsearch.campaign.references import CONV_ONLY, FULL_ATTENTION
from archsearch.canonical import has_oracle, readable
from archsearch.objectives import LEAST_GAP, Objective, gap_closed, solves
from archsearch.pareto import hypervolume, knee, non_dominated
from archsearch.records import Front, FrontRow, TrialOutcome, TrialRecord


def cost_of(record: TrialRecord, objective: Objective) -> float:
    """The second objective's value of a priced design."""
    if record.price is None:
        raise ValueError(f"trial {record.number} has no price")
    name = {"state": "state_floats"}.get(objective.name, objective.name)
    return float(getattr(record.price, name))


def losses(record: TrialRecord, objectives: Sequence[Objective]) -> tuple[float, float]:
    """(accuracy, cost) as numbers to minimise."""
    accuracy, cost = objectives
    return accuracy.loss(record.accuracy), cost.loss(cost_of(record, cost))


def split(records: Iterable[TrialRecord]) -> tuple[list[TrialRecord], list[TrialRecord]]:
    """References and searched trials."""
    references: list[TrialRecord] = []
    trials: list[TrialRecord] = []
    for record in records:
        (trials if record.reference is None else references).append(record)
    return references, trials


def _reference(references: Sequence[TrialRecord], names: Sequence[str]) -> TrialRecord | None:
    """The most accurate one of these names, the cheapest of equals.

    Accuracy is capped, so equals are usual; a dearer yardstick would flatter every ratio to it.
    """
    found = [
        r
        for r in references
        if r.outcome.was_trained and r.reference is not None and r.reference.split(" @")[0] in names
    ]
    return max(found, key=lambda r: (r.accuracy, -_flops(r), r.number), default=None)


def _flops(record: TrialRecord) -> int:
    return 0 if record.price is None else record.price.flops


def conv_only(references: Sequence[TrialRecord]) -> TrialRecord | None:
    """The convolutions-only reference: the floor."""
    return _reference(references, (CONV_ONLY,))


def full_attention(references: Sequence[TrialRecord]) -> TrialRecord | None:
    """The better of the two full-attention references: the ceiling."""
    return _reference(references, FULL_ATTENTION)


def is_candidate(record: TrialRecord, floor: float, *, oracles: bool = False) -> bool:
    """Trained, feasible, at least ``LEAST_GAP`` above convolutions only, and not told the answers.

    Args:
        record: A trial.
        floor: Accuracy of convolutions only.
        oracles: Whether designs that are told where the answers are may be candidates all the same.
    """
    if not record.outcome.was_trained or record.accuracy < floor + LEAST_GAP:
        return False
    return oracles or record.architecture is None or not has_oracle(record.architecture)


def build_front(
    records: Iterable[TrialRecord],
    objectives: Sequence[Objective],
    reference_point: tuple[float, float] | None,
    *,
    oracles: bool = False,
) -> Front:
    """The front and everything that is shown beside it.

    Args:
        records: References and trials, in any order.
        objectives: Accuracy and the cost.
        reference_point: (accuracy, cost), frozen when the references were trained.
        oracles: Whether designs that are told where the answers are may be members.
    """
    references, trials = split(records)
    floor, ceiling = conv_only(references), full_attention(references)
    floor_accuracy = floor.accuracy if floor is not None else 0.0
    candidates = [t for t in trials if is_candidate(t, floor_accuracy, oracles=oracles)]
    points = [losses(t, objectives) for t in candidates]
    mask: Sequence[bool] = list(non_dominated(points)) if points else []
    members = sorted(
        (t for t, on_front in zip(candidates, mask, strict=True) if on_front),
        key=lambda t: losses(t, objectives)[1],
    )
    member_numbers = {t.number for t in members}

    def row(record: TrialRecord) -> FrontRow:
        return _row(record, objectives, floor, ceiling, member_numbers)

    trained = [t for t in trials if t.outcome.was_trained]
    counts = dict.fromkeys((outcome.value for outcome in TrialOutcome), 0)
    for trial in trials:
        counts[trial.outcome.value] += 1
    return Front(
        objectives=tuple(o.name for o in objectives),
        members=tuple(row(t) for t in members),
        dominated=tuple(row(t) for t in trained if t.number not in member_numbers),
        references=tuple(row(r) for r in references if r.price is not None),
        hypervolume=_hypervolume(points, objectives, reference_point),
        reference_point=reference_point,
        knee=_knee([losses(t, objectives) for t in members], members),
        counts=counts,
    )


def front_of(campaign: Campaign, records: Iterable[TrialRecord]) -> Front:
    """The front of a campaign by its own settings."""
    return build_front(
        records,
        campaign.objectives,
        campaign.settings.reference_point,
        oracles=campaign.file.search.oracles,
    )


def _knee(points: Sequence[tuple[float, float]], members: Sequence[TrialRecord]) -> int | None:
    if len(members) < 3:
        # two points have no bend between them: then what recalls best is the one to show
        best = max(members, key=lambda m: m.accuracy, default=None)
        return None if best is None else best.number
    return members[knee(points)].number


def _hypervolume(
    points: Sequence[tuple[float, float]],
    objectives: Sequence[Objective],
    reference_point: tuple[float, float] | None,
) -> float | None:
    if reference_point is None:
        return None
    bound = [o.loss(v) for o, v in zip(objectives, reference_point, strict=True)]
    return hypervolume(points, bound) if points else 0.0


def _row(
    record: TrialRecord,
    objectives: Sequence[Objective],
    floor: TrialRecord | None,
    ceiling: TrialRecord | None,
    members: set[int],
) -> FrontRow:
    assert record.price is not None
    price = record.price
    per_cell = [cell.accuracy for cell in record.test]
    trained = record.outcome.was_trained
    gap = None
    cell_gaps: tuple[float | None, ...] = ()
    if trained and floor is not None and ceiling is not None:
        gap = gap_closed(record.accuracy, floor.accuracy, ceiling.accuracy)
        cell_gaps = tuple(
            gap_closed(mine.accuracy, low.accuracy, high.accuracy)
            for mine, low, high in zip(record.test, floor.test, ceiling.test, strict=True)
        )
    ratio = None
    if ceiling is not None:
        ratio = cost_of(record, objectives[1]) / cost_of(ceiling, objectives[1])
    return FrontRow(
        number=record.number,
        name=record.reference or f"trial {record.number}",
        is_reference=record.reference is not None,
        is_member=record.number in members and record.reference is None,
        oracle_bias=record.architecture is not None and has_oracle(record.architecture),
        design="" if record.architecture is None else readable(record.architecture),
        digest=record.digest,
        outcome=record.outcome,
        accuracy=record.accuracy,
        worst_cell=record.worst_cell,
        solved=trained and solves(per_cell),
        cells=tuple(cell.label for cell in record.test),
        cell_accuracy=tuple(per_cell),
        gap_closed=gap,
        cell_gap_closed=cell_gaps,
        flops=price.flops,
        flops_executed=price.flops_executed,
        cost=cost_of(record, objectives[1]),
        cost_vs_full_attention=ratio,
        growth=price.growth_text,
        subquadratic=price.growth_class.power < 2,
        params=price.params,
        state_floats=price.state_floats,
        seeds=len({(e.seed.trial, e.seed.run) for e in record.evaluations}),
        steps=record.evaluations[-1].step if record.evaluations else 0,
        seconds=sum(e.seconds for e in record.evaluations),
    )

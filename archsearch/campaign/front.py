"""The front of a campaign, from its records: pure, and the same for every reader."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

from archsearch.campaign.config import Campaign
from archsearch.campaign.estimates import (
    Scores,
    by_trial,
    cell_means,
    intervals,
    scores_of,
)
from archsearch.campaign.standing import (
    Standing,
    cost_of,
    full_attention,
    losses,
    probabilities,
    stand,
)
from archsearch.canonical import has_oracle, readable
from archsearch.objectives import Objective, gap_closed, solves
from archsearch.pareto import hypervolume, knee
from archsearch.records import Confirmation, Front, FrontRow, TrialOutcome, TrialRecord
from archsearch.space.schema import DEFAULT_CONFIRM_SEEDS

CLEAR = 0.9
"""The probability from which a member is confirmed; below its complement a design is off."""


def build_front(
    records: Iterable[TrialRecord],
    objectives: Sequence[Objective],
    reference_point: tuple[float, ...] | None,
    *,
    oracles: bool = False,
    confirmations: Sequence[Confirmation] = (),
    confirm_seeds: int = DEFAULT_CONFIRM_SEEDS,
) -> Front:
    """The front and everything that is shown beside it.

    Args:
        records: References and trials, in any order.
        objectives: Accuracy, the cost, and perhaps learnability.
        reference_point: Their values, frozen when the references were trained.
        oracles: Whether designs that are told where the answers are may be members.
        confirmations: Of any of them, in any order; they replace the search's scores.
        confirm_seeds: How many fresh seeds confirm a member.
    """
    records = list(records)
    scores = scores_of(confirmations)
    standing = stand(records, objectives, scores=scores, oracles=oracles)
    members, candidates = standing.members, standing.candidates
    seed = confirmations[0].evaluation.seed.campaign if confirmations else 0
    rows = _Rows(
        objectives,
        standing,
        {m.number for m in members},
        {r.number: r.accuracy for r in records},
        by_trial(confirmations),
        intervals(scores),
        probabilities(standing, objectives, scores, seed, oracles=oracles),
        confirm_seeds,
    )
    counts = dict.fromkeys((outcome.value for outcome in TrialOutcome), 0)
    for trial in standing.trials:
        counts[trial.outcome.value] += 1
    points = [losses(t, objectives) for t in candidates]
    shown = tuple(rows.of(t) for t in members)
    return Front(
        objectives=tuple(o.name for o in objectives),
        members=shown,
        dominated=tuple(
            rows.of(t)
            for t in standing.trials
            if t.outcome.was_trained and t.number not in rows.members
        ),
        references=tuple(rows.of(r) for r in standing.references if r.price is not None),
        hypervolume=_hypervolume(points, objectives, reference_point),
        reference_point=reference_point,
        knee=_knee([losses(t, objectives) for t in members], shown),
        counts=counts,
        winners_curse=_winners_curse(stand(records, objectives, oracles=oracles).members, scores)
        if scores
        else None,
    )


def _winners_curse(chosen: Sequence[TrialRecord], scores: Scores) -> float | None:
    """Mean drop of those that the search's scores had put on the front."""
    drops = [m.accuracy - fmean(scores[m.number]) for m in chosen if m.number in scores]
    return fmean(drops) if drops else None


def front_of(
    campaign: Campaign,
    records: Iterable[TrialRecord],
    confirmations: Sequence[Confirmation] = (),
) -> Front:
    """The front of a campaign by its own settings."""
    return build_front(
        records,
        campaign.objectives,
        campaign.settings.reference_point,
        oracles=campaign.file.search.oracles,
        confirmations=confirmations,
        confirm_seeds=campaign.settings.confirm_seeds or DEFAULT_CONFIRM_SEEDS,
    )


def best_of(rows: Iterable[FrontRow]) -> FrontRow | None:
    """The most accurate; of those equal to three digits, as tables show them, the cheapest."""
    return max(rows, key=lambda row: (round(row.accuracy, 3), -row.cost), default=None)


def _knee(points: Sequence[tuple[float, ...]], members: Sequence[FrontRow]) -> int | None:
    # of accuracy and cost: with a third objective an extreme may lie next to the ideal in two
    found = knee([point[:2] for point in points]) if members else None
    # where nothing bulges, as recall jumps at some price, what recalls best is the one to show
    row = best_of(members) if found is None else members[found]
    return None if row is None else row.number


def _hypervolume(
    points: Sequence[tuple[float, ...]],
    objectives: Sequence[Objective],
    reference_point: tuple[float, ...] | None,
) -> float | None:
    if reference_point is None:
        return None
    bound = [o.loss(v) for o, v in zip(objectives, reference_point, strict=True)]
    return hypervolume(points, bound) if points else 0.0


class _Rows(NamedTuple):
    """What rows are made of."""

    objectives: Sequence[Objective]
    standing: Standing
    members: set[int]
    search_accuracy: Mapping[int, float]
    confirmations: Mapping[int, Sequence[Confirmation]]
    intervals: Mapping[int, tuple[float, float]]
    p_on_front: Mapping[int, float]
    confirm_seeds: int

    def of(self, record: TrialRecord) -> FrontRow:
        """A row."""
        assert record.price is not None
        price, number = record.price, record.number
        fresh = self.confirmations.get(number, ())
        cells = self._cells(record)
        ceiling = full_attention(self.standing.references)
        cost, ratio = cost_of(record, self.objectives[1]), None
        if ceiling is not None:
            ratio = cost / cost_of(ceiling, self.objectives[1])
        low, high = self.intervals.get(number, (None, None))
        return FrontRow(
            number=number,
            name=record.reference or f"trial {number}",
            is_reference=record.reference is not None,
            is_member=self._is_member(record),
            oracle_bias=record.architecture is not None and has_oracle(record.architecture),
            design="" if record.architecture is None else readable(record.architecture),
            digest=record.digest,
            outcome=record.outcome,
            accuracy=record.accuracy,
            search_accuracy=self.search_accuracy[number],
            low=low,
            high=high,
            worst_cell=min(cells, default=0.0),
            solved=record.outcome.was_trained and solves(cells),
            cells=tuple(cell.label for cell in record.test),
            cell_accuracy=cells,
            **self._gaps(record, ceiling),
            flops=price.flops,
            flops_executed=price.flops_executed,
            cost=cost,
            cost_vs_full_attention=ratio,
            growth=price.growth_text,
            subquadratic=price.growth_class.power < 2,
            params=price.params,
            state_floats=price.state_floats,
            learning_rate=None if record.scored is None else record.scored.learning_rate,
            learnability=record.learnability,
            seeds=len(fresh) or (1 if record.evaluations else 0),
            p_on_front=self.p_on_front.get(number),
            confirmed=self._is_confirmed(record, len(fresh)),
            steps=0 if record.scored is None else record.scored.step,
            seconds=record.seconds + sum(c.evaluation.seconds for c in fresh),
        )

    def _cells(self, record: TrialRecord) -> tuple[float, ...]:
        return cell_means(record, self.confirmations.get(record.number, ()))

    def _is_member(self, record: TrialRecord) -> bool:
        return record.reference is None and record.number in self.members

    def _is_confirmed(self, record: TrialRecord, fresh: int) -> bool:
        if fresh < self.confirm_seeds:
            return False
        if record.reference is not None:
            return True
        return self._is_member(record) and self.p_on_front.get(record.number, 0.0) >= CLEAR

    def _gaps(self, record: TrialRecord, ceiling: TrialRecord | None) -> dict[str, Any]:
        """Gap closed, overall and for each cell."""
        floor = self.standing.floor
        if not record.outcome.was_trained or floor is None or ceiling is None:
            return {"gap_closed": None, "cell_gap_closed": ()}
        between = map(self._cells, (record, floor, ceiling))
        return {
            "gap_closed": gap_closed(record.accuracy, floor.accuracy, ceiling.accuracy),
            "cell_gap_closed": tuple(
                gap_closed(mine, low, high) for mine, low, high in zip(*between, strict=True)
            ),
        }

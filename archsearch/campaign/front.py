"""The front of a campaign, from its records: pure, and the same for every reader."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

from archsearch.campaign.config import Campaign
from archsearch.campaign.estimates import (
    Contender,
    Scores,
    by_trial,
    cell_means,
    estimated,
    intervals,
    membership,
    scores_of,
)
from archsearch.campaign.references import CONV_ONLY, FULL_ATTENTION
from archsearch.canonical import has_oracle, readable
from archsearch.objectives import LEAST_GAP, Objective, gap_closed, solves
from archsearch.pareto import hypervolume, knee, non_dominated
from archsearch.records import Confirmation, Front, FrontRow, TrialOutcome, TrialRecord
from archsearch.space.schema import DEFAULT_CONFIRM_SEEDS

NEAR = 0.03
"""A design this far below the front may have been unlucky; seeds of MQAR differ by as much."""

CLEAR = 0.9
"""The probability from which a member is confirmed; below its complement a design is off."""


def cost_of(record: TrialRecord, objective: Objective) -> float:
    """The second objective's value of a priced design."""
    if record.price is None:
        raise ValueError(f"trial {record.number} has no price")
    name = {"state": "state_floats"}.get(objective.name, objective.name)
    return float(getattr(record.price, name))


def value_of(record: TrialRecord, objective: Objective) -> float:
    """Any objective's value of a priced design; where nothing was learned, no rate works."""
    if objective.name == "accuracy":
        return record.accuracy
    if objective.name == "learnability":
        return record.learnability or 0.0
    return cost_of(record, objective)


def losses(record: TrialRecord, objectives: Sequence[Objective]) -> tuple[float, ...]:
    """Accuracy, cost and perhaps learnability, as numbers to minimise."""
    return tuple(objective.loss(value_of(record, objective)) for objective in objectives)


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


class Standing(NamedTuple):
    """Who is where by the best estimates.

    Attributes:
        references: With their estimates as accuracy.
        trials: Likewise.
        floor: Convolutions only.
        candidates: Trials that may be members, in any order.
        members: Those that none beats, cheapest first.
    """

    references: list[TrialRecord]
    trials: list[TrialRecord]
    floor: TrialRecord | None
    candidates: list[TrialRecord]
    members: list[TrialRecord]

    @property
    def level(self) -> float:
        """What a candidate has to reach."""
        return LEAST_GAP + (0.0 if self.floor is None else self.floor.accuracy)


def stand(
    records: Iterable[TrialRecord],
    objectives: Sequence[Objective],
    *,
    scores: Scores | None = None,
    oracles: bool = False,
) -> Standing:
    """The front by the best estimates: fresh seeds where there are any, else the search's score."""
    references, trials = split(estimated(records, scores or {}))
    floor = conv_only(references)
    floor_accuracy = floor.accuracy if floor is not None else 0.0
    candidates = [t for t in trials if is_candidate(t, floor_accuracy, oracles=oracles)]
    points = [losses(t, objectives) for t in candidates]
    mask: Sequence[bool] = list(non_dominated(points)) if points else []
    members = sorted(
        (t for t, on_front in zip(candidates, mask, strict=True) if on_front),
        key=lambda t: losses(t, objectives)[1],
    )
    return Standing(references, trials, floor, candidates, members)


def margins(
    standing: Standing, objectives: Sequence[Objective], *, oracles: bool = False
) -> dict[int, float]:
    """How far each design's accuracy lies above what makes it a member, by the trial's number.

    What is below zero rises by as much to become one. Designs that were not trained, or may not be
    members, are left out.
    """
    found: dict[int, float] = {}
    members = {m.number: losses(m, objectives)[1:] for m in standing.members}
    for trial in standing.trials:
        if not is_candidate(trial, -LEAST_GAP, oracles=oracles):
            continue
        mine = losses(trial, objectives)[1:]
        needed = standing.level
        for member in standing.members:
            theirs = members[member.number]
            no_worse = all(a <= b for a, b in zip(theirs, mine, strict=True))
            # an equal of the same cost stands beside it
            if no_worse and (theirs != mine or trial.number not in members):
                needed = max(needed, member.accuracy)
        found[trial.number] = trial.accuracy - needed
    return found


def near_members(
    standing: Standing, objectives: Sequence[Objective], *, oracles: bool = False
) -> list[int]:
    """Designs that would be members if they scored ``NEAR`` higher, nearest first.

    At most as many as there are members: many designs of a solved task lie at the cap.
    """
    members = {m.number for m in standing.members}
    below = margins(standing, objectives, oracles=oracles)
    costs = {t.number: losses(t, objectives)[1] for t in standing.trials if t.number in below}
    near = sorted(
        (number for number, margin in below.items() if number not in members and margin >= -NEAR),
        key=lambda number: (-below[number], costs[number], number),
    )
    return near[: len(members)]


def probabilities(
    standing: Standing,
    objectives: Sequence[Objective],
    scores: Scores,
    seed: int,
    *,
    oracles: bool = False,
) -> dict[int, float]:
    """The probability to be on the front, of members, near-members and all with fresh seeds.

    The others stay out of it: each of them is beaten by more than ``NEAR``, and were many of them
    given noise as well, the luckiest would beat every member.
    """
    if not scores:
        return {}
    near = set(near_members(standing, objectives, oracles=oracles))
    near |= {m.number for m in standing.members}

    def contender(record: TrialRecord) -> Contender:
        return Contender(record.number, losses(record, objectives)[1:], record.accuracy)

    return membership(
        [
            contender(t)
            for t in standing.trials
            if is_candidate(t, -LEAST_GAP, oracles=oracles)
            and (t.number in near or t.number in scores)
        ],
        None if standing.floor is None else contender(standing.floor),
        scores,
        seed,
    )


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
    return Front(
        objectives=tuple(o.name for o in objectives),
        members=tuple(rows.of(t) for t in members),
        dominated=tuple(
            rows.of(t)
            for t in standing.trials
            if t.outcome.was_trained and t.number not in rows.members
        ),
        references=tuple(rows.of(r) for r in standing.references if r.price is not None),
        hypervolume=_hypervolume(points, objectives, reference_point),
        reference_point=reference_point,
        knee=_knee([losses(t, objectives) for t in members], members),
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


def _knee(points: Sequence[tuple[float, ...]], members: Sequence[TrialRecord]) -> int | None:
    if len(members) < 3:
        # two points have no bend between them: then what recalls best is the one to show
        best = max(members, key=lambda m: m.accuracy, default=None)
        return None if best is None else best.number
    return members[knee(points)].number


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
            seconds=sum(e.seconds for e in record.evaluations)
            + sum(c.evaluation.seconds for c in fresh),
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

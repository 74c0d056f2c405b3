"""Who is where in a campaign by the best estimates: values, candidates, members, who is near."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from archsearch.campaign.estimates import Contender, Scores, estimated, membership
from archsearch.campaign.references import CONV_ONLY, FULL_ATTENTION
from archsearch.canonical import has_oracle
from archsearch.costs import Price
from archsearch.objectives import LEAST_GAP, Objective
from archsearch.pareto import non_dominated
from archsearch.records import TrialOutcome, TrialRecord

NEAR = 0.03
"""A design this far below the front may have been unlucky; seeds of MQAR differ by as much."""


def cost_of(record: TrialRecord, objective: Objective) -> float:
    """The second objective's value of a priced design."""
    if record.price is None:
        raise ValueError(f"trial {record.number} has no price")
    return priced_at(record.price, objective)


def priced_at(price: Price, objective: Objective) -> float:
    """The second objective's value at a price."""
    name = {"state": "state_floats"}.get(objective.name, objective.name)
    return float(getattr(price, name))


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


def _named(references: Sequence[TrialRecord], names: Sequence[str]) -> list[TrialRecord]:
    """Those of these names, at all widths."""
    return [
        r for r in references if r.reference is not None and r.reference.split(" @")[0] in names
    ]


def _reference(references: Sequence[TrialRecord], names: Sequence[str]) -> TrialRecord | None:
    """The most accurate one of these names, the cheapest of equals.

    Accuracy is capped, so equals are usual; a dearer yardstick would flatter every ratio to it.
    """
    found = [r for r in _named(references, names) if r.outcome.was_trained]
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
    return oracles or not is_oracle(record)


def is_oracle(record: TrialRecord) -> bool:
    """Whether the design is told where the answers are."""
    return record.architecture is not None and has_oracle(record.architecture)


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
    # the search begins while references are trained: until then nobody is known to be above it
    ended = any(r.outcome is not TrialOutcome.RUNNING for r in _named(references, (CONV_ONLY,)))
    eligible = trials if ended else []
    candidates = [t for t in eligible if is_candidate(t, floor_accuracy, oracles=oracles)]
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

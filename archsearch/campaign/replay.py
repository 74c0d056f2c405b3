"""Derives every decision of a campaign anew from its records, and finds the first that differs.

The order in which trials were told is recorded, and what had been told when each was asked, each
rung was judged and each design was trained again. So proposals, rejections, races, stops and
confirmations follow again, one by one, without training anything: what workers answered is taken
from the records.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from archsearch.campaign import confirmation, policy, race
from archsearch.campaign.config import Campaign
from archsearch.campaign.judge import Judge
from archsearch.campaign.policy import Action, SearchState
from archsearch.campaign.proposals import Proposer
from archsearch.records import Confirmation, Evaluation, TrialOutcome, TrialRecord
from archsearch.storage import MEMORY, Store


class Difference(NamedTuple):
    """Where a replay left the record.

    Attributes:
        trial: Its number.
        decision: Which decision differs.
        recorded: As the campaign decided.
        derived: As it follows from the records.
    """

    trial: int
    decision: str
    recorded: str
    derived: str


class Replay(NamedTuple):
    """What a replay found.

    Attributes:
        proposals: Drawn again.
        judgements: Made again.
        confirmations: Asked for again.
        first: The first difference; None if there is none.
        left: How many trials were not followed: the first that was never told, as it is still
            running or the campaign was ended before, and all after it.
    """

    proposals: int
    judgements: int
    confirmations: int
    first: Difference | None
    left: int = 0


def replay(
    campaign: Campaign,
    records: Sequence[TrialRecord],
    confirmations: Sequence[Confirmation] = (),
) -> Replay:
    """Follows the references, a campaign's trials by their numbers, and its confirmations.

    Args:
        campaign: The campaign; it is only read.
        records: All of its records. Trials that were never told are left out.
        confirmations: All of them; older ones do not say what they followed from.
    """
    references = [r for r in records if r.reference is not None]
    told = sorted(
        (r for r in records if r.reference is None and r.told_order is not None),
        key=lambda r: r.told_order or 0,
    )
    judge = Judge(campaign)
    for record in (*references, *told):
        judge.learn(record)
    proposals = judgements = 0
    for reference in references:
        found = _judged(judge, reference)
        if found is not None:
            return Replay(proposals, judgements, 0, found)
        judgements += len(reference.judgements)
    store = Store(MEMORY, "replay", objectives=campaign.objectives, create=True)
    proposer = Proposer(campaign, store, ())
    waiting = list(reversed(told))
    for record in _unbroken(sorted(told, key=lambda r: r.number)):
        while waiting and (waiting[-1].told_order or 0) <= record.known:
            _tell(store, proposer, waiting.pop())
        found = (
            _lagging(campaign.settings.lag, record, records)
            or _proposal(store, proposer, record)
            or _judged(judge, record)
        )
        if found is not None:
            return Replay(proposals, judgements, 0, found)
        proposals += 1
        judgements += len(record.judgements)
    found = _confirmed(campaign, records, confirmations)
    followed = sum(c.known is not None for c in confirmations) if found is None else 0
    left = sum(r.reference is None for r in records) - proposals
    return Replay(proposals, judgements, followed, found, left)


def _confirmed(
    campaign: Campaign, records: Sequence[TrialRecord], confirmations: Sequence[Confirmation]
) -> Difference | None:
    stray = confirmation.stray(confirmation.terms_of(campaign), records, confirmations)
    if stray is None:
        return None
    decision = f"batch {stray.batch} of the confirmation"
    return Difference(stray.number, decision, f"fresh seed {stray.seed + 1}", "not asked for")


def _unbroken(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Those before the first number that is missing: it is still running, or was never told."""
    found: list[TrialRecord] = []
    for record in records:
        if record.number != len(found):
            break
        found.append(record)
    return found


def _tell(store: Store, proposer: Proposer, record: TrialRecord) -> None:
    if record.number in store.running():
        store.tell(record, proposer.told_values(record))
        proposer.remember(record)


def _lagging(
    lag: int | None, record: TrialRecord, records: Sequence[TrialRecord]
) -> Difference | None:
    """Whether a deterministic campaign asked and judged the trial knowing what it had to know."""
    if lag is None:
        return None
    before = [r for r in records if r.reference is not None or r.number <= record.number - lag]
    wanted = max((r.told_order or 0 for r in before), default=0)
    found = {record.known, *(j.known for j in record.judgements)}
    return _first(record.number, [("told before it", sorted(found), [wanted])])


def _proposal(store: Store, proposer: Proposer, record: TrialRecord) -> Difference | None:
    number = store.ask()
    assert number == record.number
    row = proposer.duplicates_before(number)
    action = policy.decide(SearchState(duplicates_in_row=row)).action
    drawn = proposer.draw(number, random=action is Action.ASK_RANDOM)
    rejected = (TrialOutcome.DUPLICATE, TrialOutcome.INFEASIBLE)
    outcome = record.outcome if record.outcome in rejected else TrialOutcome.RUNNING
    pairs: list[tuple[str, Any, Any]] = [
        ("proposal", dict(sorted(record.params.items())), dict(sorted(drawn.params.items()))),
        ("rejection", outcome.value, drawn.outcome.value),
        ("duplicate of", record.duplicate_of, drawn.duplicate_of),
        ("violations", record.violations, drawn.violations),
    ]
    return _first(record.number, pairs)


def _first(number: int, pairs: Iterable[tuple[str, Any, Any]]) -> Difference | None:
    for decision, recorded, derived in pairs:
        if recorded != derived:
            return Difference(number, decision, str(recorded), str(derived))
    return None


def _judged(judge: Judge, record: TrialRecord) -> Difference | None:
    """The first decision about the trial's runs that does not follow."""
    if not record.evaluations or record.failure is not None:
        return None
    state = record.model_copy(
        update={
            "evaluations": (),
            "judgements": (),
            "outcome": TrialOutcome.RUNNING,
            "scored_run": None,
            "accuracy": 0.0,
            "learnability": None,
        }
    )
    known = iter([j.known for j in record.judgements])
    arrived = {(e.seed.run, i): e for e, i in _by_rung(record)}
    for rung in itertools.count():
        state, moves = judge.advance(state, next(known, 0) if state.evaluations else 0)
        if not moves:
            break
        for move in moves:
            evaluation = arrived.get((move.run, rung))
            if evaluation is None:
                return Difference(
                    record.number, f"run {move.run}", "ended", f"goes on to {move.to_step}"
                )
            state = race.with_rung(state, evaluation)
    derived = judge.concluded(state)
    return _first(
        record.number,
        [
            ("judgements", record.judgements, derived.judgements),
            ("outcome", record.outcome.value, derived.outcome.value),
            ("scored run", record.scored_run, derived.scored_run),
            ("accuracy", record.accuracy, derived.accuracy),
            ("learnability", record.learnability, derived.learnability),
        ],
    )


def _by_rung(record: TrialRecord) -> list[tuple[Evaluation, int]]:
    """Each rung of a run as it arrived, its curve given back, with its place."""
    curves = {run: last.curve for run, last in record.runs.items()}
    seen: dict[int, int] = {}
    found = []
    for evaluation in record.evaluations:
        run = evaluation.seed.run
        curve = tuple(p for p in curves[run] if p.step <= evaluation.step)
        found.append((evaluation.model_copy(update={"curve": curve}), seen.get(run, 0)))
        seen[run] = seen.get(run, 0) + 1
    return found

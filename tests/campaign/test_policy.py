"""The policy is a function: a table, and properties over simulated campaigns."""

from __future__ import annotations

import dataclasses
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archsearch.campaign import policy
from archsearch.campaign.policy import Action, SearchState, decide
from archsearch.protocol import TrainingConfig
from archsearch.records import Failure, FailureKind

MANY = policy.RANDOM_AFTER_DUPLICATES
BUSY = {"in_flight": 1, "requests": 1, "slots": 1}


@pytest.mark.parametrize(
    ("state", "action"),
    [
        ({}, Action.ASK),
        ({"target": 5, "evaluated": 4}, Action.ASK),
        ({"target": 5, "evaluated": 5}, Action.FINISH),
        ({"target": 5, "evaluated": 6}, Action.FINISH),
        ({"target": 5, "evaluated": 4, "in_flight": 1, "requests": 1, "slots": 4}, Action.WAIT),
        (BUSY, Action.WAIT),
        ({"draining": True}, Action.FINISH),
        ({"draining": True, "in_flight": 1, "requests": 1, "slots": 9}, Action.WAIT),
        # its next rung is for the next session
        ({"draining": True, "in_flight": 1, "requests": 0}, Action.FINISH),
        ({"in_flight": 1, "requests": 3, "slots": 4}, Action.ASK),
        ({"blocked": True, "in_flight": 1}, Action.WAIT),
        ({"references": 6, "requests": 6, "slots": 7}, Action.ASK),
        ({"references": 6, "requests": 6, "slots": 6}, Action.WAIT),
        ({"references": 1, "target": 3, "evaluated": 3, "slots": 9}, Action.WAIT),
        ({"references": 1, "draining": True}, Action.FINISH),
        ({"lost_reference": "lost", "references": 1, "in_flight": 2}, Action.ABORT),
        ({"lost_reference": "lost", "references": 1, **BUSY}, Action.WAIT),
        ({"budget_seconds": 60.0, "elapsed_seconds": 59.9}, Action.ASK),
        ({"budget_seconds": 60.0, "elapsed_seconds": 60.0}, Action.FINISH),
        ({"budget_seconds": 60.0, "elapsed_seconds": 60.0, **BUSY}, Action.WAIT),
        ({"duplicates_in_row": MANY - 1}, Action.ASK),
        ({"duplicates_in_row": MANY}, Action.ASK_RANDOM),
        ({"duplicates_in_row": MANY + 1}, Action.ASK_RANDOM),
        ({"duplicates_in_row": 2 * MANY}, Action.ASK_RANDOM),
        ({"duplicates_in_row": 2 * MANY + 1}, Action.ASK_RANDOM),
        ({"duplicates_in_row": 20 * MANY}, Action.ASK_RANDOM),
        ({"duplicates_in_row": MANY, **BUSY}, Action.WAIT),
        ({"known_in_row": 199}, Action.ASK),
        ({"known_in_row": 200}, Action.FINISH),
        ({"known_in_row": 200, "in_flight": 1, "slots": 2}, Action.WAIT),
        ({"failed_in_row": 19, "failed": 19, "evaluated": 19}, Action.ASK),
        ({"failed_in_row": 20, "failed": 20, "evaluated": 20}, Action.ABORT),
        ({"failed_in_row": 20, "failed": 20, "evaluated": 20, **BUSY}, Action.WAIT),
        ({"failed": 25, "evaluated": 50}, Action.ASK),
        ({"failed": 26, "evaluated": 50}, Action.ABORT),
        ({"failed": 49, "evaluated": 49}, Action.ASK),
    ],
)
def test_table(state: dict[str, int], action: Action) -> None:
    decision = decide(SearchState(**state))  # type: ignore[arg-type]
    assert decision.action is action
    assert bool(decision.reason) == (action in (Action.FINISH, Action.ABORT))


def test_the_reason_is_the_users_first() -> None:
    # but for what it would have come to without them
    assert decide(SearchState(draining=True, lost_reference="lost")).reason == "lost"
    assert decide(SearchState(draining=True, target=0)).reason == "stopped by the user"
    assert "exhausted" in decide(SearchState(known_in_row=200)).reason
    assert (
        decide(SearchState(budget_seconds=90.0, elapsed_seconds=91)).reason == "1.5 minutes spent"
    )


states = st.builds(
    SearchState,
    evaluated=st.integers(0, 100),
    in_flight=st.integers(0, 8),
    requests=st.integers(0, 12),
    blocked=st.booleans(),
    slots=st.integers(1, 8),
    target=st.none() | st.integers(1, 100),
    elapsed_seconds=st.floats(0, 1e4),
    budget_seconds=st.none() | st.floats(1, 1e4),
    duplicates_in_row=st.integers(0, 250),
    known_in_row=st.integers(0, 250),
    failed=st.integers(0, 100),
    failed_in_row=st.integers(0, 30),
    draining=st.booleans(),
)


@given(states)
def test_it_never_asks_for_more_than_it_may(state: SearchState) -> None:
    action = decide(state).action
    if action in (Action.ASK, Action.ASK_RANDOM):
        assert state.requests < state.slots
        assert not state.blocked
        assert state.target is None or state.evaluated + state.in_flight < state.target
        assert state.budget_seconds is None or state.elapsed_seconds < state.budget_seconds
        assert state.known_in_row < policy.EXHAUSTED_AFTER
        assert state.failed_in_row < policy.MAX_CONSECUTIVE_FAILURES
        assert not state.draining


@given(states)
def test_it_waits_only_for_something_and_ends_only_when_nothing_is_left(state: SearchState) -> None:
    decision = decide(state)
    if decision.action is Action.WAIT:
        assert state.in_flight > 0 or state.requests > 0 or state.blocked
    if decision.action in (Action.FINISH, Action.ABORT):
        assert (state.requests if state.draining else state.in_flight) == 0


@given(states)
def test_a_wish_to_stop_is_obeyed(state: SearchState) -> None:
    action = decide(dataclasses.replace(state, draining=True)).action
    assert action is (Action.WAIT if state.requests else Action.FINISH)


@given(
    st.integers(1, 6),
    st.none() | st.integers(1, 40),
    st.integers(1, 40),
    st.integers(0, 2**32),
)
def test_a_simulated_campaign_ends_with_its_budget_or_its_space(
    slots: int, target: int | None, designs: int, seed: int
) -> None:
    """Uniform draws from a finite space: no limit but the space if there is no target."""
    rng = random.Random(seed)
    known: set[int] = set()
    evaluated, flying, in_row = 0, 0, 0
    for _ in range(100_000):
        decision = decide(
            SearchState(
                evaluated=evaluated,
                in_flight=flying,
                requests=flying,
                slots=slots,
                target=target,
                duplicates_in_row=in_row,
                known_in_row=in_row,
            )
        )
        if decision.action in (Action.ASK, Action.ASK_RANDOM):
            drawn = rng.randrange(designs)
            in_row = in_row + 1 if drawn in known else 0
            flying += drawn not in known
            known.add(drawn)
        elif decision.action is Action.WAIT:
            flying -= 1
            evaluated += 1
        else:
            break
    assert decision.action is Action.FINISH
    assert flying == 0
    assert evaluated == len(known)
    assert (evaluated == target) or (in_row == policy.EXHAUSTED_AFTER)


@given(st.integers(1, 200))
def test_draws_are_random_after_a_row_of_duplicates_until_one_is_new(length: int) -> None:
    actions = [decide(SearchState(duplicates_in_row=n)).action for n in range(length)]
    assert actions.count(Action.ASK) == min(length, MANY)


@pytest.mark.parametrize(
    ("kind", "attempts"),
    [
        (FailureKind.ERROR, 1),
        (FailureKind.TIMEOUT, 1),
        (FailureKind.CRASHED, 2),
        (FailureKind.LOST, 3),
    ],
)
def test_only_the_machines_failures_are_tried_again(kind: FailureKind, attempts: int) -> None:
    failure = Failure(kind=kind, message="x")
    assert [policy.tries_again(failure, n) for n in (1, 2, 3)] == [n < attempts for n in (1, 2, 3)]


@pytest.mark.parametrize(
    ("steps", "every", "shares", "expected"),
    [
        (1600, 50, (0.125, 0.25, 0.5), (200, 400, 800, 1600)),
        (1600, 50, (), (1600,)),
        # rounded up to a validation; two that fall together are one
        (100, 30, (0.1, 0.2, 0.4), (30, 60, 100)),
        (10, 50, (0.1, 0.9), (10,)),
        (4, 2, (0.5, 0.99), (2, 4)),
    ],
)
def test_rungs_lie_at_validations_and_end_with_the_budget(
    steps: int, every: int, shares: tuple[float, ...], expected: tuple[int, ...]
) -> None:
    training = TrainingConfig(steps=steps, eval_every=every)
    assert policy.rungs(training, shares) == expected


@given(st.lists(st.floats(0, 1e5)))
def test_a_deadline_is_generous(seconds: list[float]) -> None:
    limit = policy.deadline_seconds(seconds)
    assert limit >= 600
    assert all(limit >= 10 * s for s in seconds)
    assert seconds or limit == 4 * 3600


def test_infeasible_proposals_do_not_exhaust_a_space() -> None:
    assert decide(SearchState(infeasible_in_row=1999)).action is Action.ASK
    ending = decide(SearchState(infeasible_in_row=1990, known_in_row=10))
    assert ending.action is Action.FINISH
    assert ending.reason == (
        "of the last 2000 proposals 1990 were infeasible and 10 known;"
        " loosen the constraints or widen the space"
    )

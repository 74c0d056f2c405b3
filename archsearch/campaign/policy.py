"""What comes next: pure functions of plain state, so that a decision can be tested and replayed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from archsearch.campaign.race import Plan
from archsearch.protocol import TrainingConfig
from archsearch.records import Failure, FailureKind
from archsearch.space import CampaignFile

RANDOM_AFTER_DUPLICATES = 5
"""Duplicates in a row after which draws are random until one is new.

A sampler may be stuck, a space may be small. Asked again with an unchanged history, TPE mostly
repeats itself: of its proposals in a space of 90 designs, two in three were known; near the end of
one of 320, ever longer rows of them took longer than the training."""

EXHAUSTED_AFTER = 200
"""Known designs met since the last new one, after which the space counts as exhausted."""

FRUITLESS_AFTER = 2000
"""Proposals since the last new and feasible design, after which the search gives up."""

MAX_CONSECUTIVE_FAILURES = 20
MIN_FINISHED_FOR_SHARE = 50
MAX_FAILED_SHARE = 0.5

_ATTEMPTS = {FailureKind.CRASHED: 2, FailureKind.LOST: 3}
_FIRST_DEADLINE_SECONDS = 4 * 3600.0
_LEAST_DEADLINE_SECONDS = 600.0


class Action(StrEnum):
    """What the driver does next."""

    ASK = "ask"
    ASK_RANDOM = "ask_random"
    WAIT = "wait"
    FINISH = "finish"
    ABORT = "abort"


class Decision(NamedTuple):
    """An action, and the reason where it ends the campaign."""

    action: Action
    reason: str = ""


@dataclass(frozen=True)
class SearchState:
    """All that decides what comes next.

    Attributes:
        evaluated: Trials that count against the budget: trained, diverged, out of memory, failed.
        in_flight: Trials asked to be trained and not done.
        requests: Pieces of their runs that are under way or wait for a worker.
        slots: How many may be.
        references: Reference designs that are to be trained and are not yet.
        lost_reference: Why one of them could not be; empty if none was lost.
        blocked: A deterministic campaign waits for the references, or for a certain trial, before
            it may ask.
        target: The budget of trials; None for no limit.
        elapsed_seconds: Over all sessions of the campaign.
        budget_seconds: None for no limit.
        duplicates_in_row: Proposals just before the next that were known already.
        known_in_row: Known designs proposed since the last new and feasible one.
        infeasible_in_row: Infeasible ones since then.
        failed: Trials without a result.
        failed_in_row: The last ones told.
        draining: The user asked to stop.
    """

    evaluated: int = 0
    in_flight: int = 0
    requests: int = 0
    slots: int = 1
    references: int = 0
    lost_reference: str = ""
    blocked: bool = False
    target: int | None = None
    elapsed_seconds: float = 0.0
    budget_seconds: float | None = None
    duplicates_in_row: int = 0
    known_in_row: int = 0
    infeasible_in_row: int = 0
    failed: int = 0
    failed_in_row: int = 0
    draining: bool = False


def decide(state: SearchState) -> Decision:
    """The next action of a search."""
    reason, action = _ending(state)
    if reason:
        # who wants to stop waits for the rungs under way; the others for all that was begun
        hurried = state.draining or state.lost_reference
        busy = state.requests if hurried else state.in_flight + state.references
        return Decision(Action.WAIT) if busy else Decision(action, reason)
    if state.requests >= state.slots or state.blocked:
        return Decision(Action.WAIT)
    if state.duplicates_in_row >= RANDOM_AFTER_DUPLICATES:
        return Decision(Action.ASK_RANDOM)
    return Decision(Action.ASK)


def _ending(state: SearchState) -> tuple[str, Action]:
    """Why no more is to be asked, if so."""
    if state.lost_reference:
        return state.lost_reference, Action.ABORT
    if state.draining:
        return "stopped by the user", Action.FINISH
    finished = state.evaluated
    if state.failed_in_row >= MAX_CONSECUTIVE_FAILURES:
        return f"{state.failed_in_row} trials failed in a row", Action.ABORT
    if finished >= MIN_FINISHED_FOR_SHARE and state.failed > MAX_FAILED_SHARE * finished:
        return f"{state.failed} of {finished} trials failed", Action.ABORT
    if state.target is not None and finished + state.in_flight >= state.target:
        return f"{state.target} trials done", Action.FINISH
    if state.budget_seconds is not None and state.elapsed_seconds >= state.budget_seconds:
        return f"{state.budget_seconds / 60:g} minutes spent", Action.FINISH
    return _fruitless(state), Action.FINISH


def _fruitless(state: SearchState) -> str:
    """Why nothing new can be expected of the space, if so."""
    known, infeasible = state.known_in_row, state.infeasible_in_row
    if known >= EXHAUSTED_AFTER:
        return f"the last {known} feasible proposals were known: the space is exhausted"
    if known + infeasible >= FRUITLESS_AFTER:
        return (
            f"of the last {known + infeasible} proposals {infeasible} were infeasible and {known}"
            " known; loosen the constraints or widen the space"
        )
    return ""


def plan_of(file: CampaignFile, *, stopping: str, seed: int) -> Plan:
    """How a campaign trains its designs.

    Args:
        file: The campaign's file.
        stopping: The stopping rule of its settings.
        seed: Of its settings.
    """
    search = file.search
    judged = file.is_race or stopping != "none"
    return Plan(
        learning_rates=search.learning_rates,
        rungs=rungs(file.training, search.rungs if judged else ()),
        audit=search.audit,
        seed=seed,
        guess_nats=file.task.guess_nats,
    )


def rungs(training: TrainingConfig, shares: Sequence[float]) -> tuple[int, ...]:
    """Steps at which a run pauses to be judged, and its end.

    A rung lies at a validation: shares are rounded up to the next one.
    """
    every = training.eval_every
    # a share is a decimal: 0.14 of 100 is 14, though not in binary
    validations = (share * training.steps / every for share in shares)
    paused = {every * math.ceil(round(number, 9)) for number in validations}
    return (*sorted(step for step in paused if step < training.steps), training.steps)


def tries_again(failure: Failure, attempts: int) -> bool:
    """Whether a failed request is worth another attempt: if the machine failed, not the code."""
    return attempts < _ATTEMPTS.get(failure.kind, 1)


def deadline_seconds(finished_seconds: Sequence[float]) -> float:
    """How long a request may take: ten times the longest so far, and never little."""
    if not finished_seconds:
        return _FIRST_DEADLINE_SECONDS
    return max(_LEAST_DEADLINE_SECONDS, 10 * max(finished_seconds))

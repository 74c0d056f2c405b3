"""What a driver says of its work, and how it is told to end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from archsearch.campaign.decisions import Decisions
from archsearch.canonical import readable
from archsearch.records import Front, TrialOutcome, TrialRecord


@dataclass
class Stop:
    """The user's wish to end: set from a signal handler, read by the driver."""

    draining: bool = False
    cancelled: bool = False


@dataclass(frozen=True)
class Snapshot:
    """What a live display shows.

    Attributes:
        phase: ``references`` (until all are trained), ``search`` or ``draining``.
        counts: Trials by outcome.
        running: One line for each run in flight.
        front: The front so far.
        target_trials: The budget; None if there is only a time budget.
        core_use: Share of worker slots that were busy so far.
        decisions: How races and stops went so far.
        failures: Why trials failed and how many for each reason, the usual ones first.
    """

    phase: str
    counts: dict[str, int]
    running: tuple[str, ...]
    front: Front | None
    target_trials: int | None
    elapsed_seconds: float
    eta_seconds: float | None
    core_use: float | None
    decisions: Decisions | None = None
    failures: tuple[tuple[str, int], ...] = ()


class Observer(Protocol):
    """Is told what happens; decides nothing."""

    def event(self, text: str) -> None:
        """Something worth a line happened."""

    def update(self, look: Callable[[], Snapshot]) -> None:
        """The state may have changed; looking takes time, which grows with the campaign."""


class EndKind(StrEnum):
    """How a driver's work ended."""

    FINISHED = "finished"
    DRAINED = "drained"
    CANCELLED = "cancelled"
    ABORTED = "aborted"


class Ending(NamedTuple):
    """How and why a driver's work ended."""

    kind: EndKind
    reason: str


def name_of(record: TrialRecord) -> str:
    """``trial n`` or ``reference name``."""
    return f"trial {record.number}" if record.reference is None else f"reference {record.reference}"


def design_of(record: TrialRecord) -> str:
    """The design in one line; empty where nothing was drawn yet."""
    return "" if record.architecture is None else readable(record.architecture)


def failures_of(records: Iterable[TrialRecord]) -> tuple[tuple[str, int], ...]:
    """Why trials failed and how many for each reason, the usual ones first."""
    failed = (record.failure for record in records)
    texts = (f"{f.kind.value}: {f.message}" for f in failed if f is not None)
    return tuple(Counter(texts).most_common())


def told_line(record: TrialRecord) -> str:
    """One line for a trial that was told."""
    if record.outcome is TrialOutcome.DUPLICATE:
        detail = f"of trial {record.duplicate_of}"
    elif record.outcome is TrialOutcome.INFEASIBLE:
        detail = ", ".join(sorted(record.violations))
    elif record.failure is not None:
        detail = record.failure.message
    else:
        detail = (
            f"accuracy {record.accuracy:.3f}, worst cell {record.worst_cell:.3f},"
            f" {record.seconds:.0f} s"
        )
    return f"{name_of(record)}: {record.outcome.value} ({detail}): {design_of(record)}"

"""What a driver says of its work, and how it is told to end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from archsearch.campaign.decisions import Decisions
from archsearch.campaign.standing import is_oracle
from archsearch.canonical import readable
from archsearch.objectives import solves
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
        if record.outcome is TrialOutcome.SOLVED and not solves([c.accuracy for c in record.test]):
            detail += ", solved in validation but not in the test"
        if is_oracle(record):
            detail += ", is told where the answers are"
    return f"{name_of(record)}: {record.outcome.value} ({detail}): {design_of(record)}"


class TrialLog:
    """An observer that is told of trials, too: a line for each, one for known ones in a row.

    A space that is nearly exhausted would fill the screen with these.

    Args:
        observer: Is told all that this one is told.
    """

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._known: list[TrialRecord] = []

    def tell(self, record: TrialRecord) -> None:
        """A trial was told."""
        if record.outcome is TrialOutcome.DUPLICATE:
            self._known.append(record)
        else:
            self.event(told_line(record))

    def event(self, text: str) -> None:
        """Something else happened."""
        self.flush()
        self._observer.event(text)

    def update(self, look: Callable[[], Snapshot]) -> None:
        """The state may have changed."""
        self._observer.update(look)

    def flush(self) -> None:
        """Says what was held back to share a line."""
        known, self._known = self._known, []
        if len(known) == 1:
            self._observer.event(told_line(known[0]))
        elif known:
            first, last = known[0].number, known[-1].number
            said = f"trials {first} to {last}: {len(known)} duplicates of earlier ones"
            self._observer.event(said)

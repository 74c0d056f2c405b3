"""Trains what is on or near the front, and the references, again with fresh seeds.

As in the search, every confirmation is durable before anything follows from it. A complete rung
that a killed driver did not store is answered from its place; the rungs of stored ones are removed.
"""

from __future__ import annotations

from collections import deque

from archsearch.campaign import confirmation, rungs
from archsearch.campaign.config import Campaign
from archsearch.campaign.confirmation import Seed, terms_of
from archsearch.campaign.dispatch import Arrival, WorkerSettings
from archsearch.campaign.estimates import score_of
from archsearch.campaign.front import front_of
from archsearch.campaign.loop import Loop
from archsearch.campaign.progress import Ending, EndKind, Observer, Snapshot, Stop, name_of
from archsearch.campaign.race import Move
from archsearch.campaign.standing import value_of
from archsearch.execution.base import Executor
from archsearch.records import (
    FRESH_RUNS,
    Confirmation,
    Evaluation,
    Failure,
    RunOutcome,
    TrialRecord,
    now_text,
)
from archsearch.storage import Store

CONFIRMATION = "confirmation"
"""The phase, as snapshots call it."""


class Confirmer(Loop):
    """Confirms the front of a campaign, searched to its end or not; see ``Loop``."""

    label = "confirm "

    def __init__(
        self,
        campaign: Campaign,
        store: Store,
        executor: Executor,
        observer: Observer,
        stop: Stop,
        worker: WorkerSettings,
    ) -> None:
        super().__init__(campaign, store, executor, observer, stop, worker)
        self._earlier_seconds = store.confirm_seconds()
        self._terms = terms_of(campaign)
        self._records = {r.number: r for r in store.records()}
        self._confirmations = store.confirmations()
        for record in self._records.values():
            self._dispatcher.expect(_whole_runs(record))
        self._dispatcher.expect(c.evaluation for c in self._confirmations)
        self._queue: deque[Seed] = deque()
        self._batch = 0
        self._reason = ""
        self._lost: dict[int, str] = {}
        self._trained = 0

    def run(self) -> Ending:
        """Trains fresh seeds until membership is clear or the budget is spent."""
        for found in self._confirmations:
            self._remove_stored(found)
        while not self._is_over():
            if not self._collect():
                return Ending(EndKind.CANCELLED, "cancelled by the user")
        if self._trained:
            self._store.set_confirm_seconds(self._elapsed_seconds())
        self._observer.update(self._snapshot)
        if self._stop.draining:
            return Ending(EndKind.DRAINED, "stopped by the user")
        if self._lost and not self._trained:
            return Ending(EndKind.ABORTED, f"no confirmation: {next(iter(self._lost.values()))}")
        return Ending(EndKind.FINISHED, self._reason)

    # what comes next

    def _is_over(self) -> bool:
        """Whether nothing is to be done any more; otherwise workers have, or get, something."""
        if self._stop.draining or self._budget_is_spent():
            self._queue.clear()
            self._dispatcher.withdraw()
        elif not self._queue and not self._dispatcher.pieces:
            found = confirmation.agenda(
                self._terms, list(self._records.values()), self._confirmations, self._lost
            )
            self._batch, self._reason = found.batch, found.reason
            self._queue.extend(found.seeds)
        return not self._queue and not self._dispatcher.pieces

    def _budget_is_spent(self) -> bool:
        minutes = self._campaign.settings.confirm_minutes
        if minutes is None or self._elapsed_seconds() < 60 * minutes:
            return False
        self._reason = f"{minutes:g} minutes spent"
        return True

    def _fill(self) -> None:
        """Hands over as many seeds as there are slots: lined up, they would lose their order."""
        while self._queue and self._dispatcher.pieces < self._executor.slots:
            seed = self._queue.popleft()
            record = self._records[seed.number]
            assert record.scored is not None
            steps, rate = self._campaign.file.training.steps, record.scored.learning_rate
            self._dispatcher.add(record, [Move(FRESH_RUNS + seed.nth, steps, None, rate)])
        self._dispatcher.fill()

    # what comes back

    def _take(self, arrival: Arrival) -> None:
        record = self._records[arrival.key[1]]
        result = arrival.result
        if isinstance(result, Failure) or result.outcome is RunOutcome.OOM:
            # the design has fitted into the memory before: this is about the machine as well
            self._give_up(record, result)
            return
        found = Confirmation(
            number=record.number,
            reference=record.reference,
            batch=self._batch,
            known=max((r.told_order or 0 for r in self._records.values()), default=0),
            wanted=self._terms.seeds,
            evaluation=result,
            attempts=arrival.attempts,
            finished_at=now_text(),
        )
        score = score_of(result)
        scored = record.model_copy(update={"accuracy": score})
        values = [o.scaled(value_of(scored, o)) for o in self._campaign.objectives]
        self._store.add_confirmation(found, values)
        self._store.set_confirm_seconds(self._elapsed_seconds())
        self._confirmations.append(found)
        self._trained += 1
        self._remove_stored(found)
        diverged = " (diverged)" if result.outcome is RunOutcome.DIVERGED else ""
        wanted = max(self._terms.seeds, found.seed + 1)
        seed = f"seed {found.seed + 1} of {wanted}"
        self._observer.event(f"{self.label}{name_of(record)}, {seed}: {score:.3f}{diverged}")

    def _give_up(self, record: TrialRecord, result: Evaluation | Failure) -> None:
        """Of a design that cannot be trained now, nothing more is asked until the next start."""
        why = result.message if isinstance(result, Failure) else "did not fit into the memory"
        self._lost[record.number] = f"{name_of(record)}: {why}"
        self._queue = deque(seed for seed in self._queue if seed.number != record.number)
        self._observer.event(f"{self.label}{name_of(record)} failed: {why}")

    def _remove_stored(self, found: Confirmation) -> None:
        """The search's weights are the design's; those of a fresh seed are not needed."""
        record = self._records[found.number]
        rungs.remove_run(self._campaign, record, found.evaluation.seed.run)

    # display

    def _snapshot(self) -> Snapshot:
        front = front_of(self._campaign, self._records.values(), self._confirmations)
        return self._shown(CONFIRMATION, front, self._records.values())


def _whole_runs(record: TrialRecord) -> list[Evaluation]:
    """The last rung of each run, with the seconds of all: a fresh seed is trained in one piece."""
    return [
        last.model_copy(
            update={"seconds": sum(e.seconds for e in record.evaluations if e.seed.run == run)}
        )
        for run, last in record.runs.items()
    ]

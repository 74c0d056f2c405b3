"""What every driver's loop is made of: hand over, wait, take, show; and how the user ends it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection

from archsearch.campaign.config import SETTINGS_FILE, Campaign
from archsearch.campaign.decisions import decisions
from archsearch.campaign.dispatch import Arrival, Dispatcher, WorkerSettings
from archsearch.campaign.progress import (
    Observer,
    Snapshot,
    Stop,
    design_of,
    failures_of,
    name_of,
)
from archsearch.errors import StoreError
from archsearch.execution.base import Executor
from archsearch.records import Failure, Front, TrialRecord
from archsearch.storage import Store

_POLL_SECONDS = 1.0


class Loop(ABC):
    """Works on a campaign; the caller holds its lock.

    Args:
        campaign: The campaign.
        store: Its study, open for writing.
        executor: Carries out requests.
        observer: Is told what happens.
        stop: How the user ends it.
        worker: What a worker may use.
    """

    label = ""
    """Before the names of trials in what the observer is told."""

    def __init__(
        self,
        campaign: Campaign,
        store: Store,
        executor: Executor,
        observer: Observer,
        stop: Stop,
        worker: WorkerSettings,
    ) -> None:
        self._campaign = campaign
        self._store = store
        self._executor = executor
        self._observer = observer
        self._stop = stop
        self._dispatcher = Dispatcher(campaign, executor, worker, self._say_retry)
        self._began = executor.now()
        self._earlier_seconds = 0.0
        self._said_draining = False

    @abstractmethod
    def _take(self, arrival: Arrival) -> None:
        """Something has arrived."""

    @abstractmethod
    def _snapshot(self) -> Snapshot:
        """The state, to be shown."""

    def _fill(self) -> None:
        """Hands over what waits, as far as there are slots; nothing more once the user stops it."""
        if not self._stop.draining:
            self._dispatcher.fill()

    def _elapsed_seconds(self) -> float:
        """Spent on this, all sessions together."""
        return self._earlier_seconds + self._executor.now() - self._began

    def _collect(self, wait_seconds: float = _POLL_SECONDS) -> bool:
        """Takes answers, waiting for them so long; False when the user cancelled.

        Raises:
            StoreError: The campaign's folder is gone.
        """
        self._fill()
        for arrival in self._dispatcher.poll(wait_seconds):
            self._take(arrival)
        if self._stop.draining and not self._said_draining:
            self._said_draining = True
            running = len(self._dispatcher.under_way)
            self._observer.event(f"draining: {running} running; Ctrl-C again cancels")
        if not (self._campaign.directory / SETTINGS_FILE).is_file():
            raise StoreError(f"{self._campaign.directory}: was removed under the running campaign")
        if self._stop.cancelled:
            self._dispatcher.cancel()
            return False
        self._observer.update(self._snapshot)
        return True

    def _say_retry(self, record: TrialRecord, failure: Failure) -> None:
        self._observer.event(f"{self.label}{name_of(record)}: {failure.message}; trying again")

    def _shown(
        self,
        phase: str,
        front: Front,
        records: Collection[TrialRecord],
        eta_seconds: float | None = None,
    ) -> Snapshot:
        """The state, as far as it is the same everywhere."""
        members = {row.number for row in front.members}
        spent, slots = self._executor.now() - self._began, self._executor.slots
        busy = self._dispatcher.busy_seconds
        return Snapshot(
            phase=phase,
            counts=front.counts,
            running=tuple(f"{name_of(r)}: {design_of(r)}" for r in self._dispatcher.under_way),
            front=front,
            target_trials=self._campaign.settings.trials,
            elapsed_seconds=self._elapsed_seconds(),
            eta_seconds=eta_seconds,
            core_use=busy / (spent * slots) if spent > 0 else None,
            decisions=decisions(records, members, self._campaign.file.training.steps),
            failures=failures_of(records),
        )

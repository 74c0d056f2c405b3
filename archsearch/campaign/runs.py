"""Whole runs that belong to no trial: what is kept of each, and the loop that trains them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from pydantic import Field

from archsearch import journal
from archsearch.campaign.dispatch import Flights, Landing
from archsearch.campaign.progress import Observer, Snapshot, Stop
from archsearch.errors import StoreError
from archsearch.execution.base import Executor
from archsearch.records import Evaluation, EvaluationRequest, Failure, RunOutcome
from archsearch.records.base import Record, checksum

_POLL_SECONDS = 1.0


class KeptRun(Record):
    """One run and what came of it: an evaluation or a failure.

    Attributes:
        key: Of the work that it belongs to.
        digest: The design's.
        seed: Index of the seed, from 0.
        attempts: Requests sent, retries included.
    """

    schema_version: Literal[1] = 1
    key: str
    digest: str
    learning_rate: float
    seed: int = Field(ge=0)
    evaluation: Evaluation | None = None
    failure: Failure | None = None
    attempts: int = 1
    finished_at: str = ""

    @property
    def result(self) -> Evaluation | None:
        """What it says of the design; nothing if our code, the machine or its memory failed."""
        if self.evaluation is None or self.evaluation.outcome is RunOutcome.OOM:
            return None
        return self.evaluation

    @property
    def problem(self) -> str:
        """Why there is no result."""
        if self.failure is not None:
            return self.failure.message
        return "did not fit into the worker's memory" if self.result is None else ""


K = TypeVar("K", bound=KeptRun)
P = TypeVar("P")


def keep_run(path: Path, run: KeptRun) -> None:
    """Adds a run to a journal, durably.

    Raises:
        StoreError: It cannot be written.
    """
    body = run.model_dump(mode="json")
    journal.append(path, {"sha256": checksum(body), "record": body})


def kept_runs(path: Path, kind: type[K]) -> list[K]:
    """The runs of a journal, in the order in which they ended.

    Raises:
        StoreError: A line is damaged.
    """

    def parsed(sealed: dict[str, Any]) -> K:
        if checksum(sealed["record"]) != sealed["sha256"]:
            raise ValueError("the checksum does not match")
        return kind.model_validate(sealed["record"])

    return journal.read(path, parsed)


class RunLoop(ABC, Generic[P]):
    """Trains what is asked for next until nothing is; the caller holds the folder's lock.

    Args:
        journal: Holds the runs; exists.
        executor: Carries out requests.
        observer: Is told what happens.
        stop: How the user ends it.
    """

    work = ""
    """What this is, where a message has to say it."""

    def __init__(self, journal: Path, executor: Executor, observer: Observer, stop: Stop) -> None:
        self._journal = journal
        self._executor = executor
        self._observer = observer
        self._stop = stop
        self._flights: Flights[P] = Flights(executor, self._say_retry)
        self._began = executor.now()
        self._said_draining = False

    @abstractmethod
    def _next(self) -> P | None:
        """What a free worker shall begin; None if there is nothing, or nothing yet."""

    @abstractmethod
    def _request(self, place: P) -> EvaluationRequest:
        """The run's request."""

    @abstractmethod
    def _take(self, landing: Landing[P]) -> None:
        """A run has ended: to be kept before anything else follows from it."""

    @abstractmethod
    def _snapshot(self) -> Snapshot:
        """The state, to be shown."""

    @property
    def _elapsed_seconds(self) -> float:
        return self._executor.now() - self._began

    def _train(self) -> bool:
        """Trains until nothing is left; False when the user cancelled.

        Raises:
            StoreError: A run cannot be kept, or the journal is gone.
            ClusterError: The executor is gone.
        """
        while True:
            while not self._stop.draining and not self._flights.full:
                place = self._next()
                if place is None:
                    break
                self._flights.submit(place, self._request(place))
            if not self._flights:
                return True
            for landing in self._flights.poll(_POLL_SECONDS):
                self._take(landing)
            self._say_draining()
            if not self._journal.is_file():
                raise StoreError(
                    f"{self._journal.parent}: was removed under the running {self.work}"
                )
            if self._stop.cancelled:
                self._flights.cancel()
                return False
            self._observer.update(self._snapshot)

    def _say_draining(self) -> None:
        if self._stop.draining and not self._said_draining:
            self._said_draining = True
            running = len(self._flights)
            self._observer.event(f"draining: {running} running; Ctrl-C again cancels")

    def _say_retry(self, place: P, failure: Failure) -> None:
        self._observer.event(f"{place}: {failure.message}; trying again")

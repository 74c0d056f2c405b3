"""Whole runs that belong to no trial: what is kept of each, and the loop that trains them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from pathlib import Path
from typing import Any, Generic, Literal, TypedDict, TypeVar

from pydantic import Field

from archsearch import journal
from archsearch.architecture import Architecture
from archsearch.campaign.dispatch import Flights, Landing, WorkerSettings
from archsearch.campaign.progress import Observer, Snapshot, Stop
from archsearch.errors import StoreError
from archsearch.execution.base import Executor
from archsearch.files import write_atomically
from archsearch.records import (
    Evaluation,
    EvaluationRequest,
    Failure,
    RunOutcome,
    RunSeed,
    now_text,
    seal,
)
from archsearch.records.base import Record, checksum
from archsearch.space import CampaignFile

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


class Ended(TypedDict):
    """How a run ended, as its record says it."""

    evaluation: Evaluation | None
    failure: Failure | None
    attempts: int
    finished_at: str


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


def keep_sealed(path: Path, record: Record) -> None:
    """Writes what runs say: the old file or the new one exists, never half of one.

    Raises:
        StoreError: It cannot be written.
    """
    try:
        write_atomically(path, seal(record) + "\n")
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror})") from None


def whole_run(
    file: CampaignFile,
    design: Architecture,
    learning_rate: float,
    seeds: tuple[int, int],
    worker: WorkerSettings,
) -> EvaluationRequest:
    """A run from its first step to success or to the end of the budget.

    Args:
        file: Its task and training.
        design: In canonical form.
        learning_rate: Takes the place of the file's.
        seeds: Of all random streams, and which of the design's runs this is.
        worker: What the worker may use.
    """
    training = file.training.model_copy(update={"learning_rate": learning_rate})
    return EvaluationRequest(
        architecture=design,
        task=file.task,
        training=training,
        seed=RunSeed.of_design(seeds[0], design.digest, seeds[1]),
        to_step=training.steps,
        threads=worker.threads,
        memory_limit_bytes=worker.memory_limit_bytes,
        device=worker.device,
    )


class RunLoop(ABC, Generic[P, K]):
    """Trains what is asked for next until nothing is; the caller holds the folder's lock.

    Args:
        journal_path: Of the runs; made if need be.
        executor: Carries out requests.
        observer: Is told what happens.
        stop: How the user ends it.
        runs: What is there already, by place.
    """

    work = ""
    """What this is, where a message has to say it."""

    def __init__(
        self,
        journal_path: Path,
        executor: Executor,
        observer: Observer,
        stop: Stop,
        runs: dict[P, K],
    ) -> None:
        self._journal = journal_path
        self._executor = executor
        self._observer = observer
        self._stop = stop
        self._runs = runs
        self._flights: Flights[P] = Flights(executor, self._say_retry)
        self._flights.expect(run.evaluation for run in runs.values() if run.evaluation)
        self._began = executor.now()
        self._made = 0
        self._said_draining = False
        journal.prepare(journal_path, ours=True)

    @abstractmethod
    def _next(self) -> P | None:
        """What a free worker shall begin; None if there is nothing, or nothing yet."""

    @abstractmethod
    def _request(self, place: P) -> EvaluationRequest:
        """The run's request."""

    @abstractmethod
    def _run_of(self, place: P, digest: str, ended: Ended) -> K:
        """What is kept of a run."""

    def _name(self, place: P) -> str:
        """What a run is called."""
        return str(place)

    @abstractmethod
    def _words(self, result: Evaluation) -> str:
        """What a result is, in a line."""

    @abstractmethod
    def _num_planned(self) -> int:
        """Runs there are when none is missing, as far as that is known."""

    @abstractmethod
    def _eta_seconds(self) -> float | None:
        """Until the end, as far as that is known."""

    @property
    def _elapsed_seconds(self) -> float:
        return self._executor.now() - self._began

    def _take(self, landing: Landing[P]) -> None:
        """A run has ended: it is kept before anything else follows from it."""
        place, result = landing.subject, landing.result
        ended = Ended(
            evaluation=result if isinstance(result, Evaluation) else None,
            failure=result if isinstance(result, Failure) else None,
            attempts=landing.attempts,
            finished_at=now_text(),
        )
        run = self._run_of(place, landing.request.architecture.digest, ended)
        keep_run(self._journal, run)
        self._runs[place] = run
        self._made += 1
        if run.result is None:
            self._observer.event(f"{self._name(place)} failed: {run.problem}")
        else:
            self._observer.event(f"{self._name(place)}: {self._words(run.result)}")

    def _snapshot(self) -> Snapshot:
        counts = Counter(
            "failed" if run.result is None else run.result.outcome.value
            for run in self._runs.values()
        )
        return Snapshot(
            phase=self.work,
            counts=dict(counts),
            running=tuple(map(self._name, self._flights.subjects)),
            front=None,
            target_trials=self._num_planned(),
            elapsed_seconds=self._elapsed_seconds,
            eta_seconds=self._eta_seconds(),
            core_use=None,
        )

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
        self._observer.event(f"{self._name(place)}: {failure.message}; trying again")

"""From moves to requests and back: what waits for a worker, what is under way, what is retried."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from archsearch.campaign import policy
from archsearch.campaign.config import Campaign
from archsearch.campaign.race import Move
from archsearch.campaign.rungs import run_directory
from archsearch.execution.base import Executor
from archsearch.records import (
    FRESH_RUNS,
    Evaluation,
    EvaluationRequest,
    Failure,
    RunSeed,
    TrialRecord,
)

Key = tuple[str | None, int]
"""Of a record: its reference's name, and its number."""


def key_of(record: TrialRecord) -> Key:
    """Under what a driver keeps a record."""
    return record.reference, record.number


@dataclass(frozen=True)
class WorkerSettings:
    """What a worker may use.

    Attributes:
        threads: Torch threads of a request.
        memory_limit_bytes: Largest data segment; None for no limit.
        device: Where models are trained.
    """

    threads: int = 1
    memory_limit_bytes: int | None = None
    device: str = "cpu"


class Arrival(NamedTuple):
    """What became of a piece of a run.

    Attributes:
        attempts: Requests that it took.
    """

    key: Key
    result: Evaluation | Failure
    attempts: int


S = TypeVar("S")


class Landing(NamedTuple, Generic[S]):
    """A request that came to its end.

    Attributes:
        subject: What it was about.
        attempts: Requests that it took.
    """

    subject: S
    request: EvaluationRequest
    result: Evaluation | Failure
    attempts: int


class _Flight(NamedTuple, Generic[S]):
    subject: S
    request: EvaluationRequest
    attempts: int


class Flights(Generic[S]):
    """Requests that workers have: with deadlines, and sent again where that may help.

    Args:
        executor: Carries out requests.
        on_retry: Called with a subject and the failure after which its request is sent again.

    Attributes:
        busy_seconds: Of all workers together.
    """

    def __init__(self, executor: Executor, on_retry: Callable[[S, Failure], None]) -> None:
        self._executor = executor
        self._on_retry = on_retry
        self._flights: dict[int, _Flight[S]] = {}
        self._longest_seconds = 0.0
        self.busy_seconds = 0.0

    def __len__(self) -> int:
        return len(self._flights)

    @property
    def subjects(self) -> list[S]:
        """What the workers are at."""
        return [flight.subject for flight in self._flights.values()]

    @property
    def full(self) -> bool:
        """Whether no worker is free."""
        return len(self._flights) >= self._executor.slots

    def expect(self, evaluations: Iterable[Evaluation]) -> None:
        """Learns from what has finished how long it may take."""
        for evaluation in evaluations:
            self._longest_seconds = max(self._longest_seconds, evaluation.seconds)

    def submit(self, subject: S, request: EvaluationRequest, attempts: int = 1) -> None:
        """Hands a request over."""
        longest = [self._longest_seconds] if self._longest_seconds else []
        request = request.model_copy(update={"deadline_seconds": policy.deadline_seconds(longest)})
        self._flights[self._executor.submit(request)] = _Flight(subject, request, attempts)

    def poll(self, timeout_seconds: float) -> Iterator[Landing[S]]:
        """What has come to its end, after at most about that long."""
        waited = self._executor.now()
        answers = self._executor.poll(timeout_seconds)
        self.busy_seconds += len(self._flights) * (self._executor.now() - waited)
        for answer in answers:
            flight, result = self._flights.pop(answer.ticket), answer.result
            if isinstance(result, Failure) and policy.tries_again(result, flight.attempts):
                self._on_retry(flight.subject, result)
                self.submit(flight.subject, flight.request, flight.attempts + 1)
                continue
            if isinstance(result, Evaluation):
                self.expect((result,))
            yield Landing(flight.subject, flight.request, result, flight.attempts)

    def cancel(self) -> None:
        """Ends them all."""
        self._executor.cancel()


class Dispatcher:
    """Keeps the executor's slots filled, older trials first.

    Args:
        campaign: The campaign.
        executor: Carries out requests.
        worker: What a worker may use.
        on_retry: Called with a record and the failure after which a request is sent again.
    """

    def __init__(
        self,
        campaign: Campaign,
        executor: Executor,
        worker: WorkerSettings,
        on_retry: Callable[[TrialRecord, Failure], None],
    ) -> None:
        self._campaign = campaign
        self._worker = worker
        self._waiting: list[tuple[bool, int, int, TrialRecord, EvaluationRequest]] = []
        self._flights = Flights(executor, on_retry)
        self._pieces: Counter[Key] = Counter()

    @property
    def busy_seconds(self) -> float:
        """Of all workers together."""
        return self._flights.busy_seconds

    @property
    def pieces(self) -> int:
        """Pieces of runs that wait or are under way."""
        return len(self._waiting) + len(self._flights)

    @property
    def under_way(self) -> list[TrialRecord]:
        """The trial of each request that a worker has."""
        return self._flights.subjects

    def busy(self, key: Key) -> bool:
        """Whether some piece of the trial's runs waits or is under way."""
        return self._pieces[key] > 0

    def expect(self, evaluations: Iterable[Evaluation]) -> None:
        """Learns from finished rungs how long one may take."""
        self._flights.expect(evaluations)

    def add(self, record: TrialRecord, moves: Iterable[Move]) -> None:
        """Lines up the next pieces of a trial's runs."""
        for move in moves:
            item = (
                record.reference is None,
                abs(record.number),
                move.run,
                record,
                self._request(record, move),
            )
            heapq.heappush(self._waiting, item)
            self._pieces[key_of(record)] += 1

    def fill(self) -> None:
        """Hands over what waits, as far as there are slots."""
        while self._waiting and not self._flights.full:
            *_, record, request = heapq.heappop(self._waiting)
            self._flights.submit(record, request)

    def withdraw(self) -> None:
        """Forgets what waits; what is under way may still arrive."""
        for *_, record, _request in self._waiting:
            self._pieces[key_of(record)] -= 1
        self._waiting.clear()

    def poll(self, timeout_seconds: float) -> Iterator[Arrival]:
        """What has arrived, after at most about that long.

        Several pieces of one trial may arrive at once: each counts as under way until its turn.
        """
        for landing in self._flights.poll(timeout_seconds):
            key = key_of(landing.subject)
            self._pieces[key] -= 1
            yield Arrival(key, landing.result, landing.attempts)

    def cancel(self) -> None:
        """Ends all that is under way."""
        self._flights.cancel()

    def _request(self, record: TrialRecord, move: Move) -> EvaluationRequest:
        assert record.architecture is not None
        file = self._campaign.file
        base = run_directory(self._campaign, record, move.run).resolve()
        return EvaluationRequest(
            architecture=record.architecture,
            task=file.task,
            training=file.training.model_copy(update={"learning_rate": move.learning_rate}),
            seed=RunSeed(
                campaign=self._campaign.settings.seed,
                trial=record.number,
                run=move.run,
                paired=move.run < FRESH_RUNS,
            ),
            to_step=move.to_step,
            checkpoint=None if move.from_step is None else str(base / str(move.from_step)),
            directory=str(base / str(move.to_step)),
            threads=self._worker.threads,
            memory_limit_bytes=self._worker.memory_limit_bytes,
            device=self._worker.device,
        )

"""A whole campaign in virtual time: the real driver, with a table in the place of training.

The virtual clock moves to the end of the next run, and by what the driver itself needs meanwhile:
its processor time is measured and charged. Whatever a search method costs is in its result.
"""

from __future__ import annotations

import hashlib
import heapq
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from archsearch.bench.table import Table, TableRun
from archsearch.campaign.config import Campaign, new_settings
from archsearch.campaign.dispatch import WorkerSettings
from archsearch.campaign.driver import Driver
from archsearch.campaign.progress import Snapshot, Stop
from archsearch.campaign.references import CONV_ONLY, planned_references
from archsearch.canonical import campaign_key
from archsearch.execution.base import Answer, Executor
from archsearch.objectives import OBJECTIVES
from archsearch.records import (
    CellScore,
    Evaluation,
    EvaluationRequest,
    Failure,
    RunOutcome,
    TrialOutcome,
    TrialRecord,
)
from archsearch.space import CampaignFile
from archsearch.storage import MEMORY, Store
from archsearch.tasks.mqar import Cell

Carried = tuple[Evaluation | Failure, float]
"""What a worker answers, and the virtual seconds that it takes for it."""


class VirtualExecutor(Executor):
    """Workers that need no time, on a clock that says they did.

    Args:
        carry_out: Answers a request.
        workers: Requests at a time.
        timer: Of what the driver needs: its processor time, or the clock's where it waits for
            more than the processor.

    Attributes:
        driver_seconds: That the driver needed until the last poll.
    """

    def __init__(
        self,
        carry_out: Callable[[EvaluationRequest], Carried],
        workers: int,
        timer: Callable[[], float] = time.process_time,
    ) -> None:
        self._carry_out = carry_out
        self._workers = workers
        self._timer = timer
        self._tickets = 0
        self._ends: list[tuple[float, int, Evaluation | Failure]] = []
        self._busy: list[tuple[float, float]] = []
        self._clock = 0.0
        self._mark = timer()
        self.driver_seconds = 0.0

    @property
    def slots(self) -> int:
        return self._workers

    def now(self) -> float:
        """Virtual seconds, what the driver needed so far included."""
        return self._clock + self._timer() - self._mark

    def busy_until(self, seconds: float) -> float:
        """Of all workers together, on the virtual clock."""
        return sum(max(0.0, min(end, seconds) - begin) for begin, end in self._busy)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """What is done meanwhile is not the driver's work."""
        began = self._timer()
        yield
        self._mark += self._timer() - began

    def submit(self, request: EvaluationRequest) -> int:
        with self.aside():
            began = self.now()
            result, seconds = self._carry_out(request)
        self._tickets += 1
        heapq.heappush(self._ends, (began + seconds, self._tickets, result))
        self._busy.append((began, began + seconds))
        return self._tickets

    def poll(self, timeout_seconds: float) -> list[Answer]:
        now = self.now()
        if not self._ends:
            return []
        self.driver_seconds += now - self._clock
        if timeout_seconds:  # whoever waits does so until something ends
            now = max(now, self._ends[0][0])
        answers = []
        while self._ends and self._ends[0][0] <= now:
            _, ticket, result = heapq.heappop(self._ends)
            answers.append(Answer(ticket, result))
        self._clock, self._mark = now, self._timer()
        return answers

    def cancel(self) -> None:
        self._ends.clear()

    def close(self) -> None:
        self.cancel()


class TableWorker:
    """Answers requests from a table.

    Which of a design's seeds a campaign meets is drawn, by the campaign's seed.

    Args:
        table: Complete.
        n_max: The length at which designs are told apart.
        drawn_rate: Trains every design at one rate, drawn for it, whatever the request says.
    """

    def __init__(self, table: Table, n_max: int, *, drawn_rate: bool = False) -> None:
        self._table = table
        self._n_max = n_max
        self._drawn_rate = drawn_rate
        self._runs: dict[tuple[str, float, int], tuple[TableRun, float]] = {}

    def __call__(self, request: EvaluationRequest) -> Carried:
        run, rate = self._run(request)
        begun = begun_at(request)
        step = min(request.to_step, run.step)
        ended = step == run.step
        outcome = run.outcome if ended else RunOutcome.PAUSED
        evaluation = Evaluation(
            outcome=outcome,
            learning_rate=rate,
            seed=request.seed,
            step=step,
            curve=tuple(p for p in run.curve if p.step <= step),
            test=scores(
                request.task.cells, run.accuracy, run.log_probability, request.training.test_queries
            )
            if ended and run.accuracy
            else (),
            seconds=run.cpu_seconds * (step - begun) / max(1, run.step),
            train_flops=run.train_flops * step / max(1, run.step),
        )
        return evaluation, evaluation.seconds

    def _run(self, request: EvaluationRequest) -> tuple[TableRun, float]:
        rates = self._table.card.rates
        trial, campaign = request.seed.trial, request.seed.campaign
        rate = request.training.learning_rate
        if self._drawn_rate:
            rate = rates[drawn(f"{campaign}/{trial}/rate", len(rates))]
        place = (request.architecture.digest, rate, campaign)
        if place not in self._runs:
            key = campaign_key(request.architecture, self._n_max)
            seed = met_seed(self._table, campaign, key)
            self._runs[place] = (self._table.run(key, rates.index(rate), seed), rate)
        return self._runs[place]


def met_seed(table: Table, campaign: int, key: str) -> int:
    """Which of a design's seeds a campaign meets; its rates share it, as a campaign's do."""
    return drawn(f"{campaign}/{key}", table.card.seeds)


def drawn(text: str, count: int) -> int:
    """A number below the count, the same for the same text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % count


def begun_at(request: EvaluationRequest) -> int:
    """The step from which a run is to go on."""
    return 0 if request.checkpoint is None else int(Path(request.checkpoint).name)


def scores(
    cells: Sequence[Cell],
    accuracy: Sequence[float],
    log_probability: Sequence[float],
    queries: int,
) -> tuple[CellScore, ...]:
    """A test of so many queries, cell by cell."""
    return tuple(
        CellScore(
            length=cell.length,
            pairs=cell.pairs,
            power_a=cell.power_a,
            accuracy=hits,
            log_probability=nats,
            queries=queries,
        )
        for cell, hits, nats in zip(cells, accuracy, log_probability, strict=True)
    )


class Method(NamedTuple):
    """A way to search.

    Attributes:
        sampler: Name of the sampler.
        rates: ``race``, ``all`` (each to its end) or ``drawn`` (one of them, at random).
        stopping: Name of the stopping rule.
    """

    sampler: str
    rates: str = "race"
    stopping: str = "front"

    def __str__(self) -> str:
        if self.rates == "drawn":
            return f"{self.sampler}, one rate drawn"
        if self.rates == "all":
            return f"{self.sampler}, all rates in full"
        return f"{self.sampler}, race" + (
            "" if self.stopping == "none" else f" and {self.stopping}"
        )


class Told(NamedTuple):
    """A trial that was told, and when.

    Attributes:
        seconds: On the virtual clock.
    """

    seconds: float
    record: TrialRecord


class Simulated(NamedTuple):
    """A simulated campaign.

    Attributes:
        told: Evaluated trials in the order of telling.
        seconds: Of the whole campaign, virtual.
        busy: Share of the workers' time that they were busy.
        driver_seconds: Processor time of the driver and its sampler.
    """

    told: list[Told]
    seconds: float
    busy: float
    driver_seconds: float


Enough = Callable[[Told], bool]
"""Whether a campaign has shown what it should, asked after each trial."""


class _TimedStore(Store):
    """Notes when an evaluated trial is told, and ends the campaign when that is enough."""

    executor: VirtualExecutor
    stop: Stop
    enough: Enough
    told: list[Told]

    def tell(self, record: TrialRecord, values: Sequence[float] | None) -> None:
        super().tell(record, values)
        if record.outcome.was_evaluated:
            told = Told(self.executor.now(), record)
            self.told.append(told)
            with self.executor.aside():
                self.stop.draining = self.stop.draining or self.enough(told)


class Quiet:
    """An observer that shows nothing."""

    def event(self, text: str) -> None:
        pass

    def update(self, look: Callable[[], Snapshot]) -> None:
        pass


def simulate(
    table: Table,
    file: CampaignFile,
    method: Method,
    *,
    seed: int,
    workers: int,
    enough: Enough = lambda told: False,
) -> Simulated:
    """Runs one campaign until its space is exhausted, or enough is seen.

    Args:
        table: Complete.
        file: Its space.
        method: How to search.
        seed: Of the campaign: draws, audits, and which seeds of the table are met.
        workers: Requests at a time.
        enough: Ends the campaign early.
    """
    file = _as_method(file, table, method)
    worker = TableWorker(table, file.task.longest_test_length, drawn_rate=method.rates == "drawn")
    executor = VirtualExecutor(worker, workers)
    stop = Stop()
    with tempfile.TemporaryDirectory() as folder:
        settings = new_settings(
            file, sampler=method.sampler, stopping=method.stopping, seed=seed
        ).model_copy(update={"trials": None, "time_budget_minutes": None})
        campaign = Campaign.create(file, Path(folder), settings)
        with closing(_store(campaign, table)) as store:
            store.executor, store.stop, store.enough, store.told = executor, stop, enough, []
            driver = Driver(campaign, store, executor, Quiet(), stop, WorkerSettings())
            driver.run()
    seconds = executor.now()
    return Simulated(
        told=store.told,
        seconds=seconds,
        busy=executor.busy_until(seconds) / (seconds * workers),
        driver_seconds=executor.driver_seconds,
    )


def _as_method(file: CampaignFile, table: Table, method: Method) -> CampaignFile:
    rates = table.card.rates
    changes: dict[str, object] = {"learning_rates": rates}
    if method.rates == "all":
        changes["rungs"] = ()
    if method.rates == "drawn":
        changes |= {"rungs": (), "learning_rates": rates[:1]}
    return replace(file, search=file.search.model_copy(update=changes))


def _store(campaign: Campaign, table: Table) -> _TimedStore:
    """A study in memory, its references there from the start: the table has none."""
    study = campaign.settings.study
    store = _TimedStore(MEMORY, study, objectives=campaign.objectives, create=True)
    for order, planned in enumerate(planned_references(campaign.file, "default"), 1):
        floor = table.card.convolutions_only or 0.0
        record = planned.model_copy(
            update={
                "outcome": TrialOutcome.FINISHED,
                "accuracy": floor if planned.reference == CONV_ONLY else 0.0,
                "told_order": order,
            }
        )
        assert record.price is not None
        cost = OBJECTIVES["flops"].scaled(record.price.flops)
        store.add_reference(record, [record.accuracy, cost])
    return store

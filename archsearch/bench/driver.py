"""What a driver needs for a long campaign: its study on the disk, its workers in virtual time.

The real driver, sampler and study; in the place of training, answers that follow from the design.
What the driver needs of the clock is charged to the virtual one: workers wait for it as real ones
would.
"""

from __future__ import annotations

import platform
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

from archsearch.bench._processes import Lost, run_each
from archsearch.bench.simulation import (
    Carried,
    Quiet,
    VirtualExecutor,
    begun_at,
    drawn,
    scores,
)
from archsearch.campaign.config import Campaign, new_settings
from archsearch.campaign.dispatch import WorkerSettings
from archsearch.campaign.driver import Driver
from archsearch.campaign.preview import race_length
from archsearch.campaign.progress import EndKind, Stop
from archsearch.errors import ClusterError
from archsearch.records import (
    CellScore,
    CurvePoint,
    DistanceBin,
    Evaluation,
    EvaluationRequest,
    RunOutcome,
    TrialRecord,
)
from archsearch.space import load
from archsearch.storage import SQLITE_FILE, Store, default_url

PARTS: Final = 10
"""Stretches of a campaign that are timed by themselves: does a trial take longer in the end?"""


class Load(NamedTuple):
    """A campaign to be driven.

    Attributes:
        file: Path of the campaign file.
        sampler: Name of the sampler.
        workers: Virtual ones.
        trials: To be trained.
        trial_seconds: That a worker would need for all runs of a trial, one after another; about,
            as ties and audits let more runs go on in some of them.
    """

    file: str
    sampler: str
    workers: int
    trials: int
    trial_seconds: float


class Part(NamedTuple):
    """A stretch of a campaign.

    Attributes:
        trials: Trained until its end, from the beginning.
        milliseconds: Of the driver, a trained trial; those that were rejected are in it.
    """

    trials: int
    milliseconds: float


class DriverBench(NamedTuple):
    """A campaign that was driven.

    Attributes:
        parts: In their order.
        proposals: Trials asked, rejected ones included.
        trial_seconds: That a trial took on the mean, all of its runs together; virtual.
        idle: Share of the workers' time that they waited, until the last trial was asked: after
            that there is nothing to do.
        driver_seconds: On the clock, in all.
        virtual_seconds: From the first reference to the end.
        peak_bytes: Of the driver's process.
        study_bytes: Of the study's file.
    """

    load: Load
    parts: tuple[Part, ...]
    proposals: int
    trial_seconds: float
    idle: float
    driver_seconds: float
    virtual_seconds: float
    peak_bytes: int
    study_bytes: int

    @property
    def growth(self) -> float:
        """Time of a trial in the last part, by that in the second: the first also warms up."""
        return self.parts[-1].milliseconds / self.parts[min(1, len(self.parts) - 1)].milliseconds


def measure(load: Load) -> DriverBench:
    """Drives the campaign in a process of its own.

    Raises:
        ClusterError: It did not end as it should; the reason.
    """
    ((_, found),) = run_each(drive, [load], preload=__name__)
    if isinstance(found, Lost):
        raise ClusterError(f"the campaign was lost: {found.reason}")
    return found


class _NotingStore(Store):
    """Notes when trials are asked and told, on the virtual clock, and what the driver needed."""

    executor: VirtualExecutor
    last_ask: float
    told: list[float]

    def ask(self) -> int:
        number = super().ask()
        self.last_ask = self.executor.now()
        return number

    def tell(self, record: TrialRecord, values: Sequence[float] | None) -> None:
        super().tell(record, values)
        if record.outcome.was_evaluated:
            self.told.append(self.executor.driver_seconds)


def drive(driven: Load) -> DriverBench:
    """Drives the campaign in this process; its study lies in a folder beside the others' results.

    Raises:
        ClusterError: The campaign did not come to its number of trials.
    """
    file = load(Path(driven.file))
    with tempfile.TemporaryDirectory(prefix=".bench-driver-", dir=Path.cwd()) as name:
        folder = Path(name)
        # an unstopped trial takes as long as it is to take
        settings = new_settings(file, sampler=driven.sampler, stopping="none").model_copy(
            update={"trials": driven.trials, "time_budget_minutes": None}
        )
        campaign = Campaign.create(file, folder, settings)
        answers = _Answers(driven, race_length(file), settings.versions)
        executor = VirtualExecutor(answers, driven.workers, time.perf_counter)
        store = _NotingStore(
            default_url(folder), settings.study, objectives=campaign.objectives, create=True
        )
        with closing(store):
            store.executor, store.last_ask, store.told = executor, 0.0, []
            ending = Driver(campaign, store, executor, Quiet(), Stop(), WorkerSettings()).run()
        if ending.kind is not EndKind.FINISHED or len(store.told) < driven.trials:
            raise ClusterError(f"{len(store.told)} of {driven.trials} trials: {ending.reason}")
        until = store.last_ask
        return DriverBench(
            load=driven,
            parts=tuple(_parts(store.told)),
            proposals=len(store.study.get_trials(deepcopy=False)),
            trial_seconds=answers.seconds / len(store.told),
            idle=1 - executor.busy_until(until) / (until * driven.workers),
            driver_seconds=executor.driver_seconds,
            virtual_seconds=executor.now(),
            peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            study_bytes=(folder / SQLITE_FILE).stat().st_size,
        )


def _parts(told: list[float]) -> Iterator[Part]:
    """Equal stretches; the first begins with the campaign, references included."""
    ends = [len(told) * (i + 1) // PARTS for i in range(PARTS)]
    begun, before = 0, 0.0
    for end in ends:
        if end > begun:
            yield Part(end, 1000 * (told[end - 1] - before) / (end - begun))
            begun, before = end, told[end - 1]


_TIES = 1.25
"""How much longer a trial is than a race usually: the curves made up here often tie. Mean of 200
trials of conv_attention_hybrid."""


class _Answers:
    """Answers requests by what the design is, in the shape and size of real answers.

    Args:
        load: The campaign.
        race: Length of a race, in whole runs.
        versions: As real answers have them.

    Attributes:
        seconds: Of all answers to trials.
    """

    def __init__(self, load: Load, race: float, versions: dict[str, str]) -> None:
        self._run_seconds = load.trial_seconds / (race * _TIES)
        self._versions = versions
        self.seconds = 0.0

    def __call__(self, request: EvaluationRequest) -> Carried:
        training, task = request.training, request.task
        digest = request.architecture.digest
        quality = 0.9 * _share(digest) * (1 - 0.3 * _share(f"{digest} {training.learning_rate}"))
        ended = request.to_step == training.steps
        seconds = self._run_seconds * (request.to_step - begun_at(request)) / training.steps
        curve = tuple(
            _point(step, quality * step / training.steps, len(task.cells))
            for step in range(training.eval_every, request.to_step + 1, training.eval_every)
        )
        evaluation = Evaluation(
            outcome=RunOutcome.FINISHED if ended else RunOutcome.PAUSED,
            learning_rate=training.learning_rate,
            seed=request.seed,
            step=request.to_step,
            curve=curve,
            test=_tested(request, quality) if ended else (),
            seconds=seconds,
            versions=self._versions,
            node=platform.node(),
        )
        self.seconds += seconds * (request.seed.trial >= 0)
        return evaluation, seconds


def _tested(request: EvaluationRequest, quality: float) -> tuple[CellScore, ...]:
    cells, queries = request.task.test_cells, request.training.test_queries
    return tuple(
        score.model_copy(
            update={
                "by_distance": tuple(
                    DistanceBin(low=2**k, high=2 ** (k + 1) - 1, accuracy=quality, queries=queries)
                    for k in range(score.length.bit_length() - 1)
                )
            }
        )
        for score in scores(cells, *_result(quality, len(cells)), queries)
    )


def _share(text: str) -> float:
    return drawn(text, 10**6) / 10**6


def _result(accuracy: float, cells: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Accuracies and log-probabilities, with as many digits as real ones."""
    return (round(accuracy, 6),) * cells, (round(-9 * (1 - accuracy), 6),) * cells


def _point(step: int, accuracy: float, cells: int) -> CurvePoint:
    hits, nats = _result(accuracy, cells)
    return CurvePoint(step=step, train_loss=-nats[0], accuracy=hits, log_probability=nats)

"""How executors scale: workers against one worker, and what orchestration costs.

A campaign whose trials all train for the same time tells throughput, and how much of the workers'
time the rest of it took: study, sampler, records, executor. A campaign of trials that ask for
nothing tells what a trial costs at least; requests that ask for nothing, without a study, what the
executor alone does. Settings take turns, each in fresh processes; workers are warm before the clock
runs, since references come first, and in a deterministic campaign no trial begins beside them.
"""

from __future__ import annotations

import heapq
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from archsearch.architecture import Component
from archsearch.bench._processes import Lost, Standing
from archsearch.bench._subjects import PROTOCOL, behind_conv
from archsearch.campaign.config import Campaign, new_settings
from archsearch.campaign.launch import LaunchOptions, launch
from archsearch.campaign.progress import Snapshot, Stop
from archsearch.canonical import canonicalise
from archsearch.errors import ClusterError
from archsearch.execution import executors
from archsearch.execution.base import Executor, ExecutorOptions
from archsearch.records import (
    CellScore,
    Evaluation,
    EvaluationRequest,
    Failure,
    RunOutcome,
    RunSeed,
    TrialRecord,
)
from archsearch.space.loader import loads
from archsearch.storage import read_records
from archsearch.tasks.mqar import Cell, MQARConfig

_SERVE = f"{__name__}:serve"
_NOTHING = 1
"""Steps of a request that is answered at once."""
_EMPTY_REQUESTS = 1200
"""So many that Ray's workers are replaced among them."""
_POLL_SECONDS = 1.0

_EMPTY_TRIALS = 40
_EMPTY_CAMPAIGN = """
name: empty
task: {name: mqar, cells: [{length: 64, pairs: 4}]}
space:
  d_model: {choice: [16, 32, 48, 64, 80, 96, 112, 128]}
  depth: {choice: [2, 3, 4]}
  layers:
    each:
      sequence: {choice: [short_conv, base_conv, based, {mixer: sliding_window, window: 16}]}
      channel: {choice: [none, swiglu]}
training: {steps: 1, learning_rate: 3e-3}
objectives: [accuracy, flops]
search: {sampler: random, stopping: none, confirm_seeds: 0, deterministic: true, lag: 8}
"""

_TRIALS_A_WORKER = 2
_TRAINING_CAMPAIGN = """
name: training
task: {name: mqar, cells: [{length: 256, pairs: 16}]}
space:
  d_model: 64
  layers:
    list:
      - sequence: {mixer: short_conv, kernel_size: {choice: [4, 5, 6, 7, 8, 9, 10, 11]}}
      - sequence: attention
training: {steps: STEPS, batch_tokens: 2048, eval_every: STEPS, learning_rate: 3e-3}
objectives: [accuracy, flops]
search: {sampler: random, stopping: none, confirm_seeds: 0, deterministic: true, lag: 8}
"""
"""Designs that take the same time and that are no references."""


T = TypeVar("T")
R = TypeVar("R")


class Setting(NamedTuple):
    """An executor with so many workers."""

    executor: str
    workers: int

    def __str__(self) -> str:
        return f"{self.executor}, {self.workers} worker{'s' * (self.workers > 1)}"


SETTINGS = (Setting("serial", 1), Setting("ray", 1), Setting("ray", 2))


class Turn(NamedTuple):
    """One setting, once.

    Attributes:
        wall_seconds: From the last reference to the last trial of the campaign that trains.
        run_seconds: Of each of its trials, of training in a worker.
        requests_per_second: Requests that ask for nothing.
        trial_seconds: Of a trial that asks for nothing.
    """

    wall_seconds: float
    run_seconds: tuple[float, ...]
    requests_per_second: float
    trial_seconds: float


class ScalingBench(NamedTuple):
    """One setting; medians over the turns.

    Attributes:
        runs_per_minute: Trials of a campaign, all of the same work.
        run_seconds: Of a trial's training in its worker.
        speedup: Runs per minute by those of one worker of the same executor in the same turn.
        overhead: Share of the workers' time in which they did not train, from the end of the
            references to that of the last trial.
        overhead_without_tail: The same of the worker that ended last alone: what the others wait
            for it at the end depends on how few trials there are.
        requests_per_second: Requests that ask for nothing.
        trial_milliseconds: Of a whole trial that asks for nothing: random sampler, SQLite.
        turns: What the medians are of.
    """

    executor: str
    workers: int
    runs_per_minute: float
    run_seconds: float
    speedup: float
    overhead: float
    overhead_without_tail: float
    requests_per_second: float
    trial_milliseconds: float
    turns: tuple[Turn, ...]


def measure(*, steps: int, repeats: int = 5) -> list[ScalingBench]:
    """Measures all settings in turns.

    Args:
        steps: Of a training run; it decides about how long one takes.
        repeats: Turns.

    Raises:
        ClusterError: A setting failed; the reason.
    """
    turns: dict[Setting, list[Turn]] = {setting: [] for setting in SETTINGS}
    for _ in range(repeats):
        for setting in SETTINGS:
            trained = _in_a_process(_TrainingCampaign, (setting, steps), setting)
            requests = _in_a_process(_EmptyRequests, setting, setting)
            empty = _in_a_process(_EmptyCampaign, setting, setting)
            turns[setting].append(Turn(*trained, requests, empty))
    return [_result(setting, turns) for setting in SETTINGS]


def _result(setting: Setting, turns: dict[Setting, list[Turn]]) -> ScalingBench:
    found = turns[setting]
    alone = turns[Setting(setting.executor, 1)]
    rates = [60 * len(t.run_seconds) / t.wall_seconds for t in found]
    single = [60 * len(t.run_seconds) / t.wall_seconds for t in alone]
    return ScalingBench(
        executor=setting.executor,
        workers=setting.workers,
        runs_per_minute=statistics.median(rates),
        run_seconds=statistics.median(x for t in found for x in t.run_seconds),
        speedup=statistics.median(a / b for a, b in zip(rates, single, strict=True)),
        overhead=statistics.median(
            1 - sum(t.run_seconds) / (t.wall_seconds * setting.workers) for t in found
        ),
        overhead_without_tail=statistics.median(
            1 - _longest(t.run_seconds, setting.workers) / t.wall_seconds for t in found
        ),
        requests_per_second=statistics.median(t.requests_per_second for t in found),
        trial_milliseconds=1e3 * statistics.median(t.trial_seconds for t in found),
        turns=tuple(found),
    )


def _longest(run_seconds: Sequence[float], workers: int) -> float:
    """Seconds of training on the worker that ends last; each run goes to the first free one."""
    free = [0.0] * workers
    for seconds in run_seconds:
        heapq.heapreplace(free, free[0] + seconds)
    return max(free)


def _in_a_process(prepare: Callable[[T], Callable[[], R]], argument: T, setting: Setting) -> R:
    """What a fresh process answers: Ray starts only once in each."""
    with Standing(prepare, argument, as_worker=False) as process:
        found = process.call()
    if isinstance(found, Lost):
        raise ClusterError(f"{setting}: {found.reason}")
    return found


class _TrainingCampaign:
    """Seconds of a campaign's trials from first to last, and of each one's training."""

    def __init__(self, argument: tuple[Setting, int]) -> None:
        self.setting, self.steps = argument

    def __call__(self) -> tuple[float, tuple[float, ...]]:
        trials = _TRIALS_A_WORKER * self.setting.workers
        text = _TRAINING_CAMPAIGN.replace("STEPS", str(self.steps))
        records, wall_seconds = _campaign(text, trials, self.setting)
        seconds = tuple(e.seconds for r in records if r.reference is None for e in r.evaluations)
        if len(seconds) != trials:
            raise RuntimeError(f"{len(seconds)} of {trials} trials were trained")
        return wall_seconds, seconds


class _EmptyRequests:
    """Requests that ask for nothing, per second, through an executor alone."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    def __call__(self) -> float:
        options = ExecutorOptions(workers=self.setting.workers, function=_SERVE)
        with executors.get(self.setting.executor)(options) as executor:
            _carried_out(executor, 2 * self.setting.workers)
            return _EMPTY_REQUESTS / _carried_out(executor, _EMPTY_REQUESTS)


class _EmptyCampaign:
    """Seconds of a trial in a campaign whose workers do nothing."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    def __call__(self) -> float:
        _, wall_seconds = _campaign(_EMPTY_CAMPAIGN, _EMPTY_TRIALS, self.setting)
        return wall_seconds / _EMPTY_TRIALS


def _campaign(text: str, trials: int, setting: Setting) -> tuple[list[TrialRecord], float]:
    """A campaign's records, and the seconds from its last reference to its last trial."""
    file, clock = loads(text), _Clock()
    options = ExecutorOptions(workers=setting.workers, function=_SERVE)
    with tempfile.TemporaryDirectory() as folder:
        campaign = Campaign.create(file, Path(folder), new_settings(file, trials=trials))
        launch(campaign, LaunchOptions(setting.executor, options), clock, Stop())
        records = read_records(campaign.storage_url, campaign.settings.study)
    return records, clock.last("trial ") - clock.last("reference ")


def serve(request: EvaluationRequest) -> Evaluation | Failure:
    """The worker's function here: evaluates; answers at once where nothing is asked for.

    References are only begun, so that a worker has imported what it needs.
    """
    if request.training.steps != _NOTHING:
        from archsearch.evaluate import evaluate

        if _is_of_the_campaign(request):
            return evaluate(request)
        few = request.training.model_copy(update={"steps": 2, "eval_every": 2})
        evaluate(request.model_copy(update={"training": few, "to_step": 2}))
    scores = tuple(
        CellScore(
            length=c.length, pairs=c.pairs, power_a=c.power_a, accuracy=0.5, log_probability=-1.0,
            queries=1, by_distance=(),
        )
        for c in request.task.test_cells
    )  # fmt: skip
    return Evaluation(
        outcome=RunOutcome.FINISHED,
        learning_rate=request.training.learning_rate,
        seed=request.seed,
        step=request.to_step,
        test=scores,
    )


def _is_of_the_campaign(request: EvaluationRequest) -> bool:
    """References have 3 taps."""
    first = request.architecture.blocks[0].sequence
    return first.name == "short_conv" and first.options["kernel_size"] != 3


def _carried_out(executor: Executor, number: int) -> float:
    """Wall seconds until the last of so many empty requests is answered.

    Raises:
        RuntimeError: A request failed.
    """
    request = EvaluationRequest(
        architecture=canonicalise(behind_conv(Component(name="attention"), 64)),
        task=MQARConfig(cells=(Cell(length=256, pairs=16),)),
        training=PROTOCOL.model_copy(update={"steps": _NOTHING}),
        seed=RunSeed(campaign=0),
        to_step=_NOTHING,
    )
    began, answered = time.monotonic(), 0
    for _ in range(number):
        executor.submit(request)
    while answered < number:
        for answer in executor.poll(_POLL_SECONDS):
            if isinstance(answer.result, Failure):
                raise RuntimeError(answer.result.message)
            answered += 1
    return time.monotonic() - began


class _Clock:
    """Notes when trials are told, duplicates too."""

    def __init__(self) -> None:
        self._events: list[tuple[float, str]] = []

    def last(self, beginning: str) -> float:
        """When the last event was that begins so."""
        return max(at for at, text in self._events if text.startswith(beginning))

    def event(self, text: str) -> None:
        self._events.append((time.monotonic(), text))

    def update(self, look: Callable[[], Snapshot]) -> None:
        pass

"""How executors scale: workers against one worker, and what orchestration costs.

Training runs and empty requests go through an executor without a study; a campaign of trials that
ask for nothing tells what study, sampler and records cost beside that. Settings take turns, each in
fresh processes; workers are warm before the clock runs.
"""

from __future__ import annotations

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
)
from archsearch.space.loader import loads
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
search: {sampler: random, stopping: none, confirm_seeds: 0}
"""


T = TypeVar("T")
R = TypeVar("R")


class Setting(NamedTuple):
    """An executor with so many workers."""

    executor: str
    workers: int

    def __str__(self) -> str:
        return f"{self.executor}, {self.workers} worker{'s' * (self.workers > 1)}"


SETTINGS = (Setting("serial", 1), Setting("ray", 1), Setting("ray", 2))


class ScalingBench(NamedTuple):
    """One setting; medians over the turns.

    Attributes:
        runs_per_minute: Training runs, all the same.
        run_seconds: Of a run in its worker.
        speedup: Runs per minute by those of one worker of the same executor in the same turn.
        overhead: Share of the workers' time in which they did not train.
        requests_per_second: Requests that ask for nothing.
        trial_milliseconds: Of a whole trial that asks for nothing: random sampler, SQLite.
    """

    executor: str
    workers: int
    runs_per_minute: float
    run_seconds: float
    speedup: float
    overhead: float
    requests_per_second: float
    trial_milliseconds: float


class _Turn(NamedTuple):
    wall_seconds: float
    run_seconds: tuple[float, ...]
    requests_per_second: float
    trial_seconds: float


def measure(*, steps: int, repeats: int = 5) -> list[ScalingBench]:
    """Measures all settings in turns.

    Args:
        steps: Of a training run; it decides about how long one takes.
        repeats: Turns.

    Raises:
        ClusterError: A setting failed; the reason.
    """
    turns: dict[Setting, list[_Turn]] = {setting: [] for setting in SETTINGS}
    for _ in range(repeats):
        for setting in SETTINGS:
            trained = _in_a_process(_Requests, (setting, steps), setting)
            empty = _in_a_process(_EmptyCampaign, setting, setting)
            turns[setting].append(_Turn(*trained, empty))
    return [_result(setting, turns) for setting in SETTINGS]


def _result(setting: Setting, turns: dict[Setting, list[_Turn]]) -> ScalingBench:
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
        requests_per_second=statistics.median(t.requests_per_second for t in found),
        trial_milliseconds=1e3 * statistics.median(t.trial_seconds for t in found),
    )


def _in_a_process(prepare: Callable[[T], Callable[[], R]], argument: T, setting: Setting) -> R:
    """What a fresh process answers: Ray starts only once in each."""
    with Standing(prepare, argument, as_worker=False) as process:
        found = process.call()
    if isinstance(found, Lost):
        raise ClusterError(f"{setting}: {found.reason}")
    return found


class _Requests:
    """Wall seconds of training runs, seconds of each, and empty requests per second."""

    def __init__(self, argument: tuple[Setting, int]) -> None:
        self.setting, self.steps = argument

    def __call__(self) -> tuple[float, tuple[float, ...], float]:
        runs = [_request(self.steps)] * (2 * self.setting.workers)
        options = ExecutorOptions(workers=self.setting.workers, function=_SERVE)
        with executors.get(self.setting.executor)(options) as executor:
            # every worker has imported what it needs before the clock runs
            _carried_out(executor, [_request(2)] * 2 * self.setting.workers)
            wall, answers = _carried_out(executor, runs)
            empty, _ = _carried_out(executor, [_request(_NOTHING)] * _EMPTY_REQUESTS)
        return wall, tuple(answer.seconds for answer in answers), _EMPTY_REQUESTS / empty


class _EmptyCampaign:
    """Seconds from one told trial to the next in a campaign whose workers do nothing."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    def __call__(self) -> float:
        file, clock = loads(_EMPTY_CAMPAIGN), _Clock()
        options = ExecutorOptions(workers=self.setting.workers, function=_SERVE)
        with tempfile.TemporaryDirectory() as folder:
            campaign = Campaign.create(file, Path(folder), new_settings(file, trials=_EMPTY_TRIALS))
            launch(campaign, LaunchOptions(self.setting.executor, options), clock, Stop())
        told = clock.told[-_EMPTY_TRIALS:]  # the references came first
        return (told[-1] - told[0]) / (len(told) - 1)


def serve(request: EvaluationRequest) -> Evaluation | Failure:
    """The worker's function here: evaluates, or answers at once where nothing is asked for."""
    if request.training.steps != _NOTHING:
        from archsearch.evaluate import evaluate

        return evaluate(request)
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


def _request(steps: int) -> EvaluationRequest:
    """One and the same run for all, which no success ends early."""
    training = PROTOCOL.model_copy(update={"steps": steps, "eval_every": steps})
    return EvaluationRequest(
        architecture=canonicalise(behind_conv(Component(name="attention"), 64)),
        task=MQARConfig(cells=(Cell(length=256, pairs=16),)),
        training=training,
        seed=RunSeed(campaign=0),
        to_step=steps,
    )


def _carried_out(
    executor: Executor, requests: Sequence[EvaluationRequest]
) -> tuple[float, list[Evaluation]]:
    """Wall seconds until the last answer, and the answers.

    Raises:
        RuntimeError: A request failed.
    """
    began = time.monotonic()
    for request in requests:
        executor.submit(request)
    answers: list[Evaluation] = []
    while len(answers) < len(requests):
        for answer in executor.poll(_POLL_SECONDS):
            if isinstance(answer.result, Failure):
                raise RuntimeError(answer.result.message)
            answers.append(answer.result)
    return time.monotonic() - began, answers


class _Clock:
    """Notes when trials are told."""

    def __init__(self) -> None:
        self.told: list[float] = []

    def event(self, text: str) -> None:
        self.told.append(time.monotonic())

    def update(self, look: Callable[[], Snapshot]) -> None:
        pass

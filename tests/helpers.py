"""A tiny campaign, made-up results, and an executor without processes."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from archsearch.architecture import Architecture, Block, Component
from archsearch.campaign.config import Campaign, new_settings
from archsearch.campaign.dispatch import WorkerSettings
from archsearch.campaign.driver import Driver
from archsearch.campaign.progress import Ending, Snapshot, Stop
from archsearch.canonical import canonicalise
from archsearch.execution.base import Answer, Executor, ExecutorOptions
from archsearch.protocol import TrainingConfig
from archsearch.records import (
    CellScore,
    CurvePoint,
    Evaluation,
    EvaluationRequest,
    Failure,
    RunOutcome,
    RunSeed,
    TrialRecord,
)
from archsearch.space import loads
from archsearch.storage import Store, read_records
from archsearch.tasks.mqar import Cell, MQARConfig

TINY = """\
name: tiny
task:
  name: mqar
  vocab_size: 64
  cells: [{length: 8, pairs: 2}, {length: 16, pairs: 2}]
space:
  d_model: {choice: [8, 12, 16]}
  depth: {choice: [2, 3]}
  layers:
    base:
      sequence: {mixer: short_conv, kernel_size: {range: [2, 9]}}
    placement:
      sequence:
        choice:
          - attention
          - {mixer: sliding_window, window: {choice: [3, sqrt]}}
          - {mixer: learned_selection, cap: {choice: [2, 3]}}
      rule: positions
training: {steps: 4, batch_tokens: 256, eval_every: 2, learning_rate: 3e-3,
  validation_queries: 16, test_queries: 32}
constraints: [growth < 2]
search: {sampler: SAMPLER, trials: TRIALS, seed: 5, stopping: none, confirm_seeds: 0}
"""

TIMES = ("started_at", "finished_at", "attempts")


def tiny_text(sampler: str = "tpe", trials: int = 20) -> str:
    return TINY.replace("SAMPLER", sampler).replace("TRIALS", str(trials))


def design(*mixers: str | Component, d_model: int = 8, position: str = "none") -> Architecture:
    blocks = tuple(Block(sequence=Component(name=m) if isinstance(m, str) else m) for m in mixers)
    return canonicalise(Architecture(d_model=d_model, position=position, blocks=blocks))  # type: ignore[arg-type]


TASK = MQARConfig(vocab_size=64, cells=(Cell(length=8, pairs=2), Cell(length=16, pairs=2)))


def request(
    architecture: Architecture | None = None, *, to_step: int | None = None, **changes: Any
) -> EvaluationRequest:
    training = TrainingConfig(
        steps=6,
        batch_tokens=256,
        eval_every=2,
        validation_queries=16,
        test_queries=32,
        precision="float32",
    )
    training = training.model_copy(update=changes.pop("training", {}))
    return EvaluationRequest(
        architecture=architecture or design("short_conv", "attention"),
        task=changes.pop("task", TASK),
        training=training,
        seed=changes.pop("seed", RunSeed(campaign=3, trial=1)),
        to_step=to_step or training.steps,
        **changes,
    )


def made_up(req: EvaluationRequest) -> Evaluation:
    """An evaluation that depends on the design alone."""
    share = int(hashlib.sha256(req.architecture.digest.encode()).hexdigest()[:4], 16) / 2**16
    cells = tuple(
        CellScore(
            length=c.length,
            pairs=c.pairs,
            power_a=c.power_a,
            accuracy=share,
            log_probability=-1.0,
            queries=8,
        )
        for c in req.task.test_cells
    )
    per_cell = (share,) * len(cells)
    point = CurvePoint(
        step=req.to_step, train_loss=1.0, accuracy=per_cell, log_probability=(-1.0,) * len(cells)
    )
    return Evaluation(
        outcome=RunOutcome.FINISHED,
        learning_rate=req.training.learning_rate,
        seed=req.seed,
        step=req.to_step,
        curve=(point,),
        test=cells,
        seconds=0.1,
    )


class Inline(Executor):
    """Answers in this process, at the next poll.

    Args:
        answer: Takes the place of training.
        slots: As many as answers that are given at a poll at most.
    """

    def __init__(
        self,
        answer: Callable[[EvaluationRequest], Evaluation | Failure] = made_up,
        slots: int = 1,
        options: ExecutorOptions | None = None,
    ) -> None:
        self._answer = answer
        self._slots = slots
        self._tickets = 0
        self.waiting: deque[tuple[int, EvaluationRequest]] = deque()
        self.asked: list[EvaluationRequest] = []
        self.most_in_flight = 0

    @property
    def slots(self) -> int:
        return self._slots

    def submit(self, request: EvaluationRequest) -> int:
        self._tickets += 1
        self.asked.append(request)
        self.waiting.append((self._tickets, request))
        self.most_in_flight = max(self.most_in_flight, len(self.waiting))
        return self._tickets

    def poll(self, timeout_seconds: float) -> list[Answer]:
        if not self.waiting or not timeout_seconds:
            return []
        ticket, request = self.waiting.popleft()
        return [Answer(ticket, self._answer(request))]

    def cancel(self) -> None:
        self.waiting.clear()

    def close(self) -> None:
        self.cancel()


class Silent:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.snapshots: list[Snapshot] = []

    def event(self, text: str) -> None:
        self.events.append(text)

    def update(self, look: Callable[[], Snapshot]) -> None:
        self.snapshots.append(look())


def new_campaign(directory: Path, text: str | None = None, **settings: Any) -> Campaign:
    directory.mkdir(parents=True, exist_ok=True)
    file = loads(text or tiny_text())
    return Campaign.create(file, directory, new_settings(file, **settings))


def open_store(campaign: Campaign, *, create: bool) -> Store:
    return Store(
        campaign.storage_url,
        campaign.settings.study,
        objectives=campaign.objectives,
        create=create,
    )


def driver(
    campaign: Campaign,
    store: Store,
    executor: Executor | None = None,
    *,
    stop: Stop | None = None,
    observer: Silent | None = None,
) -> Driver:
    return Driver(
        campaign,
        store,
        executor or Inline(),
        observer or Silent(),
        stop or Stop(),
        WorkerSettings(),
    )


def drive(
    campaign: Campaign,
    executor: Executor | None = None,
    *,
    create: bool = True,
    stop: Stop | None = None,
    observer: Silent | None = None,
) -> Ending:
    """Runs a campaign in this process and closes its store."""
    store = open_store(campaign, create=create)
    try:
        return driver(campaign, store, executor, stop=stop, observer=observer).run()
    finally:
        store.close()


def lasting(record: TrialRecord) -> dict[str, Any]:
    """A record without what may differ between two equal campaigns."""
    plain = record.model_dump(mode="json")
    for key in TIMES:
        del plain[key]
    for evaluation in plain["evaluations"]:
        del evaluation["seconds"]
    return plain


def study_of(campaign: Campaign) -> list[dict[str, Any]]:
    """Everything in the study, and in its references, that should not depend on interruptions."""
    import optuna

    found = []
    storage = optuna.storages.RDBStorage(campaign.storage_url)
    for name in (campaign.settings.study, f"{campaign.settings.study}/references"):
        study = optuna.load_study(storage=storage, study_name=name)
        for trial in study.get_trials(deepcopy=False):
            found.append(
                {
                    "study": "references" if name.endswith("/references") else "trials",
                    "number": trial.number,
                    "state": trial.state.name,
                    "values": trial.values,
                    "params": trial.params,
                    "constraints": dict(trial.constraints),
                }
            )
    storage.remove_session()
    storage.engine.dispose()
    return found


def everything(campaign: Campaign) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The study and the records, as they should be whatever interrupted the campaign."""
    records = read_records(campaign.storage_url, campaign.settings.study)
    return study_of(campaign), [lasting(r) for r in records]

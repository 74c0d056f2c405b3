"""A campaign folder as a driver leaves it, with hand-made results and a real SQLite study."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import pytest

from archsearch.architecture import Architecture, Block, Component, Scalar
from archsearch.campaign.config import Campaign, new_settings
from archsearch.campaign.reading import Reading, read
from archsearch.campaign.references import reference_designs
from archsearch.campaign.standing import cost_of
from archsearch.canonical import campaign_key, canonicalise
from archsearch.cli import main
from archsearch.costs import price
from archsearch.objectives import OBJECTIVES, capped_accuracy
from archsearch.records import (
    CellScore,
    CurvePoint,
    DistanceBin,
    Evaluation,
    Failure,
    FailureKind,
    RunOutcome,
    RunSeed,
    TrialOutcome,
    TrialRecord,
)
from archsearch.space import CampaignFile, loads
from archsearch.storage import Store

CAMPAIGN = """
name: fake
title: A campaign made by hand
task:
  name: mqar
  vocab_size: 512
  cells: [{length: 32, pairs: 4}, {length: 64, pairs: 8}]
  test_cells: [{length: 64, pairs: 8}, {length: 256, pairs: 16, power_a: 1}]
space:
  d_model: {choice: [32, 64]}
  depth: 2
  layers:
    base:
      sequence: {mixer: short_conv, kernel_size: {choice: [3, 5]}}
    placement:
      sequence:
        choice:
          - attention
          - {mixer: sliding_window, window: {choice: [4, 16, 64, sqrt]}}
      rule: positions
training: {steps: 100, batch_tokens: 512, eval_every: 50}
constraints: [growth < 2, params <= 30000]
search: {sampler: random, trials: 10, seed: 3}
"""

REFERENCE_ACCURACY = {
    "attention x2": (0.998, 0.97),
    "short conv + attention": (1.0, 0.996),
    "conv only": (0.41, 0.08),
    "short conv + window": (0.93, 0.21),
    "short conv + Based": (0.88, 0.52),
}


class Ran(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR", "COLUMNS", "LINES", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Runs a command in this process, its output not a terminal."""

    def run(*arguments: object) -> Ran:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return run


def window_design(d_model: int, window: int | str, kernel: int = 3) -> Architecture:
    options: dict[str, Scalar] = {"window": window}
    blocks = (
        Block(sequence=Component(name="short_conv", options={"kernel_size": kernel})),
        Block(sequence=Component(name="sliding_window", options=options)),
    )
    return canonicalise(Architecture(d_model=d_model, blocks=blocks))


def _evaluation(number: int, outcome: RunOutcome, accuracies: tuple[float, ...]) -> Evaluation:
    cells = ((64, 8, 0.01), (256, 16, 1.0))
    test = tuple(
        CellScore(
            length=length,
            pairs=pairs,
            power_a=power,
            accuracy=value,
            log_probability=math.log(max(value, 1e-3)),
            queries=1024,
            by_distance=(
                DistanceBin(low=8, high=15, accuracy=min(1.0, value + 0.1), queries=600),
                DistanceBin(low=16, high=31, accuracy=value, queries=424),
            ),
        )
        for (length, pairs, power), value in zip(cells, accuracies, strict=True)
    )
    curve = tuple(
        CurvePoint(
            step=step,
            train_loss=6.0 / step,
            accuracy=tuple(a * step / 100 for a in accuracies),
            log_probability=(-1.0, -2.0),
        )
        for step in (50, 100)
    )
    return Evaluation(
        outcome=outcome,
        learning_rate=3e-3,
        seed=RunSeed(campaign=3, trial=number),
        step=100,
        curve=curve,
        test=test if outcome in (RunOutcome.SOLVED, RunOutcome.FINISHED) else (),
        seconds=12.5,
        train_flops=1.2e12,
        detail="not finite at step 7" if outcome is RunOutcome.DIVERGED else "",
        versions={"torch": "2.13.0", "archsearch": "0.1.0"},
        node="node-1",
    )


def record(
    file: CampaignFile,
    number: int,
    outcome: TrialOutcome,
    design: Architecture,
    accuracies: tuple[float, float] = (0.0, 0.0),
    **changes: object,
) -> TrialRecord:
    n_max = file.task.longest_test_length
    ran = outcome in (TrialOutcome.SOLVED, TrialOutcome.FINISHED, TrialOutcome.DIVERGED)
    base: dict[str, object] = {
        "number": number,
        "outcome": outcome,
        "architecture": design,
        "params": {"d_model": design.d_model, "window": 4},
        "digest": design.digest,
        "campaign_key": campaign_key(design, n_max),
        "price": price(design, n_max, vocab_size=file.task.vocab_size),
        "accuracy": capped_accuracy(accuracies) if outcome.was_trained else 0.0,
        "evaluations": (
            (_evaluation(number, RunOutcome(outcome.value), accuracies),) if ran else ()
        ),
        "attempts": 1,
        "started_at": "2026-11-22T06:00:00.000+00:00",
        "finished_at": f"2026-11-22T06:0{abs(number) % 10}:30.000+00:00",
    }
    return TrialRecord.model_validate(base | changes)


def reference_records(file: CampaignFile) -> list[TrialRecord]:
    found = []
    for i, (name, design) in enumerate(reference_designs(file, 32).items()):
        accuracies = REFERENCE_ACCURACY.get(name)
        outcome = TrialOutcome.DIVERGED if accuracies is None else TrialOutcome.FINISHED
        changes = {"reference": name, "params": {}}
        found.append(record(file, -1 - i, outcome, design, accuracies or (0.0, 0.0), **changes))
    return found


def trial_records(file: CampaignFile) -> list[TrialRecord]:
    failure = Failure(
        kind=FailureKind.ERROR,
        message="RuntimeError: shapes do not match",
        traceback="Traceback (most recent call last):\nRuntimeError: shapes do not match",
        node="node-2",
    )
    made = [
        (TrialOutcome.FINISHED, window_design(32, 4), (0.62, 0.18), {}),
        (TrialOutcome.FINISHED, window_design(32, 16), (0.95, 0.61), {}),
        (TrialOutcome.SOLVED, window_design(64, "sqrt"), (1.0, 0.992), {}),
        (TrialOutcome.FINISHED, window_design(64, 4), (0.60, 0.17), {}),
        (TrialOutcome.DIVERGED, window_design(64, 8), (0.0, 0.0), {}),
        (TrialOutcome.FAILED, window_design(32, 32), (0.0, 0.0), {"failure": failure}),
        (
            TrialOutcome.INFEASIBLE,
            window_design(64, 128),
            (0.0, 0.0),
            {"violations": {"growth < 2": 1e-9}},
        ),
        (TrialOutcome.DUPLICATE, window_design(32, 4), (0.0, 0.0), {"duplicate_of": 0}),
        (TrialOutcome.RUNNING, window_design(64, 6), (0.0, 0.0), {"finished_at": ""}),
    ]
    return [
        record(file, number, outcome, design, accuracies, **changes)
        for number, (outcome, design, accuracies, changes) in enumerate(made)
    ]


def build(
    directory: Path,
    references: Iterable[TrialRecord] = (),
    searched: Iterable[TrialRecord] = (),
    *,
    text: str = CAMPAIGN,
    **settings: object,
) -> Campaign:
    """Writes a campaign's folder; a trial that is running stays so."""
    directory.mkdir()
    file = loads(text)
    campaign = Campaign.create(file, directory, new_settings(file, **settings))
    store = Store(
        campaign.storage_url,
        campaign.settings.study,
        objectives=[OBJECTIVES["accuracy"], OBJECTIVES["flops"]],
        create=True,
    )
    cost = campaign.objectives[1]
    for one in references:
        store.add_reference(one, [one.accuracy, cost.loss(cost_of(one, cost))])
    for one in searched:
        assert store.ask() == one.number
        if one.outcome is TrialOutcome.RUNNING:
            store.note(one)
        elif one.outcome in (TrialOutcome.FAILED, TrialOutcome.DUPLICATE):
            store.tell(one, None)
        else:
            store.tell(one, [one.accuracy, cost.loss(cost_of(one, cost))])
    store.close()
    if references:
        campaign.freeze(reference_point=(0.245, 2e7))
    return campaign


@pytest.fixture(scope="session")
def _made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("campaigns") / "fake-001"
    file = loads(CAMPAIGN)
    build(directory, reference_records(file), trial_records(file))
    return directory


@pytest.fixture
def campaign(_made: Path, tmp_path: Path) -> Path:
    """A folder of its own for each test."""
    directory = tmp_path / "fake-001"
    shutil.copytree(_made, directory)
    return directory


@pytest.fixture
def empty_campaign(tmp_path: Path) -> Path:
    directory = tmp_path / "empty-001"
    build(directory)
    return directory


def raced(record: TrialRecord) -> TrialRecord:
    """The same, trained at three rates of which the last learns nothing."""
    if not record.evaluations:
        return record
    (whole,) = record.evaluations
    runs = []
    for run, (rate, share) in enumerate(((1e-3, 0.8), (3e-3, 1.0), (1e-2, 0.01))):
        curve = tuple(
            CurvePoint(
                step=step,
                train_loss=1.0,
                accuracy=tuple(a * share * step / 100 for a in point.accuracy),
                log_probability=tuple(-6.0 + 5 * share for _ in point.accuracy),
            )
            for step, point in ((10, whole.curve[0]), (100, whole.curve[-1]))
        )
        changes = {
            "learning_rate": rate,
            "curve": curve,
            "seed": whole.seed.model_copy(update={"run": run}),
        }
        runs.append(whole.model_copy(update=changes))
    return record.model_copy(update={"evaluations": tuple(runs), "scored_run": 1})


@pytest.fixture
def race(tmp_path: Path) -> Reading:
    file = loads(CAMPAIGN)
    references = [raced(record) for record in reference_records(file)]
    trials = [raced(record) for record in trial_records(file)]
    return read(build(tmp_path / "race", references, trials).directory)

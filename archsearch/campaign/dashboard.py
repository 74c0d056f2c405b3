"""A campaign for Optuna's dashboard: what is shown of each trial there."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from archsearch.campaign.config import Campaign
from archsearch.campaign.exports import describe
from archsearch.campaign.front import front_of
from archsearch.campaign.table import Cell, rows
from archsearch.exporters import exporters
from archsearch.records import Confirmation, Evaluation, TrialRecord
from archsearch.storage.dashboard import (
    Label,
    application,
    confirmations_of,
    label,
    trials_of,
)
from archsearch.storage.read import copy_study

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

_SHOWN = (
    "reference", "outcome", "design", "is_member", "accuracy", "low", "high", "worst_cell",
    "gap_closed", "flops", "growth", "params", "state_floats", "learning_rate", "learnability",
    "steps", "seconds", "duplicate_of", "violated", "failure",
)  # fmt: skip
"""Columns of the campaign's table that become attributes of a trial."""

_LONGEST = 200


def dashboard_of(campaign: Campaign, path: Path) -> WSGIApplication:
    """The dashboard of a campaign, over a copy that is made of its study at this path.

    Raises:
        StoreError: The study is missing, damaged or not reachable.
    """
    name = campaign.settings.study
    copy_study(campaign.storage_url, name, path)
    # from the copy: the campaign may have gone on since
    trials, confirmations = trials_of(path, name), confirmations_of(path, name)
    labels = _labels(campaign, trials, confirmations)
    return application(
        path, label(path, name, [o.scaled_name for o in campaign.objectives], labels)
    )


def _labels(
    campaign: Campaign,
    trials: Mapping[int, TrialRecord],
    confirmations: Mapping[int, Confirmation],
) -> dict[int, Label]:
    records, fresh = list(trials.values()), list(confirmations.values())
    front = front_of(campaign, records, fresh)
    table = {row["number"]: row for row in rows(records, front)}
    found = {
        trial_id: Label(_short(table[record.number]), _files(campaign, record, fresh))
        for trial_id, record in trials.items()
    }
    return found | {key: _of_confirmation(campaign, one) for key, one in confirmations.items()}


def _short(row: Mapping[str, Cell]) -> dict[str, str | int | float | bool]:
    found = {}
    for name in _SHOWN:
        value = row[name]
        if value is not None:
            found[name] = value[:_LONGEST] if isinstance(value, str) else value
    return found


def _files(
    campaign: Campaign, record: TrialRecord, confirmations: Sequence[Confirmation]
) -> dict[str, Callable[[], str]]:
    stem = f"trial-{record.number}" if record.reference is None else "reference"
    files: dict[str, Callable[[], str]] = {}
    if record.architecture is not None and record.price is not None:
        files[f"{stem}.yaml"] = partial(_architecture, campaign, record, confirmations)
    if any(run.curve for run in record.runs.values()):
        files[f"{stem}-curve.csv"] = partial(_curve, campaign, record.runs)
    return files


def _architecture(
    campaign: Campaign, record: TrialRecord, confirmations: Sequence[Confirmation]
) -> str:
    text = exporters.get("yaml").render(describe(campaign, record, confirmations))
    assert isinstance(text, str), "YAML is one file"
    return text


def _of_confirmation(campaign: Campaign, one: Confirmation) -> Label:
    run = one.evaluation
    of = {"trial": one.number} if one.reference is None else {"reference": one.reference}
    attributes = {
        **of,
        "outcome": run.outcome.value,
        "seed": one.seed,
        "learning_rate": run.learning_rate,
        "steps": run.step,
        "seconds": run.seconds,
    }
    files = {"curve.csv": partial(_curve, campaign, {run.seed.run: run})} if run.curve else {}
    return Label(attributes, files)


def _curve(campaign: Campaign, runs: Mapping[int, Evaluation]) -> str:
    """A line for each validation of each run."""
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    cells = [f"accuracy {cell}" for cell in campaign.file.task.cells]
    writer.writerow(["learning_rate", "step", "train_loss", "accuracy", *cells])
    for _, run in sorted(runs.items()):
        for point in run.curve:
            mean = sum(point.accuracy) / len(point.accuracy)
            writer.writerow(
                [run.learning_rate, point.step, point.train_loss, mean, *point.accuracy]
            )
    return target.getvalue()

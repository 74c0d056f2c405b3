"""Where runs leave their rungs in a campaign's folder, and which of them stay."""

from __future__ import annotations

import shutil
from pathlib import Path

from archsearch.campaign.config import RUNS, Campaign
from archsearch.records import FRESH_RUNS, Evaluation, TrialRecord


def home(campaign: Campaign, record: TrialRecord) -> Path:
    """The folder of a trial's runs."""
    name = f"ref{-record.number}" if record.reference is not None else str(record.number)
    return campaign.directory / RUNS / name


def run_directory(campaign: Campaign, record: TrialRecord, run: int) -> Path:
    """The folder of a run; its rungs are named by their steps."""
    return home(campaign, record) / str(run)


def last_rung(campaign: Campaign, record: TrialRecord) -> Path | None:
    """Where the scored run ended; None if that was not kept."""
    if record.scored is None:
        return None
    return _last(run_directory(campaign, record, record.scored.seed.run))


def _last(run: Path) -> Path | None:
    # a killed worker may have left an unfinished '<step>.tmp-<pid>' beside them
    found = [p for p in run.glob("*") if p.name.isdigit()]
    return max(found, key=lambda p: int(p.name), default=None)


def remove_rung(campaign: Campaign, record: TrialRecord, rung: Evaluation) -> None:
    """The checkpoint that a run has gone on from is not needed any more."""
    _remove(run_directory(campaign, record, rung.seed.run) / str(rung.step))


def remove_run(campaign: Campaign, record: TrialRecord, run: int) -> None:
    """All that a run has left."""
    _remove(run_directory(campaign, record, run))


def keep_scored(campaign: Campaign, record: TrialRecord) -> None:
    """Of a trial that was told, the weights of the scored run stay; confirmations are not its."""
    kept = last_rung(campaign, record) if record.outcome.was_trained else None
    for run in home(campaign, record).glob("*"):
        if run.name.isdigit() and int(run.name) >= FRESH_RUNS:
            continue
        if kept is None or run != kept.parent:
            _remove(run)
            continue
        for rung in run.iterdir():
            if rung != kept:
                _remove(rung)


def _remove(path: Path) -> None:
    # what cannot be removed costs room and no result
    shutil.rmtree(path, ignore_errors=True)

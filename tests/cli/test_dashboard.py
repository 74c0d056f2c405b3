"""``dashboard``: Optuna's dashboard serves a copy, and the campaign's own study is left alone."""

from __future__ import annotations

import csv
import errno
import hashlib
import importlib.util
import io
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

import archsearch
from archsearch.campaign.config import Campaign
from archsearch.campaign.exports import describe
from archsearch.campaign.lock import CampaignLock
from archsearch.errors import StoreError
from archsearch.exporters import exporters
from archsearch.records import FRESH_RUNS, Confirmation, RunSeed, TrialOutcome
from archsearch.storage import SQLITE_FILE, Store, read_records
from archsearch.storage import dashboard as storage_dashboard
from archsearch.storage import read as storage_read
from tests.campaign.test_sessions import MAIN
from tests.conftest import OLDER, PUBLISHED

from .conftest import Ran, build, reference_records, trial_records

Cli = Callable[..., Ran]


class Served:
    """A dashboard in a process of its own."""

    def __init__(self, folder: Path, temporary: Path, *options: str) -> None:
        temporary.mkdir(exist_ok=True)
        self.temporary = temporary
        self.process = subprocess.Popen(
            [sys.executable, "-c", MAIN, "dashboard", str(folder), "--port", "0", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "TMPDIR": str(temporary)},
        )
        self.lines: list[str] = []
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if line.startswith("Ctrl-C"):
                break
        assert self.lines[-1] == "Ctrl-C ends it", self.lines
        self.address = self.lines[-2].split()[-1]

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self.address + path, timeout=30) as answer:
            text: str = answer.read().decode()
        return text

    def json(self, path: str) -> Any:
        return json.loads(self.get(path))

    def study(self, name: str) -> Any:
        """The page data of a study."""
        studies = {
            s["study_name"]: s["study_id"] for s in self.json("/api/studies")["study_summaries"]
        }
        found = self.json(f"/api/studies/{studies[name]}")
        return found | {"id": studies[name]}

    def end(self, number: int = signal.SIGINT) -> tuple[int, str]:
        self.process.send_signal(number)
        rest, _ = self.process.communicate(timeout=30)
        return self.process.returncode, rest


@contextmanager
def served(folder: Path, temporary: Path) -> Iterator[Served]:
    found = Served(folder, temporary)
    try:
        yield found
    finally:
        if found.process.poll() is None:
            found.process.kill()
            found.process.communicate()


def contents(folder: Path) -> dict[str, str]:
    """Every file with its checksum."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def by_key(attributes: list[dict[str, str]]) -> dict[str, Any]:
    """Values as they were: the dashboard sends all of them as texts."""
    return {one["key"]: _parsed(one["value"]) for one in attributes}


def _parsed(text: str) -> Any:
    if text in ("True", "False"):
        return text == "True"
    try:
        return json.loads(text)
    except ValueError:
        return text


@pytest.mark.parametrize("which", ["published", "older", "fresh"])
def test_the_study_is_served(which: str, campaign: Path, tmp_path: Path) -> None:
    folder = {"published": PUBLISHED, "older": OLDER, "fresh": campaign}[which]
    before = contents(folder)
    reading = archsearch.open_campaign(folder)
    records = {r.number: r for r in reading.records if r.reference is None}
    name = reading.campaign.settings.study
    with served(folder, tmp_path / "temporary") as dashboard:
        assert len(dashboard.lines) == 2  # nobody holds it
        assert "<html" in dashboard.get("/dashboard").lower()
        study = dashboard.study(name)
        assert study["objective_names"] == ["accuracy", "log10 flops"]
        assert [trial["number"] for trial in study["trials"]] == sorted(records)
        for trial in study["trials"]:
            record = records[trial["number"]]
            attributes = by_key(trial["user_attrs"])
            assert attributes["outcome"] == record.outcome.value
            assert all(len(str(value)) <= 200 for value in attributes.values())
            assert "record" not in attributes
            # of a proposal that was known, nothing was priced
            if record.outcome is TrialOutcome.INFEASIBLE and which == "published":
                assert max(trial["constraints"]) > 0
            elif record.outcome.was_trained and which == "published":
                assert max(trial["constraints"]) <= 0
            assert len(trial["params"]) >= len(record.params) > 0 or which == "fresh"
        member = reading.front.members[-1]
        found = next(t for t in study["trials"] if t["number"] == member.number)
        attributes = by_key(found["user_attrs"])
        assert attributes["design"] == member.design
        assert attributes["accuracy"] == member.accuracy
        assert attributes["is_member"] is True
        files = {
            one["filename"]: dashboard.get(
                f"/artifacts/{study['id']}/{found['trial_id']}/{one['artifact_id']}"
            )
            for one in found["artifacts"]
        }
        assert set(files) == {f"trial-{member.number}.yaml", f"trial-{member.number}-curve.csv"}
        record = records[member.number]
        file = describe(reading.campaign, record, reading.confirmations)
        text = exporters.get("yaml").render(file)
        assert files[f"trial-{member.number}.yaml"] == text
        assert yaml.safe_load(str(text))["digest"] == member.digest
        curve = list(csv.DictReader(io.StringIO(files[f"trial-{member.number}-curve.csv"])))
        points = [point for run in record.runs.values() for point in run.curve]
        assert [int(line["step"]) for line in curve] == [point.step for point in points]
        cell = reading.campaign.file.task.cells[-1]
        assert float(curve[-1][f"accuracy {cell}"]) == points[-1].accuracy[-1]
        references = dashboard.study(f"{name}/references")
        assert references["objective_names"] == study["objective_names"]
        assert len(references["trials"]) == len(reading.records) - len(records)
        code, rest = dashboard.end()
    assert (code, rest) == (0, "ended\n")
    assert list(dashboard.temporary.iterdir()) == []
    assert contents(folder) == before


def test_a_held_campaign_is_copied_while_it_is_written(campaign: Path, tmp_path: Path) -> None:
    opened = Campaign.open(campaign)
    name = opened.settings.study
    with (
        CampaignLock(campaign),
        closing(
            Store(opened.storage_url, name, objectives=opened.objectives, create=False)
        ) as store,
    ):
        # what lies in the write-ahead log alone is shown, too
        running = next(r for r in store.records() if r.outcome is TrialOutcome.RUNNING)
        store.note(running.model_copy(update={"attempts": 7}))
        number = store.ask()
        draft = running.model_copy(update={"number": number, "outcome": TrialOutcome.DIVERGED})
        store.tell(draft, [0.0, 7.0])
        assert (campaign / f"{SQLITE_FILE}-wal").stat().st_size > 0
        with served(campaign, tmp_path / "temporary") as dashboard:
            assert f"held by process {os.getpid()} on " in dashboard.lines[0]
            assert len(dashboard.study(name)["trials"]) == number + 1
            later = store.ask()
            store.tell(draft.model_copy(update={"number": later}), [0.0, 7.0])
            assert len(dashboard.study(name)["trials"]) == number + 1
            assert dashboard.end() == (0, "ended\n")
        assert len(store.records()) == len(read_records(opened.storage_url, name))
    assert {r.number for r in read_records(opened.storage_url, name)} >= {number, later}


def test_nothing_can_be_changed_and_sigterm_clears_up(campaign: Path, tmp_path: Path) -> None:
    with served(campaign, tmp_path / "temporary") as dashboard:
        study = dashboard.study(Campaign.open(campaign).settings.study)
        for method in ("DELETE", "POST", "PUT"):
            request = urllib.request.Request(
                f"{dashboard.address}/api/studies/{study['id']}", method=method, data=b"{}"
            )
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(request, timeout=30)
            assert refused.value.code == 403
            assert "copy of the study" in json.loads(refused.value.read())["reason"]
        with pytest.raises(urllib.error.HTTPError):
            dashboard.get(f"/artifacts/{study['id']}/{study['trials'][0]['trial_id']}/ffff-9")
        assert any(dashboard.temporary.iterdir())
        code, rest = dashboard.end(signal.SIGTERM)
    assert (code, rest) == (143, "")
    assert list(dashboard.temporary.iterdir()) == []


def test_confirmations_are_shown(tmp_path: Path) -> None:
    made = build(tmp_path / "c")
    file = made.file
    references, trials = reference_records(file), trial_records(file)
    made = build(tmp_path / "d", references, trials)
    run = trials[1].evaluations[0]
    seed = RunSeed(campaign=3, trial=1, run=FRESH_RUNS)
    fresh = Confirmation(number=1, batch=1, evaluation=run.model_copy(update={"seed": seed}))
    name = made.settings.study
    with closing(Store(made.storage_url, name, objectives=made.objectives, create=False)) as store:
        store.add_confirmation(fresh, [0.7, 7.0])
    with served(made.directory, tmp_path / "temporary") as dashboard:
        (trial,) = dashboard.study(f"{name}/confirm")["trials"]
        attributes = by_key(trial["user_attrs"])
        assert (attributes["trial"], attributes["seed"]) == (1, 0)
        assert [one["filename"] for one in trial["artifacts"]] == ["curve.csv"]


def test_another_database_is_copied_trial_by_trial(
    campaign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL's way, with SQLite in its place."""
    opened = Campaign.open(campaign)
    name = opened.settings.study
    backup, copied = tmp_path / "backup.db", tmp_path / "copied.db"
    storage_read.copy_study(opened.storage_url, name, backup)
    monkeypatch.setattr(storage_read, "sqlite_path", lambda _: None)
    storage_read.copy_study(opened.storage_url, name, copied)
    found = [storage_dashboard.trials_of(path, name) for path in (backup, copied)]
    assert [*found[0].values()] == [*found[1].values()]
    assert len(found[0]) == len(read_records(opened.storage_url, name))


def test_a_damaged_study_is_named(campaign: Path, tmp_path: Path) -> None:
    opened = Campaign.open(campaign)
    with closing(sqlite3.connect(campaign / SQLITE_FILE)) as connection, connection:
        connection.execute(
            "UPDATE trial_user_attributes SET value_json = replace(value_json, 'd_model', 'd_m')"
        )
    copy = tmp_path / "copy.db"
    storage_read.copy_study(opened.storage_url, opened.settings.study, copy)
    with pytest.raises(StoreError, match=r"reference 0: the record's checksum does not match"):
        storage_dashboard.trials_of(copy, opened.settings.study)


def test_a_copy_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    # a database without tables, as no room leaves one
    with pytest.raises(StoreError, match=r"copy\.db: the copy cannot be written \(no such table"):
        storage_dashboard.label(tmp_path / "copy.db", "name", ["accuracy"], {})


def test_what_cannot_be_served_is_one_line(
    cli: Cli, campaign: Path, empty_campaign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*arguments: object) -> str:
        ran = cli("dashboard", *arguments)
        assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
        return ran.err

    assert "there is no such folder" in refused(tmp_path / "nothing")
    assert "is not a campaign's folder" in refused(tmp_path)
    assert "has no study yet" in refused(empty_campaign)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = refused(campaign, "--port", port)
    assert f"--port: got {port}, which cannot be opened ({os.strerror(errno.EADDRINUSE)})" in text
    assert "0 for any that is free" in text
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if "optuna_d" in name else find(name)
    )
    assert "'pip install archsearch[dashboard]'" in refused(campaign)

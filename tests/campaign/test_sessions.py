"""Whole sessions of the command line as processes: killed, interrupted, refused."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from archsearch.campaign.config import SETTINGS_FILE, SPACE_FILE, Campaign
from archsearch.campaign.progress import Stop
from archsearch.evaluate import evaluate
from archsearch.records import TrialRecord
from archsearch.storage import read_confirmations, read_records
from tests.conftest import ROOT
from tests.helpers import Inline, drive, everything, made_up, new_campaign, study_of, tiny_text

MAIN = "import sys; from archsearch.cli import main; sys.exit(main())"
PATIENCE = 120.0


def begin(*arguments: str | Path, executor: str = "serial") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", MAIN, *map(str, arguments), "--executor", executor],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def end(process: subprocess.Popen[str], patience: float = PATIENCE) -> tuple[int, str]:
    try:
        text, _ = process.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        given_up(process)
    return process.returncode, text


def given_up(process: subprocess.Popen[str]) -> NoReturn:
    """Fails, and leaves nobody behind who trains on."""
    os.killpg(process.pid, signal.SIGKILL)
    pytest.fail(f"out of patience: {process.communicate()[0]}")


def records_of(folder: Path) -> list[TrialRecord]:
    try:
        campaign = Campaign.open(folder)
        return read_records(campaign.storage_url, campaign.settings.study)
    except Exception:  # noqa: BLE001  # the driver has not come so far
        return []


def trained(folder: Path) -> int:
    return sum(r.outcome.was_trained and r.number >= 0 for r in records_of(folder))


def wait_until(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    limit = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() >= limit:
            given_up(process)
        if process.poll() is not None:
            pytest.fail(f"ended before it was to: {end(process)}")
        time.sleep(0.02)


def interrupt_twice(process: subprocess.Popen[str]) -> None:
    """Ctrl-C, and again once the first was heard: equal signals that wait are one signal."""
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    output, sought, said = process.stdout.fileno(), b"draining: ", b""

    def heard() -> bool:
        nonlocal said
        # past the stream's buffer, and no further: the rest is left to who asks next
        while sought not in said and select.select([output], [], [], 0)[0]:
            byte = os.read(output, 1)
            if not byte:
                break
            said += byte
        return sought in said

    wait_until(heard, process)
    process.send_signal(signal.SIGINT)


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(text)
    return path


def slow(text: str, steps: int) -> str:
    return text.replace("steps: 4,", f"steps: {steps},").replace(
        "eval_every: 2,", "eval_every: 50,"
    )


def test_three_kills_leave_no_trace(tmp_path: Path) -> None:
    """SIGKILL at random moments of a campaign whose proposals depend on what was told before."""
    file = write(tmp_path, tiny_text("tpe", 20))
    calm, shaken = tmp_path / "calm", tmp_path / "shaken"
    # in this process, for the executor must make no difference either
    drive(new_campaign(calm, file.read_text()), Inline(evaluate))
    rng = random.Random(4)
    process = begin("run", file, "--out", shaken)
    for wanted in (rng.randint(0, 4), rng.randint(6, 10), rng.randint(12, 17)):
        wait_until(lambda wanted=wanted: trained(shaken) >= wanted and records_of(shaken), process)
        time.sleep(rng.uniform(0, 0.4))
        os.killpg(process.pid, signal.SIGKILL)
        end(process)
        assert process.returncode == -signal.SIGKILL
        process = begin("resume", shaken)
    code, text = end(process)
    assert code == 0, text

    one, other = (Campaign.open(folder) for folder in (calm, shaken))
    assert everything(other) == everything(one)
    assert other.settings.reference_point == one.settings.reference_point
    study, records = everything(other)
    assert "RUNNING" not in {t["state"] for t in study}
    numbers = [t["number"] for t in study if t["study"] == "trials"]
    assert numbers == list(range(len(numbers)))
    assert [r["number"] for r in records if r["number"] >= 0] == numbers
    assert sum(r["outcome"] in ("finished", "solved") for r in records if r["number"] >= 0) == 20


@pytest.mark.ray
@pytest.mark.slow
def test_three_kills_with_ray_lose_nothing_that_was_told(tmp_path: Path) -> None:
    file = write(tmp_path, tiny_text("tpe", 20))
    folder = tmp_path / "c"
    rng = random.Random(4)
    process = begin("run", file, "--out", folder, executor="ray")
    acked: dict[int, TrialRecord] = {}
    for wanted in (rng.randint(0, 4), rng.randint(6, 10), rng.randint(12, 17)):
        wait_until(lambda wanted=wanted: trained(folder) >= wanted and records_of(folder), process)
        time.sleep(rng.uniform(0, 0.4))
        os.killpg(process.pid, signal.SIGKILL)
        end(process)
        acked |= {r.number: r for r in records_of(folder) if r.told_order is not None}
        process = begin("resume", folder, executor="ray")
    code, text = end(process)
    assert code == 0, text
    campaign = Campaign.open(folder)
    study = study_of(campaign)
    assert "RUNNING" not in {t["state"] for t in study}
    numbers = [t["number"] for t in study if t["study"] == "trials"]
    assert numbers == list(range(len(numbers)))
    records = records_of(folder)
    found = {r.number: r for r in records}
    assert len(found) == len(records)
    assert acked
    for number, record in acked.items():
        assert found[number].accuracy == record.accuracy
        assert found[number].params == record.params
        assert found[number].outcome is record.outcome
    assert trained(folder) == 20


@pytest.mark.ray
@pytest.mark.slow
def test_deterministic_campaigns_of_1_2_and_4_ray_workers_are_one(tmp_path: Path) -> None:
    """Races, confirmation and a kill with them; Ray answers in whatever order it likes."""
    text = tiny_text("tpe", 6).replace("learning_rate: 3e-3,", "").replace("steps: 4", "steps: 16")
    text = text.replace("stopping: none", "stopping: front, deterministic: true, lag: 4")
    file = write(tmp_path, text.replace("confirm_seeds: 0", "confirm_seeds: 2"))
    found = []
    for workers in ("1", "2", "4"):
        folder = tmp_path / workers
        process = begin("run", file, "--out", folder, "--workers", workers, executor="ray")
        if workers == "4":
            wait_until(lambda folder=folder: trained(folder) >= 2, process)
            os.killpg(process.pid, signal.SIGKILL)
            end(process)
            process = begin("resume", folder, "--workers", "2", executor="ray")
        code, said = end(process, 5 * PATIENCE)
        assert code == 0, said
        campaign = Campaign.open(folder)
        confirmed = read_confirmations(campaign.storage_url, campaign.settings.study)
        fresh = sorted(
            (c.number, c.seed, [t.accuracy for t in c.evaluation.test]) for c in confirmed
        )
        assert fresh
        found.append((*everything(campaign), fresh))
    assert found[1:] == found[:1] * 2


def running(folder: Path) -> bool:
    return any(r.outcome.value == "running" for r in records_of(folder))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_one_signal_lets_the_running_trial_finish(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    folder = tmp_path / "c"
    process = begin("run", write(tmp_path, slow(tiny_text("random", 50), 40)), "--out", folder)
    wait_until(lambda: trained(folder) >= 1 and running(folder), process)
    process.send_signal(number)
    returned, text = end(process)
    assert returned == code, text
    assert "drained: stopped by the user" in text
    assert f"archsearch resume {folder}" in text
    assert {t["state"] for t in study_of(Campaign.open(folder))} <= {"COMPLETE", "FAIL"}
    assert not running(folder)
    assert {p.name for p in folder.glob("study.db*")} == {"study.db"}


def test_two_signals_leave_the_trial_to_the_next_driver(tmp_path: Path) -> None:
    """A trial of minutes: only a cancelled one can end the process within this test's patience."""
    folder = tmp_path / "c"
    text = tiny_text("random", 1)
    campaign = new_campaign(folder, slow(text, 2_000_000))
    drive_references_only(campaign)
    process = begin("resume", folder)
    wait_until(lambda: running(folder), process)
    interrupt_twice(process)
    returned, said = end(process)
    assert returned == 130, said
    assert "cancelled" in said
    assert f"archsearch resume {folder}" in said
    study = study_of(campaign)
    [left] = [t for t in study if t["state"] == "RUNNING"]
    assert left["study"] == "trials"
    drive(campaign, create=False)
    after = study_of(campaign)
    assert [
        t["params"] for t in after if t["number"] == left["number"] and t["study"] == "trials"
    ] == [left["params"]]
    assert "RUNNING" not in {t["state"] for t in after}


def drive_references_only(campaign: Campaign) -> None:
    stop = Stop()

    def answer(request):  # type: ignore[no-untyped-def]
        stop.draining = request.seed.trial == -6
        return made_up(request)

    drive(campaign, Inline(answer), stop=stop)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "c"
    drive(new_campaign(folder, tiny_text("random", 1)))
    return folder


def in_process(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str]:
    from archsearch.cli import main

    code = main([str(a) for a in arguments])
    return code, capsys.readouterr().err


def test_a_second_driver_is_turned_away(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from archsearch.campaign.lock import CampaignLock, holder_of

    assert holder_of(finished) is None
    with CampaignLock(finished):
        code, said = in_process(capsys, "resume", finished, "--executor", "serial")
        assert code == 75
        assert f"held by process {os.getpid()} on " in said
        assert f"process {os.getpid()}" in str(holder_of(finished))
    assert holder_of(finished) is None
    code, said = in_process(capsys, "resume", finished, "--executor", "serial")
    assert code in (0, 3), said


def test_a_lock_dies_with_its_holder(finished: Path) -> None:
    from archsearch.campaign.lock import CampaignLock, holder_of

    script = (
        "import sys, time; from pathlib import Path; from archsearch.campaign.lock import *\n"
        "with CampaignLock(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(finished)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    assert f"process {holder.pid} on " in str(holder_of(finished))
    holder.kill()
    holder.communicate()
    assert holder_of(finished) is None
    with CampaignLock(finished):
        pass


def test_looking_at_a_lock_does_not_turn_a_driver_away(finished: Path) -> None:
    import threading

    from archsearch.campaign.lock import CampaignLock, holder_of

    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            holder_of(finished)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for _ in range(200):
            with CampaignLock(finished):
                pass
    finally:
        done.set()
        thread.join()


def test_an_edited_campaign_is_refused_and_comments_are_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "c"
    drive(new_campaign(folder, tiny_text("random", 1)))
    file = folder / SPACE_FILE
    text = file.read_text()
    for old, new in (
        ("steps: 4", "steps: 6"),
        ("seed: 5", "seed: 6"),
        ("growth < 2", "growth <= 2"),
    ):
        file.write_text(text.replace(old, new))
        code, said = in_process(capsys, "resume", folder, "--executor", "serial")
        assert code == 5
        assert "changed since the campaign began" in said
    file.write_text("# a word\n" + text)
    code, said = in_process(capsys, "resume", folder, "--executor", "serial")
    assert code in (0, 3), said


def test_other_versions_are_refused_or_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "c"
    drive(new_campaign(folder, tiny_text("random", 1)))
    settings = json.loads((folder / SETTINGS_FILE).read_text())
    now = settings["versions"]["torch"]
    major, minor, rest = now.split(".", 2)

    def resumed_under(version: str) -> tuple[int, str]:
        settings["versions"]["torch"] = version
        (folder / SETTINGS_FILE).write_text(json.dumps(settings))
        return in_process(capsys, "resume", folder, "--executor", "serial")

    for other in (f"{major}.{int(minor) - 1}.0", f"{int(major) - 1}.{minor}.{rest}"):
        code, said = resumed_under(other)
        assert code == 5
        assert f"torch is {now}, the campaign began with {other}" in said
    code, said = resumed_under(f"{major}.{minor}.99")
    assert code in (0, 3), said
    assert "warning: torch is" in said
    code, said = resumed_under(now)
    assert code in (0, 3), said
    assert "warning" not in said


def test_damage_is_told_as_damage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "c"
    drive(new_campaign(folder, tiny_text("random", 1)))
    (folder / "study.db").write_bytes(b"garbage" * 999)
    code, said = in_process(capsys, "resume", folder, "--executor", "serial")
    assert (code, "study.db" in said) == (4, True)
    (folder / "study.db").unlink()
    code, said = in_process(capsys, "resume", folder, "--executor", "serial")
    assert (code, "there is no study" in said) == (4, True)
    (folder / SETTINGS_FILE).write_text("{")
    assert in_process(capsys, "resume", folder, "--executor", "serial")[0] == 4
    (folder / SETTINGS_FILE).unlink()
    assert in_process(capsys, "resume", folder, "--executor", "serial")[0] == 2


def test_a_space_without_a_feasible_design_costs_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path, tiny_text().replace("[growth < 2]", "[params <= 1]"))
    code, text = in_process(capsys, "run", file, "--out", tmp_path / "c", "--executor", "serial")
    assert code == 2
    assert "no feasible" in text
    assert not (tmp_path / "c").exists()

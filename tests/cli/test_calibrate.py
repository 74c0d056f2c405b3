"""``calibrate`` as users have it: in earnest, killed, interrupted, narrow, piped, damaged."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from archsearch.campaign.calibrate import CALIBRATION, JOURNAL
from archsearch.campaign.lock import CampaignLock
from archsearch.campaign.references import CONV_ONLY
from tests.campaign.test_calibrate import completed
from tests.campaign.test_calibration import TEXT, passing
from tests.campaign.test_sessions import begin, end, interrupt_twice, slow, wait_until
from tests.helpers import tiny_text

from .conftest import Ran

Cli = Callable[..., Ran]

THREE_RATES = tiny_text("random", 2).replace("learning_rate: 3e-3,", "")
_ESCAPE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
CHECKS = ("attention", "conv only", "window", "learning rates", "seeds", "time")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a space that takes seconds."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(tiny_text("random", 2))
    (tmp_path / "made.yaml").write_text(TEXT)
    return tmp_path


def folder_in(results: Path) -> Path:
    [folder] = (results / "calibrations").iterdir()
    return folder


def lines_in(results: Path) -> list[str]:
    found = list((results / "calibrations").glob(f"*/{JOURNAL}"))
    return found[0].read_text().splitlines() if found else []


def test_a_space_is_calibrated_and_shown(cli: Cli, here: Path) -> None:
    ran = cli("calibrate", "tiny.yaml", "--executor", "serial")
    assert (ran.code, ran.err) == (0, "")
    assert "attention x2, rate 0.003, seed 1: finished at step 4" in ran.out
    assert "\nfinished: 8 runs done\n" in ran.out
    rows = re.findall(r"^(\S.*\S) +0\.003  \*( +)0 of 2", ran.out, re.MULTILINE)
    assert [name for name, _ in rows] == [
        "attention x2", "short conv + attention", "conv only", "short conv + window",
    ]  # fmt: skip
    assert re.search(r"^\(8,2\)( +[01]\.\d{3}){4}$", ran.out, re.MULTILINE)
    for check in CHECKS:
        assert re.search(rf"^{check}: +(ok|warn|fail): ", ran.out, re.MULTILINE)
    assert re.search(r"^discriminates: +no: attention", ran.out, re.MULTILINE)
    folder = folder_in(here / "results")
    assert ran.out.endswith(f"{folder.relative_to(here)}\n")
    assert sorted(p.name for p in folder.iterdir()) == [CALIBRATION, "lock", JOURNAL]

    # made once, shown as often as wanted
    before = (folder / JOURNAL).read_bytes()
    again = cli("calibrate", "tiny.yaml")
    assert (again.code, "seed 1: finished" in again.out) == (0, False)
    assert again.out in ran.out or again.out.splitlines()[0] in ran.out
    assert (folder / JOURNAL).read_bytes() == before

    # another seed is added to those there are, and stays
    more = cli("calibrate", "tiny.yaml", "--executor", "serial", "--seeds", "3")
    assert more.out.count("finished at step 4") == 4
    assert "finished: 12 runs done" in more.out
    assert json.loads(cli("calibrate", "tiny.yaml", "--json").out)["seeds"] == 3
    fewer = json.loads(cli("calibrate", "tiny.yaml", "--seeds", "2", "--json").out)
    assert (fewer["seeds"], fewer["runs"]) == (2, 8)
    assert json.loads((folder / CALIBRATION).read_text())["record"]["seeds"] == 3


def test_json_is_all_there_is_on_stdout(cli: Cli, here: Path) -> None:
    ran = cli("calibrate", "tiny.yaml", "--executor", "serial", "--seeds", "1", "--json")
    found = json.loads(ran.out)
    assert "finished: 4 runs done" in ran.err
    assert (found["complete"], found["discriminates"], found["runs"]) == (True, False, 4)
    assert [finding["check"] for finding in found["findings"]] == list(CHECKS)
    assert len(found["rows"]) == 4
    assert found["directory"] == str(folder_in(Path("results")))


def test_what_is_wrong_is_said_before_anything_is_trained(cli: Cli, here: Path) -> None:
    for arguments, message in (
        (["tiny.yml"], "tiny.yml"),
        ([], "missing argument 'file'"),
        (["tiny.yaml", "--executor", "serail"], "did you mean 'serial'?"),
        (["tiny.yaml", "--executor", "serial", "--workers", "2"], "--workers: got 2"),
        (["tiny.yaml", "--seeds", "0"], "--seeds"),
        (["tiny.yaml", "--sedes", "3"], "did you mean '--seeds'?"),
        (["tiny.yaml", "--show"], "never calibrated; leave out --show to begin"),
    ):
        ran = cli("calibrate", *arguments)
        assert (ran.code, ran.out) == (2, ""), ran
        assert message in ran.err
        assert len(ran.err.splitlines()) == 1
    assert not (here / "results").exists()
    ran = cli("calibrate", "tiny.yaml", "--executor", "serial", "--results", "tiny.yaml")
    assert (ran.code, "choose another folder with --results" in ran.err) == (2, True)
    (here / "bad.yaml").write_text(tiny_text().replace("steps: 4", "stesp: 4"))
    ran = cli("calibrate", "bad.yaml")
    assert (ran.code, "did you mean 'steps'" in ran.err) == (2, True)


def test_a_finished_calibration_of_made_up_runs(cli: Cli, here: Path) -> None:
    completed(here / "results")
    ran = cli("calibrate", "made.yaml")
    assert ran.code == 0
    assert re.search(r"^discriminates: +yes: designs are told apart", ran.out, re.MULTILINE)
    assert re.search(r"^short conv \+ attention +0\.001  \* +2 of 2 +0\.995", ran.out, re.MULTILINE)


@pytest.mark.parametrize("columns", [40, 60, 80, 120, 200])
def test_narrow_terminals(
    cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    completed(here / "results", **{CONV_ONLY: passing()})
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(columns))
    text = _ESCAPE.sub("", cli("calibrate", "made.yaml").out)
    if columns >= 60:
        assert max(map(len, text.splitlines())) <= columns
        assert re.search(r"^\(256,16,a=1\)( +[01]\.\d{3}){4}", text, re.MULTILINE)
    words = " ".join(text.replace("│", " ").split())
    assert "0.995" in words
    assert "discriminates" in words


def test_a_damaged_journal_names_its_line(cli: Cli, here: Path) -> None:
    folder = completed(here / "results")
    path = folder / JOURNAL
    whole = path.read_text()
    path.write_text(whole.replace('"step": 50', '"step": 51', 1))
    ran = cli("calibrate", "made.yaml")
    assert ran.code == 4
    assert re.search(rf"{JOURNAL}:\d+: not a result .* remove the line", ran.err)
    # the last line torn: that run is missing, and said to be
    path.write_text(whole[:-7])
    ran = cli("calibrate", "made.yaml", "--show")
    assert ran.code == 0
    assert "not known yet: 23 of 24 runs were made" in ran.out


def test_what_the_runs_say_is_made_again_when_it_is_damaged(cli: Cli, here: Path) -> None:
    folder = completed(here / "results")
    (folder / CALIBRATION).write_text("{}")
    ran = cli("calibrate", "made.yaml", "--executor", "serial")
    assert ran.code == 0
    assert len(ran.err.splitlines()) == 1
    assert CALIBRATION in ran.err
    assert "all runs were made before" in ran.out
    assert cli("calibrate", "made.yaml").err == ""


def test_two_processes_do_not_meet(cli: Cli, here: Path) -> None:
    folder = completed(here / "results")
    with CampaignLock(folder):
        assert cli("calibrate", "made.yaml").code == 0  # looking is free
        ran = cli("calibrate", "made.yaml", "--executor", "serial", "--seeds", "3")
    assert ran.code == 75
    assert "held by process" in ran.err


def test_run_warns_until_the_space_is_calibrated(cli: Cli, here: Path) -> None:
    def said(*arguments: str) -> list[str]:
        ran = cli("run", *arguments)
        assert ran.code == 0, ran
        return [line for line in ran.err.splitlines() if "calibrat" in line]

    never = [
        "archsearch: warning: never calibrated; 'archsearch calibrate made.yaml' says whether"
        " cells and budget tell designs apart"
    ]
    assert said("made.yaml", "--dry-run") == never
    folder = completed(here / "results")
    assert said("made.yaml", "--dry-run", "--seed", "9", "--trials", "3") == []
    folder.parent.rename(here / "calibrations")
    assert said("made.yaml", "--dry-run", "--out", str(here / "c")) == []
    # in earnest
    [line] = said("tiny.yaml", "--executor", "serial")
    assert "'archsearch calibrate tiny.yaml'" in line
    assert cli("calibrate", "tiny.yaml", "--executor", "serial", "--seeds", "1").code == 0
    [line] = said("tiny.yaml", "--dry-run")
    assert "by its calibration this space does not tell designs apart" in line


# processes


def test_a_kill_loses_no_run_that_ended(tmp_path: Path) -> None:
    file, results = tmp_path / "tiny.yaml", tmp_path / "r"
    file.write_text(THREE_RATES)
    process = begin("calibrate", file, "--results", results)
    wait_until(lambda: len(lines_in(results)) >= 5, process)
    os.killpg(process.pid, signal.SIGKILL)
    code, _ = end(process)
    assert code == -signal.SIGKILL
    kept = lines_in(results)
    assert not (folder_in(results) / CALIBRATION).exists()

    code, text = end(begin("calibrate", file, "--results", results, "--show"))
    assert code == 0
    assert f"not known yet: {len(kept)} of 24 runs were made" in text

    code, text = end(begin("calibrate", file, "--results", results))
    assert code == 0, text
    assert text.count("finished at step 4") == 24 - len(kept)
    assert lines_in(results)[: len(kept)] == kept
    assert len(lines_in(results)) == 24
    assert (folder_in(results) / CALIBRATION).exists()


def test_ctrl_c_shows_what_there_is_and_how_to_go_on(tmp_path: Path) -> None:
    file, results = tmp_path / "tiny.yaml", tmp_path / "r"
    file.write_text(slow(THREE_RATES, 300))
    process = begin("calibrate", file, "--results", results)
    wait_until(lambda: len(lines_in(results)) >= 2, process)
    process.send_signal(signal.SIGINT)
    code, text = end(process)
    assert code == 130, text
    assert "\ndrained: " in text
    assert f"continue: archsearch calibrate {file} --results {results}\n" in text
    made = len(lines_in(results))
    assert f"not known yet: {made} of 24 runs were made" in text
    assert 2 <= made < 24


def test_a_second_ctrl_c_does_not_wait_for_the_run(tmp_path: Path) -> None:
    """A run of hours: only a cancelled one can end the process within this test's patience."""
    file, results = tmp_path / "tiny.yaml", tmp_path / "r"
    file.write_text(slow(THREE_RATES, 2_000_000))
    process = begin("calibrate", file, "--results", results)
    wait_until(lambda: workers_of(process), process)
    interrupt_twice(process)
    code, text = end(process)
    assert code == 130, text
    assert "\ncancelled: " in text
    assert f"continue: archsearch calibrate {file} --results {results}\n" in text
    assert "not known yet: 0 of 24 runs were made" in text
    assert lines_in(results) == []


def test_two_processes_at_once_train_nothing_twice(tmp_path: Path) -> None:
    file, results = tmp_path / "tiny.yaml", tmp_path / "r"
    file.write_text(THREE_RATES)
    both: list[subprocess.Popen[str]] = [
        begin("calibrate", file, "--results", results) for _ in range(2)
    ]
    codes = sorted(end(process)[0] for process in both)
    assert codes in ([0, 75], [0, 0])
    places = [json.loads(line)["record"] for line in lines_in(results)]
    assert len(places) == 24
    assert len({(p["name"], p["learning_rate"], p["seed"]) for p in places}) == 24


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    found = [int(child) for child in children.read_text().split()] if children.exists() else []
    return [child for child in found if b"spawn_main" in _command_of(child)]


def _command_of(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def test_a_run_that_takes_its_worker_down_is_named_and_made_later(tmp_path: Path) -> None:
    file, results = tmp_path / "tiny.yaml", tmp_path / "r"
    file.write_text(tiny_text("random", 2))
    arguments = ("calibrate", file, "--results", results, "--seeds", "1")
    process = begin(*arguments)
    killed: set[int] = set()
    for _ in range(2):
        wait_until(lambda: set(workers_of(process)) - killed, process)
        [worker] = set(workers_of(process)) - killed
        os.kill(worker, signal.SIGKILL)
        killed.add(worker)
    code, text = end(process)
    assert code == 3, text
    assert "attention x2, rate 0.003, seed 1: the worker was ended by SIGKILL; trying again" in text
    assert "error: 1 of 4 runs have no result, such as attention x2" in text
    assert f"when that is mended: archsearch calibrate {file}" in text
    assert "not known yet: 3 of 4 runs were made" in text
    assert not (folder_in(results) / CALIBRATION).exists()
    code, text = end(begin(*arguments))
    assert (code, text.count("finished at step 4")) == (0, 1)

"""Long campaigns in virtual time: what they report is what happened."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from archsearch.bench import driver
from archsearch.bench.driver import Load
from archsearch.bench.simulation import VirtualExecutor
from archsearch.cli import main
from archsearch.errors import ClusterError
from tests.helpers import made_up, request

SPACE = """
name: long
task: {name: mqar, vocab_size: 128, fillers: zero, cells: [{length: 16, pairs: 2}]}
space:
  d_model: {choice: [8, 16, 24, 32, 48, 64, 96, 128]}
  depth: {choice: [2, 3, 4]}
  layers:
    each:
      sequence: {choice: [short_conv, attention, {mixer: sliding_window, window: 4}]}
training: {steps: 80, batch_tokens: 64, eval_every: 10}
search: {trials: 5, time_budget_minutes: 1}
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "space.yaml"
    path.write_text(SPACE)
    return path


class Clock:
    """Moves when it is told to."""

    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_what_the_driver_needs_is_charged_by_the_timer_that_is_given() -> None:
    clock = Clock()
    executor = VirtualExecutor(lambda r: (made_up(r), float(r.to_step)), 2, clock)
    executor.submit(request(to_step=4))
    clock.seconds += 1
    executor.submit(request(to_step=10))  # from 1 to 11
    [first] = executor.poll(1.0)
    assert executor.now() == 4
    clock.seconds += 2
    assert executor.now() == 6
    [second] = executor.poll(1.0)
    assert first.ticket < second.ticket
    assert executor.now() == 11
    assert executor.driver_seconds == 3
    # one worker from 0 to 4, the other from 1 on
    assert [executor.busy_until(t) for t in (0.5, 1, 4, 6, 11, 20)] == [0.5, 1, 7, 9, 14, 14]


def test_a_campaign_is_driven_to_its_end(file: Path) -> None:
    found = driver.drive(Load(str(file), "structural", 5, 24, 300.0))
    assert [part.trials for part in found.parts] == [2, 4, 7, 9, 12, 14, 16, 19, 21, 24]
    assert all(part.milliseconds > 0 for part in found.parts)
    told = sum(
        part.milliseconds * (part.trials - before) / 1000
        for part, before in zip(found.parts, (0, *(p.trials for p in found.parts)), strict=False)
    )
    assert told == pytest.approx(found.driver_seconds, rel=0.2)
    assert found.proposals >= 24
    # references beside the trials, each as long as a trial or shorter
    assert found.virtual_seconds > 24 * 300 / 5
    assert 0 < found.idle < 1
    assert found.study_bytes > 10_000
    assert not list(file.parent.glob(".bench-driver-*"))


def test_slow_drivers_let_workers_wait(file: Path) -> None:
    quick = driver.drive(Load(str(file), "random", 4, 6, 3000.0))
    slow = driver.drive(Load(str(file), "random", 4, 6, 0.01))
    assert slow.idle > quick.idle + 0.2


def test_the_command_shows_and_lists(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["bench", "driver", str(file), "--trials", "4", "--workers", "3"]
    assert main(command) == 0
    out, _ = capsys.readouterr()
    assert re.search(r"surrogate, 3 workers, 4 trials of \d+ s: workers waited", out)
    assert "of their time until the last trial was asked" in out
    assert main([*command, "--sampler", "random", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["driver"]
    assert found["load"]["sampler"] == "random"
    assert [part["trials"] for part in found["parts"]] == [1, 2, 3, 4]
    assert main([*command, "--sampler", "tpee"]) == 2
    assert "did you mean 'tpe'" in capsys.readouterr().err
    assert main(["bench", "driver", "nowhere.yaml"]) == 2


def test_a_space_without_so_many_designs_is_said(file: Path) -> None:
    few = SPACE.replace("{choice: [8, 16, 24, 32, 48, 64, 96, 128]}", "8")
    file.write_text(few.replace("{choice: [2, 3, 4]}", "1"))
    with pytest.raises(ClusterError, match=r"3 of 99 trials: .*the space is exhausted"):
        driver.drive(Load(str(file), "random", 2, 99, 300.0))

"""``watch``: a campaign seen from elsewhere, while it runs and when it does not."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.campaign.test_sessions import MAIN, begin, end, slow, trained, wait_until
from tests.helpers import tiny_text

from .conftest import Ran

Cli = Callable[..., Ran]


def watching(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", MAIN, "watch", str(folder), "--every", "0.1"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_a_running_campaign_is_followed_to_its_end(tmp_path: Path) -> None:
    file, folder = tmp_path / "tiny.yaml", tmp_path / "c"
    file.write_text(slow(tiny_text("random", 12), 80))
    driver = begin("run", file, "--out", folder)
    wait_until(lambda: trained(folder) >= 1, driver)
    before = {path: path.stat().st_mtime_ns for path in folder.glob("campaign.*")}
    watcher, other = watching(folder), watching(folder)
    # one that is interrupted says so, and harms nobody
    assert other.stdout is not None
    other.stdout.readline()
    other.send_signal(signal.SIGINT)
    assert other.wait(60) == 0
    assert "no longer watched; the campaign goes on" in other.stdout.read()
    code, _ = end(driver)
    assert code == 0
    text, _ = watcher.communicate(timeout=60)
    assert watcher.returncode == 0, text
    lines = [line.split(" ", 1)[1] for line in text.splitlines()]
    assert f"held by process {driver.pid}" in lines[0]
    assert "no driver is at work (any more)" in lines[-1]
    assert any(line.startswith("trial ") and "finished (accuracy" in line for line in lines)
    assert len({line for line in lines if line.startswith("trial ")}) == len(lines) - 2
    assert {path: path.stat().st_mtime_ns for path in folder.glob("campaign.*")} == before
    assert trained(folder) == 12


def test_a_campaign_that_nobody_drives(cli: Cli, campaign: Path, tmp_path: Path) -> None:
    files = {path: path.stat().st_mtime_ns for path in campaign.rglob("*")}
    ran = cli("watch", campaign)
    assert (ran.code, ran.err) == (0, "")
    assert "no driver is at work" in ran.out
    assert ran.out.splitlines()[-1].endswith(f"archsearch status {campaign}")
    assert {path: path.stat().st_mtime_ns for path in campaign.rglob("*")} == files
    missing = cli("watch", tmp_path / "nothing")
    assert missing.code == 2
    assert "there is no such folder" in missing.err
    assert [path.name for path in tmp_path.iterdir()] == ["fake-001"]

"""``archsearch explain``: what it trains, prints and draws."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import PUBLISHED
from tests.helpers import drive, new_campaign

from .conftest import Ran

Cli = Callable[..., Ran]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("searched") / "c"
    drive(new_campaign(folder))
    return folder


def test_edits_are_trained_shown_and_drawn(cli: Cli, searched: Path, tmp_path: Path) -> None:
    before = cli("explain", searched, "--show")
    assert before.code == 0
    assert "not clear yet" in before.out
    picture = tmp_path / "edits.png"
    ran = cli(
        "explain", searched, "--executor", "serial", "--seeds", 2, "--minutes", 5, "--plot", picture
    )
    assert (ran.code, ran.err) == (0, "")
    assert "finished: every edit was trained" in ran.out
    assert "per 10% saved" in ran.out
    assert ran.out.count("\ntrial ") >= 2
    assert ran.out.endswith(f"picture: {picture}\n")
    assert picture.read_bytes().startswith(b"\x89PNG")
    again = cli("explain", searched, "--executor", "serial", "--seeds", 2, "--json")
    found = json.loads(again.out)
    assert found["runs"] == found["planned"] > 0
    assert again.err.splitlines()[-1] == "finished: all runs were made before"
    effects = {row["effect"] for member in found["members"] for row in member["edits"]}
    assert "unknown" not in effects
    assert all(row["architecture"]["blocks"] for m in found["members"] for row in m["edits"])


def test_what_importances_stand_beside_is_said(cli: Cli, tmp_path: Path) -> None:
    shutil.copytree(PUBLISHED, tmp_path / "c")
    lines = cli("explain", tmp_path / "c", "--show").out.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("parameter "))
    said = next(line for line in lines[first:] if not line.endswith(("%)", "importance")))
    assert said.startswith("in brackets two standard errors either way")


def test_mistakes_are_one_line(cli: Cli, empty_campaign: Path, searched: Path) -> None:
    for arguments, message in (
        ((empty_campaign,), "the front is empty; there is nothing to explain"),
        ((searched, "--plot", "edits.bmp"), "must be one of .png, .svg, .pdf"),
        ((searched, "--executor", "rai"), "did you mean 'ray'?"),
        ((searched, "--minutes", "0"), "--minutes"),
    ):
        ran = cli("explain", *arguments)
        assert ran.code == 2
        assert message in ran.err
        assert len(ran.err.splitlines()) == 1

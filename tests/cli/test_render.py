"""Terminals wide and narrow, pipes, and the live view."""

from __future__ import annotations

import io
import os
import pty
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from archsearch.campaign.decisions import Decisions, Saving, share
from archsearch.campaign.driver import Snapshot
from archsearch.campaign.front import build_front
from archsearch.cli._front_rows import front_columns, front_rows
from archsearch.cli._picture import Role, letter, picture
from archsearch.cli._text import Column, aligned, duration, human, ratio, sparkline
from archsearch.cli.render import LiveProgress, fitting
from archsearch.objectives import OBJECTIVES
from archsearch.records import Front
from archsearch.space import loads

from .conftest import CAMPAIGN, Ran, reference_records, trial_records

Cli = Callable[..., Ran]
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def front() -> Front:
    file = loads(CAMPAIGN)
    objectives = (OBJECTIVES["accuracy"], OBJECTIVES["flops"])
    return build_front([*reference_records(file), *trial_records(file)], objectives, (0.245, 2e7))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0"),
        (512, "512"),
        (999.95, "1.0 k"),
        (605e6, "605.0 M"),
        (999_949_999, "999.9 M"),
        (999_960_000, "1.0 G"),
        (2.5, "2.5"),
        (1e21, "1000.0 E"),
    ],
)
def test_human(value: float, expected: str) -> None:
    assert human(value) == expected
    assert human(value, "FLOPs") == f"{expected} FLOPs"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0.0 s"),
        (9.96, "10 s"),
        (59.6, "1 min 00 s"),
        (3599, "59 min 59 s"),
        (7500, "2 h 05 min"),
        (200000, "2 d 07 h"),
    ],
)
def test_duration(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


def test_small_texts() -> None:
    assert [ratio(v) for v in (None, 1.5, 0.1, 0.0123)] == ["-", "1.50x", "0.10x", "0.012x"]
    assert sparkline([0, 0.5, 1, 1.2, -1]) == "▁▅██▁"
    assert [letter(i) for i in (0, 25, 26, 52)] == ["A", "Z", "AA", "BA"]
    assert aligned([["a", "1"], ["漢", "22"]], [False, True]) == ["a    1", "漢  22"]
    assert aligned([], []) == []


def test_columns_are_dropped_by_rank_and_numbers_never_cut() -> None:
    columns = [Column("n"), Column("a", rank=1), Column("b", rank=2), Column("c", rank=2)]
    rows = [("1", "12345678", "12345678", "12345678")]
    assert fitting(columns, rows, 80) == [0, 1, 2, 3]
    assert fitting(columns, rows, 30) == [0, 1, 2]
    assert fitting(columns, rows, 15) == [0, 1]
    assert fitting(columns, rows, 1) == [0]


@pytest.mark.parametrize("columns", [60, 80, 120, 220])
@pytest.mark.parametrize(
    "arguments", [["front", "--all"], ["status"], ["show", "2"], ["show", "5"]]
)
def test_every_width_is_kept_and_no_number_is_cut(
    cli: Cli,
    campaign: Path,
    monkeypatch: pytest.MonkeyPatch,
    columns: int,
    arguments: list[str],
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(columns))
    ran = cli(arguments[0], campaign, *arguments[1:])
    text = _ESCAPE.sub("", ran.out)
    assert ran.code == 0
    assert max(map(len, text.splitlines())) <= columns
    assert "…" not in text
    if arguments[0] == "front":
        for expected in ("0.994", "9.5 M", "1.50x", "N^1.5", "99.8%", "sqrt)"):
            assert expected in text
        assert "A attention x2" in " ".join(text.split())
        assert ("too narrow for" in text) == (columns < 100)


def test_learnability_has_a_column_where_it_is_sought(front: Front) -> None:
    assert "decades" not in [column.title for column in front_columns(front)]
    file = loads(CAMPAIGN)
    records = [r.model_copy(update={"learnability": 0.25}) for r in trial_records(file)]
    objectives = (OBJECTIVES["accuracy"], OBJECTIVES["flops"], OBJECTIVES["learnability"])
    sought = build_front([*reference_records(file), *records], objectives, (0.245, 2e7, 0.0))
    place = [column.title for column in front_columns(sought)].index("decades")
    texts = [row.texts[place] for row in front_rows(sought, with_dominated=True)]
    trained = len(sought.members) + len(sought.dominated)
    assert texts == ["0.2"] * trained + ["-"] * len(sought.references)


def test_mixers_fit_sixty_columns(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    for arguments in (["mixers"], ["mixers", "based"]):
        text = _ESCAPE.sub("", cli(*arguments).out)
        assert max(map(len, text.splitlines())) <= 60
        assert "…" not in text


def test_no_color(cli: Cli, campaign: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    coloured = cli("front", campaign).out
    monkeypatch.setenv("NO_COLOR", "1")
    colours = re.compile(r"\x1b\[(?:[0-9;]*;)?3[0-9]")
    assert colours.search(coloured)
    assert not colours.search(cli("front", campaign).out)


def test_a_real_terminal(campaign: Path) -> None:
    import fcntl
    import termios

    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 60, 0, 0))
    code = "import sys; from archsearch.cli import main; sys.exit(main())"
    with subprocess.Popen(
        [sys.executable, "-c", code, "front", str(campaign)],
        stdout=follower,
        stderr=follower,
        env=os.environ | {"TERM": "xterm"},
    ) as process:
        os.close(follower)
        received = b""
        while True:
            try:
                piece = os.read(leader, 65536)
            except OSError:  # how Linux says that the other side has closed
                break
            if not piece:
                break
            received += piece
        assert process.wait(60) == 0
    os.close(leader)
    text = _ESCAPE.sub("", received.decode())
    assert max(map(len, text.splitlines())) <= 60
    assert "accuracy against FLOPs" in text
    assert "│" in text


def test_the_picture_shows_every_member_and_reference(front: Front) -> None:
    lines = picture(front, 80)
    marks = [mark for line in lines for mark in line]
    assert sum(mark.role is Role.MEMBER for mark in marks) == len(front.members)
    letters = sorted(mark.text for mark in marks if mark.role is Role.REFERENCE)
    assert letters == list("ABCDE")
    assert sum(mark.role is Role.DOMINATED for mark in marks) == 1
    assert all(sum(len(m.text) for m in line) <= 80 for line in lines)
    assert all(m.text.isascii() for line in picture(front, 60, ascii_only=True) for m in line)


def test_references_never_hide_a_member(front: Front) -> None:
    member = front.members[0]
    same = [
        r.model_copy(update={"cost": member.cost, "accuracy": member.accuracy})
        for r in front.references
    ]
    crowded = front.model_copy(update={"members": (member,), "references": tuple(same)})
    marks = [mark for line in picture(crowded, 60) for mark in line]
    assert sum(mark.role is Role.MEMBER for mark in marks) == 1
    assert sorted(m.text for m in marks if m.role is Role.REFERENCE) == list("ABCDE")


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _snapshot(front: Front | None) -> Snapshot:
    return Snapshot(
        phase="search",
        counts={"solved": 1, "finished": 3, "failed": 1, "running": 0, "infeasible": 2},
        running=("trial 8: d64: short_conv(kernel_size=3) > sliding_window(window=6)",) * 2,
        front=front,
        target_trials=10,
        elapsed_seconds=65.0,
        eta_seconds=600.0,
        core_use=0.97,
        decisions=Decisions(
            7, share(1, 2), 3, share(0, 0), Saving(0.33, 0.2, 0.4), Saving(0.1, None, None)
        ),
        failures=(("error: ValueError: no", 2), ("timeout: too long", 1), ("lost: gone", 1)),
    )


def test_progress_in_a_pipe_is_one_line_an_event(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    stream = io.StringIO()
    with LiveProgress(stream=stream) as progress:
        progress.event("trial 0: finished\n(accuracy 0.4)")
        progress.update(lambda: _snapshot(front))
        progress.event("trial 1: [bold]solved[/bold]")
    lines = stream.getvalue().splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == [
        "trial 0: finished (accuracy 0.4)",
        "trial 1: [bold]solved[/bold]",
    ]


@pytest.mark.parametrize("columns", [60, 100])
def test_progress_on_a_terminal(
    front: Front, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("LINES", "24")
    monkeypatch.setenv("TERM", "xterm")
    stream = _Terminal()
    progress = LiveProgress("campaign fake-001", stream)
    progress.update(lambda: _snapshot(None))
    progress.event("trial 2: [solved]")
    progress.update(lambda: _snapshot(front))
    progress.close()
    progress.close()
    text = _ESCAPE.sub("", stream.getvalue())
    assert max(map(len, re.split(r"[\r\n]+", text))) <= columns
    last = " ".join(text.split("campaign fake-001")[-1].split())
    for expected in (
        "search: 5 of 10 trials, 1 min 05 s, 10 min 00 s to go, 97% of the slots busy",
        "2 running, 1 solved, 3 finished, 1 failed, 2 infeasible",
        f"hypervolume {front.hypervolume:.4f} █",
        "races: 7 runs lost their race; of 2 finished all the same 1 wrongly",
        "stopped: 3 runs were stopped",
        "failed: 2 x error: ValueError: no",
        "failed: 1 x timeout: too long",
        "0.994",
        "> trial 2: [solved]",
    ):
        assert expected in last

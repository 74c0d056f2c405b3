"""How results look: tables and panels on a terminal, plain aligned lines in a pipe.

The one home of rich, which is imported only when a terminal is there to be written to.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from textwrap import shorten
from typing import TYPE_CHECKING, Any, TextIO

from archsearch.cli._decisions import decision_pairs
from archsearch.cli._front_rows import (
    COLUMNS_OF_LIVE,
    confirmed_of,
    front_columns,
    front_rows,
    live_row,
)
from archsearch.cli._picture import Role, cost_label, picture, trained_references
from archsearch.cli._text import Column, aligned, duration, plain, sparkline, width
from archsearch.objectives import LEAST_GAP
from archsearch.records import Front, FrontRow, TrialOutcome

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from archsearch.campaign.progress import Snapshot

_LEAST_FOLDED = 22
_LEAST_BELOW = 60
"""Narrower than this, words that may stand below a table do."""
_NUM_MESSAGES = 4
_NUM_REASONS = 2
_MOST_OF_A_REASON = 100
_MOST_VOLUMES = 24
_SECONDS_BETWEEN_LOOKS = 0.2
_STYLES = {
    Role.AXIS: "dim",
    Role.MEMBER: "bold green",
    Role.REFERENCE: "yellow",
    Role.DOMINATED: "dim",
    Role.INTERVAL: "dim green",
}


def on_terminal(stream: TextIO | None = None) -> bool:
    """Whether tables and colours have a reader; ``FORCE_COLOR`` says yes for a pipe too."""
    stream = stream or sys.stdout
    return stream.isatty() or bool(os.environ.get("FORCE_COLOR"))


def _console(stream: TextIO | None = None) -> Console:
    from rich.console import Console

    return Console(file=stream or sys.stdout, highlight=False, markup=False, emoji=False)


def print_json(data: Any) -> None:
    """The data and nothing else, for programs."""
    print(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False))


def print_line(text: str = "", *, faint: bool = False) -> None:
    """A line of words."""
    if on_terminal():
        _console().print(text, style="dim" if faint else None)
    else:
        print(text)


def print_block(title: str, pairs: Sequence[tuple[str, str]]) -> None:
    """Keys and values below one another; without the title in a pipe."""
    if on_terminal():
        _console().print(_panel(title, pairs))
        return
    for line in aligned([(f"{key}:", plain(value)) for key, value in pairs], (False, False)):
        print(line)


def _panel(title: str, pairs: Sequence[tuple[str, str]]) -> RenderableType:
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for key, value in pairs:
        grid.add_row(key, Text(value))
    return Panel(grid, title=Text(title), title_align="left", border_style="dim", expand=False)


def fitting(columns: Sequence[Column], rows: Sequence[Sequence[str]], space: int) -> list[int]:
    """Which columns a terminal has room for, each number at its full width."""

    def needed(i: int) -> int:
        most = max([width(columns[i].title), *(width(row[i]) for row in rows)])
        if columns[i].text:
            most = min(most, _LEAST_BELOW if columns[i].below else _LEAST_FOLDED)
        return most + 2

    kept = list(range(len(columns)))
    if sum(map(needed, kept)) > space:
        kept = [i for i in kept if not columns[i].below]
    while sum(map(needed, kept)) > space:
        highest = max(columns[i].rank for i in kept)
        if highest == 0:
            break
        # of equals the last one goes first
        kept.remove(max(i for i in kept if columns[i].rank == highest))
    return kept


def print_table(
    headings: Sequence[Column | str],
    rows: Sequence[Sequence[str]],
    *,
    title: str = "",
    styles: Sequence[str] = (),
) -> None:
    """A table; a gap separates rows of different styles.

    Args:
        headings: What the rows hold; a bare heading is that of a column of numbers.
        rows: As many texts as columns.
        title: Shown on a terminal only.
        styles: rich's, for each row; plain unless given.
    """
    columns = [Column(h) if isinstance(h, str) else h for h in headings]
    if not on_terminal():
        titles = [column.title for column in columns]
        lines = [titles, *([plain(text) for text in row] for row in rows)]
        for line in aligned(lines, [not column.text for column in columns]):
            print(line)
        return
    console = _console()
    kept = fitting(columns, rows, console.width)
    if title:
        console.print(title, style="bold")
    console.print(_rich_table(columns, rows, styles, kept))
    lost = [i for i in range(len(columns)) if i not in kept]
    for i in (i for i in lost if columns[i].below):
        key = Column(columns[0].title, text=columns[0].text)
        pairs = [(row[0], row[i]) for row in rows]
        console.print()
        console.print(_rich_table((key, columns[i]), pairs, styles, (0, 1)))
    dropped = [columns[i].title for i in lost if not columns[i].below]
    if dropped:
        note = f"too narrow for: {', '.join(dropped)} (widen it, pipe it, or use --json)"
        console.print(note, style="dim")


def _rich_table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    styles: Sequence[str],
    kept: Sequence[int],
) -> RenderableType:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )
    for i in kept:
        if columns[i].text:
            table.add_column(Text(columns[i].title), overflow="fold")
        else:
            table.add_column(Text(columns[i].title), justify="right", no_wrap=True)
    given = list(styles) or [""] * len(rows)
    for i, (row, style) in enumerate(zip(rows, given, strict=True)):
        if i and style != given[i - 1]:
            table.add_section()
        table.add_row(*(Text(row[k]) for k in kept), style=style or None)
    return table


def print_front(
    front: Front,
    *,
    with_dominated: bool = False,
    n_max: int | None = None,
    always_picture: bool = False,
) -> None:
    """The table of the front with the references below, and the picture.

    The picture is for terminals; a pipe gets it only if it is asked for.
    """
    if not front.members and not front.dominated:
        print_line("no completed trial yet")
    elif not front.members:
        told = sum(row.oracle_bias for row in front.dominated)
        hints = [] if with_dominated else ["--all lists those that were trained"]
        if told:
            # whether these may be members is the campaign's to say
            hints.append(f"{told} told where the answers are: members with 'oracles: true' only")
        hint = f" ({'; '.join(hints)})" if hints else ""
        print_line(f"no design is {LEAST_GAP:g} better than convolutions alone yet{hint}")
    rows = front_rows(front, with_dominated=with_dominated)
    if rows:
        texts, styles = [row.texts for row in rows], [row.style for row in rows]
        print_table(front_columns(front), texts, styles=styles)
    if front.winners_curse is not None:
        print_line(curse_line(front.winners_curse))
    if always_picture or on_terminal():
        print_picture(front, n_max)


def curse_line(drop: float) -> str:
    """What the search's scores promised too much, in words."""
    return f"winner's curse: search score minus confirmed score, mean {drop:.3f}"


def print_picture(front: Front, n_max: int | None = None) -> None:
    """The front as a picture of characters, with its legend."""
    from rich.text import Text

    console = _console()
    ascii_only = not (sys.stdout.encoding or "").lower().startswith("utf")
    lines = picture(front, min(console.width, 100), ascii_only=ascii_only)
    if not lines:
        return
    console.print(f"\naccuracy against {cost_label(front, n_max)} (log scale)", style="bold")
    for line in lines:
        pieces = [
            ("".join(mark.text for mark in marks), _STYLES[role])
            for role, marks in groupby(line, key=lambda mark: mark.role)
        ]
        console.print(Text.assemble(*pieces))
    legend = ["o on the front" if ascii_only else "● on the front"]
    if front.dominated:
        legend.append(". dominated" if ascii_only else "· dominated")
    legend += [f"{name} {row.name}" for name, row in trained_references(front)]
    console.print("   ".join(legend), style="dim")


class LiveProgress:
    """What ``run`` shows while it works: a live view on a terminal, a line per event in a pipe.

    Args:
        title: Above the view.
        stream: Where to write; standard output unless given.
    """

    def __init__(self, title: str = "", stream: TextIO | None = None) -> None:
        self._title = title
        self._stream = stream or sys.stdout
        self._messages: list[str] = []
        self._snapshot: Snapshot | None = None
        self._hypervolumes: list[float] = []
        self._look: Callable[[], Snapshot] | None = None
        self._next_look = 0.0
        self._live: Any = None
        # FORCE_COLOR is no wish for a moving picture in a log
        if self._stream.isatty():
            from rich.live import Live

            self._console = _console(self._stream)
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()

    def __enter__(self) -> LiveProgress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def update(self, look: Callable[[], Snapshot]) -> None:
        """Shows the state, a few times a second at most; a pipe is told of events only."""
        self._look = look
        if self._live is not None and time.monotonic() >= self._next_look:
            began = time.monotonic()
            self._take(look())
            self._draw()
            # of a long campaign even a look takes long: a twentieth of the time at most
            now = time.monotonic()
            self._next_look = now + max(_SECONDS_BETWEEN_LOOKS, 20 * (now - began))

    def event(self, text: str) -> None:
        """Something happened."""
        text = plain(text)
        if self._live is None:
            print(f"{time.strftime('%H:%M:%S')} {text}", file=self._stream, flush=True)
            return
        self._messages = [*self._messages, text][-_NUM_MESSAGES:]
        self._draw()

    def close(self) -> None:
        """Leaves the last view on the screen."""
        if self._live is not None:
            if self._look is not None:
                self._take(self._look())
                self._draw()
            self._live.stop()
            self._live = None

    def _take(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        front = snapshot.front
        if front is None or front.hypervolume is None:
            return
        if front.hypervolume not in self._hypervolumes[-1:]:
            self._hypervolumes = [*self._hypervolumes, front.hypervolume][-_MOST_VOLUMES:]

    def _draw(self) -> None:
        if self._live is not None:
            self._live.update(self._view(), refresh=True)

    def _view(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        space, height = self._console.width, self._console.height
        parts: list[RenderableType] = [Text(self._title, style="bold")] if self._title else []
        left = max(3, height - 4 - len(self._messages))
        if self._snapshot is not None:
            lines = progress_lines(self._snapshot, self._hypervolumes)
            parts.append(Text("\n".join(lines)))
            left -= len(lines)
            running = self._snapshot.running[: max(1, left // 3)]
            parts += [_cut(f"  {line}", "dim") for line in running]
            left -= len(running) + 3
            front = self._snapshot.front
            if front is not None and front.members and left > 0:
                parts.append(_small_front(front.members, left, space))
        parts += [_cut(f"> {line}", "") for line in self._messages]
        return Group(*parts)


def _cut(text: str, style: str) -> RenderableType:
    from rich.text import Text

    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def progress_lines(snapshot: Snapshot, hypervolumes: Sequence[float] = ()) -> list[str]:
    """The state in words: how far, how long, how it goes.

    Args:
        snapshot: The state.
        hypervolumes: Of this state and those before it, drawn beside the number.
    """
    counts = snapshot.counts
    done = sum(n for outcome, n in counts.items() if TrialOutcome(outcome).was_evaluated)
    target = "" if snapshot.target_trials is None else f" of {snapshot.target_trials:,}"
    how_far = f"{done:,}{target} trials"
    if snapshot.phase == "confirmation" and snapshot.front is not None:
        how_far = confirmed_of(snapshot.front)
    times = [f"{snapshot.phase}: {how_far}", duration(snapshot.elapsed_seconds)]
    if snapshot.eta_seconds is not None:
        times.append(f"{duration(snapshot.eta_seconds)} to go")
    if snapshot.core_use is not None:
        times.append(f"{100 * snapshot.core_use:.0f}% of the slots busy")
    # a running trial is not told yet: the flights are the truth
    shown = {"running": len(snapshot.running)} | {
        key: value for key, value in counts.items() if value and key != "running"
    }
    lines = [", ".join(times), ", ".join(f"{value:,} {key}" for key, value in shown.items())]
    if snapshot.front is not None and snapshot.front.hypervolume is not None:
        highest = max(hypervolumes, default=0.0) or 1.0
        drawn = sparkline([value / highest for value in hypervolumes])
        lines.append(f"hypervolume {snapshot.front.hypervolume:.4f} {drawn}".rstrip())
    if snapshot.decisions is not None:
        lines += [f"{title}: {text}" for title, text in decision_pairs(snapshot.decisions)]
    for reason, number in snapshot.failures[:_NUM_REASONS]:
        lines.append(f"failed: {number} x {shorten(plain(reason), _MOST_OF_A_REASON)}")
    return lines


def _small_front(members: Sequence[FrontRow], most: int, space: int) -> RenderableType:
    # the most accurate ones, when not all have room
    rows = [live_row(row, max(_LEAST_FOLDED, space - 42)) for row in members[-most:]]
    kept = fitting(COLUMNS_OF_LIVE, rows, space)
    return _rich_table(COLUMNS_OF_LIVE, rows, (), kept)

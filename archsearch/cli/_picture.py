"""Accuracy against cost drawn with characters: marks and their roles, no colour yet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from archsearch.cli._text import human
from archsearch.objectives import OBJECTIVES
from archsearch.records import Front, FrontRow

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_MARGIN = 6


class Role(StrEnum):
    """What a character stands for."""

    AXIS = "axis"
    MEMBER = "member"
    REFERENCE = "reference"
    DOMINATED = "dominated"
    INTERVAL = "interval"


_SOLID = (Role.MEMBER, Role.REFERENCE)
"""What a letter may not hide."""


class Mark(NamedTuple):
    """A piece of a line with its role."""

    text: str
    role: Role


def letter(index: int) -> str:
    """A, B, ..., Z, then AA, AB, ..."""
    high, low = divmod(index, len(LETTERS))
    return (letter(high - 1) if high else "") + LETTERS[low]


def cost_label(front: Front, n_max: int | None = None) -> str:
    """The second objective's unit, as an axis says it."""
    unit = OBJECTIVES[front.objectives[1]].unit
    return unit if n_max is None else f"{unit}, N = {n_max:,}"


class _Scale(NamedTuple):
    low: float
    high: float
    cells: int

    def place(self, value: float) -> int:
        """The nearest of the cells 0 .. cells - 1."""
        part = (value - self.low) / (self.high - self.low)
        return min(self.cells - 1, max(0, round(part * (self.cells - 1))))

    def value(self, place: int) -> float:
        return self.low + (self.high - self.low) * place / (self.cells - 1)


def trained_references(front: Front) -> list[tuple[str, FrontRow]]:
    """References with their letters; those without a result keep theirs but are left out."""
    return [(letter(i), row) for i, row in enumerate(front.references) if row.outcome.was_trained]


def picture(
    front: Front, width: int, height: int = 14, *, ascii_only: bool = False
) -> list[list[Mark]]:
    """Lines of marks; empty when there is nothing to draw.

    Members and references never hide one another: a letter moves to the nearest free place. Below
    and above a member stands its 95 % interval.
    """
    references = trained_references(front)
    shown = [*front.members, *front.dominated, *(row for _, row in references)]
    if not shown:
        return []
    logs = [_log(row) for row in shown]
    spread = max(max(logs) - min(logs), 0.3)
    x = _Scale(min(logs) - 0.04 * spread, min(logs) + 1.04 * spread, max(20, width - _MARGIN - 2))
    least = min(row.accuracy for row in shown)
    least = min([least, *(row.low for row in front.members if row.low is not None)])
    y = _Scale(max(0.0, math.floor(20 * least - 1e-9) / 20), 1.0, height)
    grid: dict[tuple[int, int], Mark] = {}
    faint, full, bar = (".", "o", ":") if ascii_only else ("·", "●", "┊")
    for row in front.dominated:
        grid[_spot(row, x, y)] = Mark(faint, Role.DOMINATED)
    for row in front.members:
        if row.low is not None and row.high is not None:
            for height_of in range(y.place(row.low), y.place(row.high) + 1):
                grid[x.place(_log(row)), height_of] = Mark(bar, Role.INTERVAL)
    for row in front.members:
        grid[_spot(row, x, y)] = Mark(full, Role.MEMBER)
    for name, row in references:
        spot = _free(grid, _spot(row, x, y), x.cells, len(name))
        for offset, character in enumerate(name):
            grid[spot[0] + offset, spot[1]] = Mark(character, Role.REFERENCE)
    return _lines(grid, x, y, ascii_only=ascii_only)


def _log(row: FrontRow) -> float:
    return math.log10(max(row.cost, 1.0))


def _spot(row: FrontRow, x: _Scale, y: _Scale) -> tuple[int, int]:
    return x.place(_log(row)), y.place(row.accuracy)


def _free(
    grid: dict[tuple[int, int], Mark], spot: tuple[int, int], columns: int, size: int
) -> tuple[int, int]:
    for distance in range(columns):
        for column in (spot[0] + distance, spot[0] - distance):
            places = [(column + i, spot[1]) for i in range(size)]
            taken = any(p in grid and grid[p].role in _SOLID for p in places)
            if not taken and 0 <= column <= columns - size:
                return column, spot[1]
    return spot


def _lines(
    grid: dict[tuple[int, int], Mark], x: _Scale, y: _Scale, *, ascii_only: bool
) -> list[list[Mark]]:
    bar, corner, dash = ("|", "+", "-") if ascii_only else ("│", "└", "─")
    labelled = {0, y.cells - 1, *(round(i * (y.cells - 1) / 4) for i in range(1, 4))}
    lines = []
    for place in range(y.cells - 1, -1, -1):
        label = f"{y.value(place):.2f}" if place in labelled else ""
        line = [Mark(f"{label:>{_MARGIN - 1}} {bar}", Role.AXIS)]
        line += [grid.get((column, place), Mark(" ", Role.AXIS)) for column in range(x.cells)]
        lines.append(line)
    lines.append([Mark(" " * _MARGIN + corner + dash * x.cells, Role.AXIS)])
    lines.append([Mark(_ticks(x), Role.AXIS)])
    return lines


def _ticks(x: _Scale) -> str:
    """Round costs under their places, as many as do not touch."""
    text = [" "] * (x.cells + _MARGIN + 8)
    end = 0
    for value in _round_costs(x.low, x.high):
        label = human(value)
        start = _MARGIN + 1 + x.place(math.log10(value)) - len(label) // 2
        if start >= end and start + len(label) <= len(text):
            text[start : start + len(label)] = label
            end = start + len(label) + 2
    return "".join(text).rstrip()


def _round_costs(low: float, high: float) -> Sequence[float]:
    decades = range(math.floor(low), math.ceil(high) + 1)
    steps = (1, 2, 5) if high - low < 2.5 else (1,)
    found = [s * 10.0**d for d in decades for s in steps]
    return [value for value in found if low <= math.log10(value) <= high]

"""Numbers and lines as people read them; plain text only."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

_PREFIXES = ("", " k", " M", " G", " T", " P", " E")


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        title: Its heading.
        rank: Where it is too narrow for all, columns of the highest rank go first; 0 never goes.
        text: Left-aligned words, folded on a terminal; otherwise a number, never cut.
        below: Where it is too narrow, the words are listed below the table, by the first column.
    """

    title: str
    rank: int = 0
    text: bool = False
    below: bool = False


def human(value: float, unit: str = "") -> str:
    """Four digits or fewer and a prefix: ``605.0 M FLOPs``."""
    step = 0
    scaled = float(value)
    # 999.95 would be shown as 1000.0
    while abs(scaled) >= 999.95 and step < len(_PREFIXES) - 1:
        scaled /= 1000
        step += 1
    whole = step == 0 and scaled == int(scaled)
    number = f"{int(scaled)}" if whole else f"{scaled:.1f}"
    return f"{number}{_PREFIXES[step]}{' ' * bool(unit)}{unit}"


def duration(seconds: float) -> str:
    """The two largest units: ``2 h 05 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    return f"{hours // 24} d {hours % 24:02d} h"


def share(value: float | None) -> str:
    """A percentage with one decimal, or a dash."""
    return "-" if value is None else f"{100 * value:.1f}%"


def accuracy(value: float | None) -> str:
    """Three decimals, or a dash."""
    return "-" if value is None else f"{value:.3f}"


def ratio(value: float | None) -> str:
    """A multiple, or a dash."""
    if value is None:
        return "-"
    return f"{value:.2f}x" if value >= 0.1 else f"{value:.2g}x"


def decades(value: float | None) -> str:
    """A width on a log scale, or a dash."""
    return "-" if value is None else f"{value:.1f}"


def count(number: int, one: str, many: str = "") -> str:
    """``1 trial``, ``1,000 trials``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def plain(text: str) -> str:
    """The text on one line, without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def width(text: str) -> int:
    """Columns that a terminal gives the text."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)


def aligned(rows: Sequence[Sequence[str]], right: Sequence[bool]) -> list[str]:
    """Columns two spaces apart; nothing is cut, and no line ends in spaces."""
    if not rows:
        return []
    widths = [max(width(row[i]) for row in rows) for i in range(len(right))]
    lines = []
    for row in rows:
        parts = [
            " " * (w - width(text)) + text if to_right else text + " " * (w - width(text))
            for text, w, to_right in zip(row, widths, right, strict=True)
        ]
        lines.append("  ".join(parts).rstrip())
    return lines


def sparkline(values: Sequence[float]) -> str:
    """One character a value, the lowest to the highest eighth of 0..1."""
    bars = "▁▂▃▄▅▆▇█"
    return "".join(bars[min(7, max(0, int(8 * value)))] for value in values)

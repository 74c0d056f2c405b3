"""A study of protocols as a figure: what their tokens buy, and how their scores agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from archsearch.bench.protocol import TIE, ProtocolRow, mean_curve, score_ranges
from archsearch.cli._figure_file import COLORS, FAINT, figure_file
from archsearch.cli._text import human

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKS = "osD^vP"


def plot_study(rows: Sequence[ProtocolRow], reference: str, path: Path) -> None:
    """Draws a study to a .png, .svg or .pdf file.

    Args:
        rows: Of the study.
        reference: The protocol that the others are held against.
        path: One that ``check_path`` lets pass.

    Raises:
        StoreError: The file cannot be written.
    """
    protocols = sorted({row.protocol for row in rows}, key=lambda name: (name == reference, name))
    by_protocol = {name: [row for row in rows if row.protocol == name] for name in protocols}
    # curves are means over designs: of the same, so of none that has not tried all
    wanted = {row.digest for row in by_protocol.get(reference, rows)}
    complete = {
        name: [row for row in found if row.digest in wanted]
        for name, found in by_protocol.items()
        if wanted <= {row.digest for row in found}
    }
    shown = _labels(rows)
    styles = {shown[name]: _style(i) for i, name in enumerate(protocols)}
    curves = {shown[name]: found for name, found in complete.items()}
    labelled = {shown[name]: found for name, found in by_protocol.items()}
    with figure_file(path, inches=(8.6, 4.6)) as (figure, _):
        left, right = figure.subplots(1, 2)
        _draw_curves(left, curves, styles)
        _draw_agreement(right, labelled, shown.get(reference, reference), styles)
        handles = {
            text: handle
            for axes in (right, left)
            for handle, text in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        if handles:
            figure.legend(
                list(handles.values()),
                list(handles),
                loc="outside lower center",
                ncols=3,
                frameon=False,
                fontsize=8,
            )


def _labels(rows: Sequence[ProtocolRow]) -> dict[str, str]:
    """Steps and tokens of a batch for each protocol's name, where that tells them apart."""
    short = {
        row.protocol: f"{row.training['steps']:,} steps of {row.training['batch_tokens']:,} tokens"
        for row in rows
        if row.training
    }
    if len(set(short.values())) < len({row.protocol for row in rows}):
        return {row.protocol: row.protocol for row in rows}
    return short


Styles = Mapping[str, tuple[str, str]]
"""Colour and mark of each protocol."""


def _style(number: int) -> tuple[str, str]:
    return COLORS[number % len(COLORS)], _MARKS[number % len(_MARKS)]


def _draw_curves(axes: Axes, by_protocol: Mapping[str, list[ProtocolRow]], styles: Styles) -> None:
    from matplotlib.ticker import FuncFormatter

    axes.set_title("what tokens buy", loc="left", fontsize=10)
    axes.set_xlabel("tokens trained on")
    axes.set_ylabel("validation accuracy, mean of cells, seeds, designs")
    for name, rows in by_protocol.items():
        curve = mean_curve(rows)
        if curve:
            color, mark = styles[name]
            axes.plot(
                *zip(*curve, strict=True), mark, ls="-", color=color, label=name, ms=3, lw=1.3
            )
    axes.set_ylim(0, 1.02)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: human(value)))
    axes.grid(visible=True, alpha=0.2)


def _draw_agreement(
    axes: Axes, by_protocol: Mapping[str, list[ProtocolRow]], reference: str, styles: Styles
) -> None:
    axes.set_title("a design's score under both", loc="left", fontsize=10)
    axes.set_xlabel(reference)
    axes.set_ylabel("score under another; bars: seeds")
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8)
    axes.fill_between([0, 1], [-TIE, 1 - TIE], [TIE, 1 + TIE], color=FAINT, alpha=0.25)
    theirs = score_ranges(by_protocol.get(reference, []))
    for name, rows in by_protocol.items():
        mine = score_ranges(rows)
        common = [digest for digest in mine if digest in theirs]
        if name == reference or not common:
            continue
        color, mark = styles[name]
        x, x_low, x_high = zip(*(theirs[d] for d in common), strict=True)
        y, y_low, y_high = zip(*(mine[d] for d in common), strict=True)
        axes.errorbar(
            x,
            y,
            xerr=_bars(x, x_low, x_high),
            yerr=_bars(y, y_low, y_high),
            fmt=mark,
            color=color,
            markersize=4,
            elinewidth=0.7,
            alpha=0.8,
            label=name,
        )
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_aspect("equal")
    axes.grid(visible=True, alpha=0.2)


def _bars(
    middle: Sequence[float], low: Sequence[float], high: Sequence[float]
) -> tuple[list[float], list[float]]:
    # a mean of equal numbers may lie a rounding beyond them
    below = [max(0.0, m - x) for m, x in zip(middle, low, strict=True)]
    return below, [max(0.0, x - m) for m, x in zip(middle, high, strict=True)]

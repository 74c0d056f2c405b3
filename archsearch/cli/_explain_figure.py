"""The picture of ``explain``: what each edit of each member changes."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from archsearch.campaign.explanation.conclude import TOLERANCE
from archsearch.campaign.explanation.records import Effect, Explanation, MemberRow
from archsearch.cli._figure_file import COLORS, FAINT, figure_file
from archsearch.cli._text import accuracy, human

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLORS = {
    Effect.NEEDED: COLORS[1],
    Effect.SPARE: COLORS[0],
    Effect.GAIN: COLORS[4],
    Effect.UNCLEAR: COLORS[3],
    Effect.UNKNOWN: FAINT,
}
_INCHES_A_ROW = 0.2
_INCHES_A_TITLE = 0.55
_COLUMNS = 72
"""Of a title."""


def draw(path: Path, found: Explanation) -> None:
    """A panel for each member: a row for each of its edits that was trained.

    Args:
        path: PNG, SVG or PDF.
        found: Members without a trained edit are left out.
    """
    members = [m for m in found.members if any(row.change is not None for row in m.edits)]
    counts = [max(1, sum(row.change is not None for row in m.edits)) for m in members]
    heights = [_INCHES_A_ROW * count + _INCHES_A_TITLE for count in counts] or [1.0]
    with figure_file(path, inches=(7.2, sum(heights) + 0.5)) as (figure, _):
        if not members:
            figure.text(0.5, 0.5, "no edit was trained yet", ha="center", color=FAINT)
            return
        panels = figure.subplots(
            len(members), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights}
        )
        for axes, member in zip(panels[:, 0], members, strict=True):
            _panel(axes, member)
        panels[-1, 0].set_xlabel("change in accuracy, 95 % interval")
        handles = [
            figure.axes[0].plot([], [], "o", color=_COLORS[effect], markersize=4)[0]
            for effect in Effect
        ]
        figure.legend(
            handles, [e.value for e in Effect], loc="outside lower center", ncols=5, frameon=False
        )


def _panel(axes: Axes, member: MemberRow) -> None:
    rows = [row for row in member.edits if row.change is not None]
    axes.set_title(
        textwrap.fill(f"trial {member.number}: {member.design}", _COLUMNS)
        + f"\n{human(member.flops, 'FLOPs')}, accuracy {accuracy(member.accuracy)}",
        loc="left",
        fontsize=8,
    )
    axes.axvspan(-TOLERANCE, TOLERANCE, color=FAINT, alpha=0.15, linewidth=0)
    axes.axvline(0, color=FAINT, linewidth=0.8)
    for place, row in enumerate(rows):
        assert row.change is not None
        color = _COLORS[row.effect]
        if row.low is not None and row.high is not None:
            axes.plot([row.low, row.high], [place, place], color=color, linewidth=1.2)
        axes.plot(row.change, place, "o", color=color, markersize=4)
        axes.annotate(
            f"{row.flops_ratio:.2f}x FLOPs",
            (1.0, place),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            fontsize=7,
            va="center",
            color=COLORS[3],
        )
    axes.set_yticks(
        range(len(rows)), [f"{row.kind.value} {row.layer}: {row.text}" for row in rows], fontsize=7
    )
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="x", labelsize=7)

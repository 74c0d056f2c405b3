"""How hypervolumes grew: the picture of ``compare``, and one of the report's figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from archsearch.cli._figure_file import COLORS, figure_file, literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LINES = ("-", "--", ":", "-.")

Course = Sequence[Sequence[float]]
"""(hours, hypervolume) as trials ended; see ``campaign.course``."""


def draw(path: Path, courses: Sequence[Course], names: Sequence[str]) -> None:
    """A line for each campaign, from its first trial on.

    Args:
        path: PNG, SVG or PDF.
        courses: Of the campaigns, within one reference point.
        names: Of the campaigns.
    """
    with figure_file(path, inches=(6.4, 3.4 + 0.2 * len(names))) as (figure, _):
        axes = figure.add_subplot()
        draw_courses(axes, courses, names)
        figure.legend(loc="outside lower left", ncols=1, frameon=False)


def draw_courses(axes: Axes, courses: Sequence[Course], names: Sequence[str]) -> None:
    """The lines, and the axes as they are read."""
    from matplotlib.ticker import MaxNLocator

    for place, (course, name) in enumerate(zip(courses, names, strict=True)):
        group, kind = divmod(place, len(COLORS))
        axes.step(
            [hours for hours, _ in course],
            [volume for _, volume in course],
            where="post",
            color=COLORS[kind],
            ls=_LINES[group % len(_LINES)],
            linewidth=1.3,
            label=literal(name),
        )
    axes.set_xlim(0, max((course[-1][0] for course in courses if course), default=0) or 1)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("hours of training, all workers together")
    axes.set_ylabel("hypervolume (search scores)")
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.grid(visible=True, alpha=0.2)

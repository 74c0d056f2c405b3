"""The picture of ``compare``: how the campaigns' hypervolumes grew."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from archsearch.campaign.course import CoursePoint
from archsearch.cli._figure_file import COLORS, figure_file, literal

_LINES = ("-", "--", ":", "-.")


def draw(path: Path, courses: Sequence[Sequence[CoursePoint]], names: Sequence[str]) -> None:
    """A line for each campaign, from the end of its references on.

    Args:
        path: PNG, SVG or PDF.
        courses: Of the campaigns, within one reference point.
        names: Of the campaigns.
    """
    from matplotlib.ticker import MaxNLocator

    with figure_file(path, inches=(6.4, 3.4 + 0.2 * len(names))) as (figure, _):
        axes = figure.add_subplot()
        for place, (course, name) in enumerate(zip(courses, names, strict=True)):
            group, kind = divmod(place, len(COLORS))
            axes.step(
                [point.hours for point in course],
                [point.hypervolume for point in course],
                where="post",
                color=COLORS[kind],
                ls=_LINES[group % len(_LINES)],
                linewidth=1.5,
                label=literal(name),
            )
        axes.set_xlim(0, max((c[-1].hours for c in courses if c), default=0) or 1)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("hours of training, all workers together")
        axes.set_ylabel("hypervolume, by the search's scores")
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.grid(visible=True, alpha=0.2)
        figure.legend(loc="outside lower left", ncols=1, frameon=False)

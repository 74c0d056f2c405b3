"""The picture of ``bench search``: what is found, over virtual time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from archsearch.bench.search import BASELINES, REACHED, Outcome
from archsearch.bench.search_summary import summarise
from archsearch.bench.simulation import Method
from archsearch.cli._figure_file import COLORS, FAINT, figure_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_POINTS = 400
_STYLES = {("race", "front"): "-", ("all", "none"): "--", ("drawn", "none"): ":"}
_OTHER_STYLE = "-."


def draw(path: Path, outcomes: Sequence[Outcome], title: str) -> None:
    """One panel for each number of workers: the median campaign of each method.

    Samplers are told apart by colour, what they are combined with by the line. The baseline and the
    method that is first at the front have a band for the middle half of their campaigns.

    Args:
        path: PNG, SVG or PDF.
        outcomes: Of one table.
        title: Its name.
    """
    counts = sorted({o.workers for o in outcomes})
    methods = sorted({o.method for o in outcomes}, key=lambda m: (m[1:] != Method("")[1:], m))
    with figure_file(path, inches=(4.6 * max(1, len(counts)), 5.0)) as (figure, _):
        for place, workers in enumerate(counts, 1):
            axes = figure.add_subplot(1, len(counts), place)
            axes.set_title(f"{title}, {workers} workers", loc="left", fontsize=10)
            _panel(axes, [o for o in outcomes if o.workers == workers], methods)
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(
            handles,
            labels,
            loc="outside lower center",
            ncols=2 if len(counts) == 1 else 3,
            frameon=False,
            fontsize=7,
        )


def _panel(axes: Axes, outcomes: Sequence[Outcome], methods: Sequence[Method]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    ends = [o.curve[-1][0] for o in outcomes if o.curve]
    starts = [o.curve[0][0] for o in outcomes if o.curve]
    times = np.geomspace(max(1.0, min(starts, default=1.0)), max(ends, default=10.0), _POINTS)
    first = next((row.method for row in summarise(outcomes)), None)
    samplers = list(dict.fromkeys(method.sampler for method in methods))
    for method in methods:
        curves = np.array([_at(o, times) for o in outcomes if o.method == method])
        if not len(curves):
            continue
        low, middle, high = np.quantile(curves, (0.25, 0.5, 0.75), axis=0)
        color = COLORS[samplers.index(method.sampler) % len(COLORS)]
        style = _STYLES.get(method[1:], _OTHER_STYLE)
        axes.plot(times, middle, style, color=color, linewidth=1.2, label=str(method))
        if method in (first, BASELINES[0]):
            axes.fill_between(times, low, high, color=color, alpha=0.15, linewidth=0)
    axes.axhline(REACHED, color=FAINT, linewidth=0.8)
    axes.set_xscale("log")
    narrow = times[-1] < 50 * times[0]
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if narrow else (1,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("virtual seconds (log scale)")
    axes.set_ylabel("share of the table's hypervolume")
    axes.grid(visible=True, alpha=0.2)


def _at(outcome: Outcome, times: np.ndarray) -> np.ndarray:
    """The share found by each time."""
    seconds = np.array([0.0, *(s for s, _ in outcome.curve)])
    shares = np.array([0.0, *(f for _, f in outcome.curve)])
    return shares[np.searchsorted(seconds, times, side="right") - 1]

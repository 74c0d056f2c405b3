"""The front as a figure: accuracy against cost, references beside it, labels that hide nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from archsearch.campaign.references import CONV_ONLY, FULL_ATTENTION
from archsearch.cli._figure_file import COLORS, COLUMN, FAINT, check_path, figure_file, literal
from archsearch.cli._picture import cost_label
from archsearch.cli._text import human
from archsearch.records import Front, FrontRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

_MEMBER, _REFERENCE = COLORS[:2]
_BESIDE = ((35, 0.5), (-35, 0.5), (145, -0.5), (-145, -0.5), (90, 0.0), (-90, 0.0), (0, 0.5))
_BETWEEN = tuple((angle, lean) for lean in (0.25, -0.25, 0.45, -0.45) for angle in (90, -90))
_PLACES = tuple(
    (radius, angle, lean)
    for radius in (8, 13, 20, 29, 40, 54, 72)
    for angle, lean in (*_BESIDE, (180, -0.5), *(_BETWEEN if radius >= 20 else ()))
)
"""Of a label about its mark: points, degrees, and which share of its width it is moved besides."""

_CAP = 2.5
"""Half the width of an interval's ends, in points."""

Shift = tuple[float, float]


class _Look(NamedTuple):
    """What depends on the width.

    Attributes:
        size: Of marks.
        font: Of labels.
        columns: Of the legend.
        legend_at: Below the axes, as a share of their height.
        top: Of the accuracies; without a title above, labels need room there.
        near: Points between a label and its mark that need no line.
    """

    size: float
    font: float
    columns: int
    legend_at: float
    top: float
    near: float


_WIDE = _Look(40, 8, 5, -0.13, 1.07, 14)
_NARROW = _Look(16, 6, 2, -0.2, 1.15, 9)


def plot_front(front: Front, path: Path, title: str) -> None:
    """Draws a front to a .png, .svg or .pdf file.

    Args:
        front: Members, dominated designs and references.
        path: Its suffix chooses the format.
        title: Above the figure.

    Raises:
        InputError: The suffix is not known, or the folder does not exist.
        StoreError: The file cannot be written.
    """
    check_path(path)
    with figure_file(path, inches=(7.6, 4.8)) as (figure, canvas):
        draw_front(figure, canvas, front, title)


def draw_front(figure: Figure, canvas: FigureCanvasAgg, front: Front, title: str) -> None:
    """Draws a front into a figure, whose width decides how large marks and letters are."""
    axes = figure.add_subplot()
    look = _NARROW if figure.get_figwidth() <= COLUMN else _WIDE
    references = [row for row in front.references if row.outcome.was_trained]
    shown = [*front.members, *front.dominated, *references]
    heading = axes.set_title(literal(title), loc="left", fontsize=11, wrap=True)
    axes.set_xlabel(f"{cost_label(front)} (log scale)")
    axes.set_ylabel("accuracy, mean over the test cells")
    if not shown:
        axes.text(0.5, 0.5, "no completed trial yet", transform=axes.transAxes, ha="center")
        return
    _set_limits(axes, shown, look.top)
    levels = _draw_levels(axes, references)
    if front.dominated:
        size = look.size * 0.35
        _scatter(axes, front.dominated, "o", FAINT, "trained, dominated", size=size, alpha=0.5)
    _draw_members(axes, front.members, look.size)
    if references:
        _draw_intervals(axes, references, _REFERENCE, "")
        _scatter(axes, references, "D", _REFERENCE, "references", size=look.size * 0.85)
    axes.grid(visible=True, which="major", alpha=0.2)
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, look.legend_at),
        ncols=look.columns,
        frameon=False,
        fontsize=look.font,
        columnspacing=1.4,
        handlelength=1.6,
        handletextpad=0.5,
    )
    labels = [(row, str(row.number), _MEMBER) for row in front.members]
    labels += [(row, row.name, _REFERENCE) for row in references]
    canvas.draw()  # type: ignore[no-untyped-call]
    # labels stand where they were placed only if nothing moves any more
    figure.set_layout_engine("none")
    renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]
    corners = _step_corners(axes, front.members)
    drawn = _drawn(axes, renderer, shown, corners, levels, look.size)
    _label(axes, renderer, labels, drawn, _room(axes, renderer, heading), look)


def _cost(row: FrontRow) -> float:
    return max(row.cost, 1.0)


def _set_limits(axes: Axes, shown: Sequence[FrontRow], top: float) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    logs = [math.log10(_cost(row)) for row in shown]
    margin = max(0.12 * (max(logs) - min(logs)), 0.1)
    axes.set_xscale("log")
    axes.set_xlim(10 ** (min(logs) - margin), 10 ** (max(logs) + margin))
    least = min(row.accuracy if row.low is None else row.low for row in shown)
    axes.set_ylim(max(-0.05, least - 0.12), top)
    narrow = max(logs) - min(logs) < 1.7
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if narrow else (1,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: human(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _draw_levels(axes: Axes, references: Sequence[FrontRow]) -> list[float]:
    """Lines at the floor and the ceiling that gaps are measured between."""
    levels = []
    for names, text in (((CONV_ONLY,), "convolutions only"), (FULL_ATTENTION, "full attention")):
        found = [r.accuracy for r in references if r.name.split(" @")[0] in names]
        if found:
            style = ":" if CONV_ONLY in names else "--"
            levels.append(max(found))
            axes.axhline(levels[-1], linestyle=style, color=_REFERENCE, linewidth=1, label=text)
    return levels


def _step_corners(axes: Axes, members: Sequence[FrontRow]) -> list[tuple[float, float]]:
    """A price buys the accuracy of the best design that costs no more: steps rise at a member."""
    corners: list[tuple[float, float]] = []
    for row in members:
        if corners:
            corners.append((_cost(row), corners[-1][1]))
            if row.accuracy < corners[-1][1]:  # a member for its learnability
                continue
        corners.append((_cost(row), row.accuracy))
    if corners:
        corners.append((axes.get_xlim()[1], corners[-1][1]))
    return corners


def _draw_members(axes: Axes, members: Sequence[FrontRow], size: float) -> None:
    if not members:
        return
    xs, ys = zip(*_step_corners(axes, members), strict=True)
    # faint: it rises at members, where their intervals are
    axes.plot(xs, ys, color=_MEMBER, linewidth=1.2, alpha=0.35)
    _draw_intervals(axes, members, _MEMBER, "95 % interval")
    _scatter(axes, members, "o", _MEMBER, "front (trial number)", size=size)


def _draw_intervals(axes: Axes, rows: Sequence[FrontRow], color: str, label: str) -> None:
    """Where fresh seeds tell it, how far the mean is known."""
    known = _intervals(rows)
    if not known:
        return
    axes.errorbar(
        [cost for cost, *_ in known],
        [(low + high) / 2 for _, low, high in known],
        yerr=[(high - low) / 2 for _, low, high in known],
        fmt="none",
        ecolor=color,
        elinewidth=1.2,
        capsize=_CAP,
        alpha=0.7,
        label=label or "_nolegend_",
        zorder=2.5,
    )


def _intervals(rows: Sequence[FrontRow]) -> list[tuple[float, float, float]]:
    """Cost, lower and upper end of each interval that is known."""
    return [
        (_cost(row), row.low, row.high)
        for row in rows
        if row.low is not None and row.high is not None
    ]


def _scatter(
    axes: Axes,
    rows: Sequence[FrontRow],
    marker: str,
    color: str,
    label: str,
    *,
    size: float,
    alpha: float = 1.0,
) -> None:
    axes.scatter(
        [_cost(row) for row in rows],
        [row.accuracy for row in rows],
        s=size,
        marker=marker,
        color=color,
        alpha=alpha,
        label=label,
        linewidths=0.6,
        edgecolors="white",
        zorder=3,
    )


def _label(
    axes: Axes,
    renderer: Any,
    labels: Sequence[tuple[FrontRow, str, str]],
    drawn: tuple[Sequence[Bbox], ...],
    free: Bbox,
    look: _Look,
) -> None:
    """Puts each label at the nearest place around its mark where it hides nothing."""
    scale = renderer.dpi / 72
    taken: list[Bbox] = []
    for row, text, color in labels:
        note = axes.annotate(
            text,
            (_cost(row), row.accuracy),
            xytext=(0, 0),
            textcoords="offset points",
            ha="center",
            va="center",
            color=color,
            fontsize=look.font,
            zorder=4,
        )
        size = note.get_window_extent(renderer)
        shift = _best_shift(size, (taken, *drawn), free, scale)
        note.set_position((shift[0] / scale, shift[1] / scale))
        taken.append(size.translated(*shift))
        start = _nearest(shift, size)
        if math.hypot(*start) / scale >= look.near:
            _connect(axes, row, start, scale, color)


def _room(axes: Axes, renderer: Any, heading: Text) -> Bbox:
    """Where labels may stand: above the axes as far as the figure goes, or up to its heading."""
    from matplotlib.transforms import Bbox

    inside = axes.get_window_extent(renderer)
    top = axes.figure.bbox.y1
    if heading.get_text():
        top = heading.get_window_extent(renderer).y0
    return Bbox.from_extents(inside.x0, inside.y0, inside.x1, top)


def _drawn(
    axes: Axes,
    renderer: Any,
    shown: Sequence[FrontRow],
    corners: Sequence[Shift],
    levels: Sequence[float],
    size: float,
) -> tuple[list[Bbox], list[Bbox], list[Bbox]]:
    """Boxes, in pixels, around what labels should not hide: marks, intervals, lines."""
    from matplotlib.transforms import Bbox

    scale = renderer.dpi / 72
    half, cap = 0.71 * math.sqrt(size) * scale, _CAP * scale
    place = axes.transData.transform
    marks = [
        Bbox.from_extents(x - half, y - half, x + half, y + half)
        for x, y in place([(_cost(row), row.accuracy) for row in shown])
    ]
    bars = []
    for cost, low, high in _intervals(shown):
        (x, bottom), (_, top) = place([(cost, low), (cost, high)])
        bars.append(Bbox.from_extents(x - cap, bottom, x + cap, top))
    lines = [
        Bbox.from_extents(min(a[0], b[0]), min(a[1], b[1]), max(a[0], b[0]), max(a[1], b[1]))
        for a, b in pairwise(place(corners or [(1.0, 0.0)]))
    ]
    inside = axes.get_window_extent(renderer)
    for level in levels:
        height = place((1.0, level))[1]
        lines.append(Bbox.from_extents(inside.x0, height, inside.x1, height))
    return marks, bars, lines


def _best_shift(size: Bbox, others: tuple[Sequence[Bbox], ...], free: Bbox, scale: float) -> Shift:
    """In pixels; the nearest of those that hide least of other labels, marks, bars and lines."""
    labels, marks, bars, lines = others
    best = (0.0, 0.0)
    least = math.inf
    for radius, angle, lean in _PLACES:
        x, y = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        shift = (radius * scale * x + size.width * lean, radius * scale * y)
        box = size.translated(*shift).padded(1.5 * scale)
        within = free.x0 <= box.x0 and box.x1 <= free.x1
        within = within and free.y0 <= box.y0 and box.y1 <= free.y1
        # a line may be crossed sooner than a bar, that sooner than a mark, a mark than a label
        hidden = 3.0 * sum(box.overlaps(label) for label in labels) + 9 * (not within)
        hidden += 1.0 * sum(box.overlaps(mark) for mark in marks)
        hidden += 0.5 * sum(box.overlaps(bar) for bar in bars)
        hidden += 0.3 * any(box.overlaps(line) for line in lines)
        if hidden < least:
            best, least = shift, hidden
        if not hidden:
            break
    return best


def _nearest(shift: Shift, size: Bbox) -> Shift:
    """The point of a label that is nearest to its mark, as seen from there."""
    x = shift[0] - max(-size.width / 2, min(size.width / 2, shift[0]))
    return x, shift[1] - max(-size.height / 2, min(size.height / 2, shift[1]))


def _connect(axes: Axes, row: FrontRow, start: Shift, scale: float, color: str) -> None:
    """A thin line from a label to its mark."""
    axes.annotate(
        "",
        (_cost(row), row.accuracy),
        xytext=(start[0] / scale, start[1] / scale),
        textcoords="offset points",
        arrowprops={"arrowstyle": "-", "color": color, "lw": 0.5, "shrinkA": 0, "shrinkB": 3},
    )

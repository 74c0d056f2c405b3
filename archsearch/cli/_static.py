"""The report's charts as files for papers, one column wide; drawn from the facts of the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archsearch.campaign.reading import Reading
from archsearch.cli._course_figure import draw_courses
from archsearch.cli._figure_file import COLORS, COLUMN, FAINT, SUFFIXES, figure_file
from archsearch.cli._text import human
from archsearch.cli.figure import draw_front
from archsearch.errors import InputError, StoreError, suggestion
from archsearch.report.facts import facts_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Facts = dict[str, Any]
Row = dict[str, Any]

FORMATS = tuple(suffix.removeprefix(".") for suffix in SUFFIXES)

_FONT = 7
_MARKS = "osD^vP"
_LINES = ("-", "--", ":")
_MEMBER = COLORS[0]


def formats_of(text: str) -> tuple[str, ...]:
    """Formats from a list with commas, each once.

    Raises:
        InputError: One is not known, or there is none.
    """
    names = tuple(dict.fromkeys(name.strip().lower() for name in text.split(",") if name.strip()))
    for name in names or ("",):
        if name not in FORMATS:
            raise InputError(
                f"--formats: got '{name}'; must be some of {','.join(FORMATS)}"
                f"{suggestion(name, FORMATS)}"
            )
    return names


def write_figures(reading: Reading, folder: Path, formats: Sequence[str]) -> list[Path]:
    """Draws what a campaign has to show; returns the files.

    Args:
        reading: The campaign.
        folder: Made where it is not there.
        formats: Of each figure.

    Raises:
        StoreError: The folder or a file cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{folder}: cannot be made ({error.strerror})") from None
    facts = facts_of(reading)
    written = []
    front = [folder / f"front.{kind}" for kind in formats]
    with figure_file(*front, inches=(COLUMN, 3.1), font=_FONT) as (figure, canvas):
        draw_front(figure, canvas, reading.front, "")
    written += front
    for name, (height, draw) in _FIGURES.items():
        paths = [folder / f"{name}.{kind}" for kind in formats]
        inches = (COLUMN, height(facts))
        if inches[1]:
            with figure_file(*paths, inches=inches, font=_FONT) as (figure, _):
                draw(figure, facts)
            written += paths
    return written


def _members(facts: Facts) -> list[Row]:
    found: list[Row] = facts["front"]["members"]
    return found


def _details(facts: Facts, row: Row) -> Facts:
    found: Facts = facts["details"][str(row["number"])]
    return found


def _name(row: Row) -> str:
    return str(row["name"]) if row["number"] < 0 else f"trial {row['number']}"


def _style(place: int) -> dict[str, Any]:
    """Colour, mark and line that no other of eighteen has."""
    group, kind = divmod(place, len(COLORS))
    return {"color": COLORS[kind], "marker": _MARKS[kind], "ls": _LINES[group % len(_LINES)]}


def _legend(figure: Figure, axes: Axes, columns: int, *, above: bool = False) -> None:
    handles, texts = axes.get_legend_handles_labels()
    figure.legend(
        handles,
        texts,
        loc="outside upper center" if above else "outside lower center",
        ncols=columns,
        frameon=False,
        fontsize=_FONT - 1,
        columnspacing=1.2,
        handlelength=2.4,
        handletextpad=0.4,
    )


def _costs(axis: Any) -> None:
    """Numbers such as 2.0 M on a log axis, and no others between."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: human(value)))
    axis.set_minor_formatter(NullFormatter())


# hypervolume


def _hypervolume_height(facts: Facts) -> float:
    return 2.1 if len(facts["hypervolume"]) > 1 else 0.0


def _draw_hypervolume(figure: Figure, facts: Facts) -> None:
    draw_courses(figure.add_subplot(), [facts["hypervolume"]], [""])


# curves


def _curves_height(facts: Facts) -> float:
    rows = -(-len(_members(facts)) // 2)
    return 0.5 + 1.05 * rows if rows else 0.0


def _draw_curves(figure: Figure, facts: Facts) -> None:
    """A panel for each member: what its runs reached, a line for each learning rate."""
    members = _members(facts)
    rates = sorted({r["rate"] for m in members for r in _details(facts, m)["runs"]})
    rows = -(-len(members) // 2)
    grid = figure.subplots(rows, 2, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, member in zip(grid, members, strict=False):
        for run in _details(facts, member)["runs"]:
            _draw_run(axes, run, COLORS[rates.index(run["rate"]) % len(COLORS)])
        axes.set_title(_name(member), loc="left", fontsize=_FONT, pad=2)
        axes.grid(visible=True, alpha=0.2)
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlim(left=0)
    for axes in grid[len(members) :]:
        axes.set_visible(False)
        # the one above it is the lowest of its column
        grid[len(members) - 2].xaxis.set_tick_params(labelbottom=True)
    for i, rate in enumerate(rates):
        grid[0].plot([], [], color=COLORS[i % len(COLORS)], label=f"rate {rate:g}")
    figure.supxlabel("step (dots: rungs; dashed: another rate is scored)", fontsize=_FONT)
    figure.supylabel("validation accuracy", fontsize=_FONT)
    _legend(figure, grid[0], 4, above=True)


def _draw_run(axes: Axes, run: Row, color: str) -> None:
    if not run["curve"]:
        return
    line = "-" if run["is_scored"] else "--"
    axes.plot(*zip(*run["curve"], strict=True), ls=line, color=color, linewidth=1.0)
    at = [point for point in run["curve"] if point[0] in run["rungs"]]
    if at:
        axes.plot(*zip(*at, strict=True), "o", color=color, markersize=2.5)


# capacity


_SIDE_BY_SIDE = 1.35
"""The last design's place on a log axis, as a multiple of the first one's."""


def _capacity_height(facts: Facts) -> float:
    members = _members(facts)
    if not any(_details(facts, m)["cells"] for m in members):
        return 0.0
    return 2.4 + 0.13 * -(-len(members) // 4)


def _draw_capacity(figure: Figure, facts: Facts) -> None:
    axes = figure.add_subplot()
    members = _members(facts)
    for place, member in enumerate(members):
        cells = sorted(_details(facts, member)["cells"], key=lambda cell: cell["load"])
        # side by side, or one interval would hide another
        shift = _SIDE_BY_SIDE ** (place / max(1, len(members) - 1) - 0.5)
        middle = [cell["accuracy"] for cell in cells]
        axes.errorbar(
            [cell["load"] * shift for cell in cells],
            middle,
            yerr=[
                [max(0.0, cell["accuracy"] - cell["low"]) for cell in cells],
                [max(0.0, cell["high"] - cell["accuracy"]) for cell in cells],
            ],
            markersize=3,
            linewidth=1.0,
            elinewidth=0.8,
            capsize=1.5,
            label=_name(member) + ("" if _varies_by_seeds(facts, member) else "*"),
            **_style(place),
        )
    axes.set_xscale("log")
    _costs(axes.xaxis)
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel(f"length x pairs of a test cell (log scale)\n({_bars(facts)})")
    axes.set_ylabel("test accuracy")
    axes.grid(visible=True, alpha=0.2)
    _legend(figure, axes, 4)


def _varies_by_seeds(facts: Facts, member: Row) -> bool:
    return bool(_details(facts, member)["cells_vary_by"] == "seeds")


def _bars(facts: Facts) -> str:
    """What the bars are; a star marks designs of one seed."""
    kinds = {_varies_by_seeds(facts, member) for member in _members(facts)}
    words = {True: "bars: 95 % over seeds", False: "*: 95 % of one seed's queries"}
    return "; ".join(words[kind] for kind in sorted(kinds, reverse=True))


# parallel coordinates

_AXES = (
    ("d_model", "width", False),
    ("depth", "depth", False),
    ("params", "params", True),
    ("state", "state", True),
    ("flops", "FLOPs", True),
    ("accuracy", "accuracy", False),
)

_ON_FRONT: dict[str, Any] = {"color": _MEMBER, "lw": 1.2, "zorder": 3}
_BEATEN: dict[str, Any] = {"color": FAINT, "lw": 0.6, "alpha": 0.4, "zorder": 2}


def _parallel_height(facts: Facts) -> float:
    return 2.2 if len(facts["parallel"]) > 1 else 0.0


def _draw_parallel(figure: Figure, facts: Facts) -> None:
    import numpy as np

    axes = figure.add_subplot()
    rows = facts["parallel"]
    heights = []
    for place, (name, title, is_log) in enumerate(_AXES):
        values = np.array([row[name] for row in rows], dtype=float)
        low, high = values.min(), values.max()
        scaled = np.log(np.maximum(values, 1)) if is_log else values
        spread = np.ptp(scaled)
        # equal for all: in the middle
        heights.append((scaled - scaled.min()) / spread if spread else np.full(len(rows), 0.5))
        axes.vlines(place, 0, 1, color=FAINT, linewidth=0.8, zorder=1)
        for value, y, align in ((low, -0.03, "top"), (high, 1.03, "bottom")):
            text = f"{value:.3f}" if name == "accuracy" else human(value)
            axes.text(place, y, text, ha="center", va=align, fontsize=_FONT - 1)
        axes.text(place, -0.14, title, ha="center", va="top")
    for row, line in zip(rows, np.array(heights).T, strict=True):
        look = _ON_FRONT if row["is_member"] else _BEATEN
        axes.plot(range(len(_AXES)), line, **look)
    axes.plot([], [], label="front", **_ON_FRONT)
    axes.plot([], [], label="trained, dominated", **_BEATEN)
    axes.set_axis_off()
    axes.set_xlim(-0.45, len(_AXES) - 0.55)
    axes.set_ylim(-0.26, 1.12)
    _legend(figure, axes, 2)


# learning rates


def _raced(facts: Facts) -> list[Row]:
    rows = [*_members(facts), *facts["front"]["references"]]
    return [row for row in rows if len(_details(facts, row)["runs"]) > 1]


def _rates_height(facts: Facts) -> float:
    rows = len(_raced(facts))
    return 0.7 + 0.2 * rows if rows else 0.0


def _draw_rates(figure: Figure, facts: Facts) -> None:
    """A line for each design: where each rate ended, and those ahead at the first rung."""
    axes = figure.add_subplot()
    rows = _raced(facts)
    for place, row in enumerate(rows):
        found = _details(facts, row)
        color = COLORS[1] if row["number"] < 0 else _MEMBER
        if found["window"] is not None:
            axes.plot(
                found["window"], [place, place], color=color, lw=7, alpha=0.2, solid_capstyle="butt"
            )
        for run in found["runs"]:
            if not run["curve"]:
                continue
            at = (run["rate"], place)
            full = run["is_scored"]
            axes.plot(*at, "o", ms=4, color=color, mfc=color if full else "white", mew=0.9)
            axes.annotate(
                f"{run['curve'][-1][1]:.2f}", at, (4, 0), textcoords="offset points",
                va="center", fontsize=_FONT - 1,
            )  # fmt: skip
    axes.set_xscale("log")
    axes.margins(x=0.12)
    axes.set_yticks(range(len(rows)), [_name(row) for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    step = facts["about"]["training"]["first_rung"]
    # of the figure: beside long names the axes are narrow
    figure.supxlabel(
        f"learning rate (filled: scored; bar: ahead at step {step:,};"
        "\nno bar where nothing was learned by then)",
        fontsize=_FONT,
    )
    _rates_axis(axes, sorted({r["rate"] for row in rows for r in _details(facts, row)["runs"]}))


def _rates_axis(axes: Axes, rates: Sequence[float]) -> None:
    from matplotlib.ticker import NullLocator

    axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
    axes.xaxis.set_minor_locator(NullLocator())


_Height = Callable[[Facts], float]
_Draw = Callable[["Figure", Facts], None]

_FIGURES: dict[str, tuple[_Height, _Draw]] = {
    "hypervolume": (_hypervolume_height, _draw_hypervolume),
    "curves": (_curves_height, _draw_curves),
    "capacity": (_capacity_height, _draw_capacity),
    "parallel": (_parallel_height, _draw_parallel),
    "rates": (_rates_height, _draw_rates),
}
"""By name; inches of height (none where there is nothing to show), and what draws it."""

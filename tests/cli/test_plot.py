"""``front --plot``: the figure and its labels."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

import archsearch
from archsearch.campaign.front import build_front
from archsearch.cli._figure_file import COLUMN
from archsearch.cli.figure import _room, draw_front, plot_front
from archsearch.errors import InputError
from archsearch.objectives import OBJECTIVES
from archsearch.records import Front
from archsearch.space import loads
from tests.conftest import OLDER, PUBLISHED

from .conftest import CAMPAIGN, Ran, reference_records, trial_records

Cli = Callable[..., Ran]
AXES = (OBJECTIVES["accuracy"], OBJECTIVES["flops"])


def _front() -> Front:
    file = loads(CAMPAIGN)
    return build_front([*reference_records(file), *trial_records(file)], AXES, (0.245, 2e7))


def _crowded(count: int) -> Front:
    file = loads(CAMPAIGN)
    model = trial_records(file)[1]
    assert model.price is not None
    trials = [
        model.model_copy(
            update={
                "number": i,
                "accuracy": 0.3 + 0.69 * i / count,
                "price": model.price.model_copy(update={"flops": int(2e6 * 1.08**i)}),
            }
        )
        for i in range(count)
    ]
    return build_front([*reference_records(file), *trials], AXES, (0.245, 2e7))


def _uncertain() -> Front:
    """Intervals of three seeds where the line rises, and references close together at the top."""
    front = _front()
    dearest = front.members[-1].cost
    places = [(row.cost, row.accuracy) for row in front.members]
    places += [(dearest * 1.15**-i, 0.98 - 0.01 * i) for i in range(len(front.references))]
    rows = [
        row.model_copy(
            update={
                "cost": cost,
                "accuracy": accuracy,
                "low": max(0.0, accuracy - 0.27),
                "high": min(0.995, accuracy + 0.27),
            }
        )
        for row, (cost, accuracy) in zip((*front.members, *front.references), places, strict=True)
    ]
    count = len(front.members)
    return front.model_copy(update={"members": rows[:count], "references": rows[count:]})


def test_the_line_never_falls() -> None:
    """A dear member that is less accurate is one for its learnability."""
    front = _front()
    easy = front.members[-1].model_copy(update={"cost": 4e7, "accuracy": 0.3})
    figure = Figure()
    both = front.model_copy(update={"members": (*front.members, easy)})
    draw_front(figure, FigureCanvasAgg(figure), both, "c")
    heights = [np.asarray(line.get_ydata()).tolist() for line in figure.axes[0].get_lines()]
    longest = max(heights, key=len)
    assert longest == sorted(longest)
    assert longest[-1] == front.members[-1].accuracy


@pytest.mark.parametrize(
    ("suffix", "magic"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")]
)
def test_each_format(cli: Cli, campaign: Path, tmp_path: Path, suffix: str, magic: bytes) -> None:
    path = tmp_path / f"front{suffix}"
    ran = cli("front", campaign, "--plot", path)
    assert ran.code == 0
    assert ran.out.endswith(f"picture: {path}\n")
    assert path.read_bytes().startswith(magic)


def test_json_stays_alone_beside_a_plot(cli: Cli, campaign: Path, tmp_path: Path) -> None:
    json.loads(cli("front", campaign, "--json", "--plot", tmp_path / "a.png").out)
    assert (tmp_path / "a.png").is_file()


def test_an_empty_front_is_drawn_as_such(tmp_path: Path) -> None:
    plot_front(build_front([], AXES, None), tmp_path / "empty.svg", "nothing")
    assert (tmp_path / "empty.svg").stat().st_size > 1000


def test_a_title_is_no_formula(tmp_path: Path) -> None:
    plot_front(_front(), tmp_path / "a.svg", r"costs $\frac{ of all$ designs")


def test_equal_fronts_give_equal_files(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        plot_front(_front(), tmp_path / name, "same")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


@pytest.mark.parametrize("name", ["front.gif", "front", "front.png.txt"])
def test_an_unknown_suffix_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"must be one of \.png, \.svg, \.pdf"):
        plot_front(_front(), tmp_path / name, "x")


@pytest.mark.parametrize(
    ("front", "inches", "title"),
    [
        (_front(), (7.6, 4.8), "a title"),
        (_crowded(24), (7.6, 4.8), "a title"),
        (_uncertain(), (7.6, 4.8), "a title over the whole width, which is not a place for labels"),
        (archsearch.open_campaign(PUBLISHED).front, (7.6, 4.8), " ".join(["long"] * 12)),
        (_front(), (COLUMN, 3.1), ""),
        (_crowded(14), (COLUMN, 3.1), ""),
        (archsearch.open_campaign(PUBLISHED).front, (COLUMN, 2.4), ""),
        (archsearch.open_campaign(OLDER).front, (COLUMN, 2.4), ""),
    ],
    ids=[
        "usual",
        "crowded",
        "uncertain",
        "published",
        "column",
        "crowded column",
        "low column",
        "older",
    ],
)
def test_labels_overlap_neither_each_other_nor_the_border(
    front: Front, inches: tuple[float, float], title: str
) -> None:
    figure = Figure(figsize=inches, dpi=150, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    draw_front(figure, canvas, front, title)
    canvas.draw()
    (axes,) = figure.axes
    notes = [t for t in axes.texts if isinstance(t, Annotation) and t.get_text()]
    shown = {note.get_text() for note in notes}
    assert {str(row.number) for row in front.members} <= shown
    assert {row.name for row in front.references if row.outcome.was_trained} <= shown
    boxes = [note.get_window_extent(canvas.get_renderer()) for note in notes]
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    inside = axes.get_window_extent().padded(2)
    assert all(inside.x0 <= box.x0 and box.x1 <= inside.x1 for box in boxes)
    assert all(box.y1 <= figure.bbox.y1 for box in boxes)
    for heading in axes.findobj(Text):
        if isinstance(heading, Text) and title and heading.get_text() == title:
            assert not any(box.overlaps(heading.get_window_extent()) for box in boxes)


@pytest.mark.parametrize("title", ["a title", ""])
def test_labels_have_the_room_up_to_the_title(title: str) -> None:
    figure = Figure()
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    heading = axes.set_title(title, loc="left")
    top = _room(axes, canvas.get_renderer(), heading).y1
    assert top == (heading.get_window_extent().y0 if title else figure.bbox.y1)


@pytest.mark.parametrize(
    ("inches", "title"), [((7.6, 4.8), "a title"), ((COLUMN, 3.1), "")], ids=["wide", "column"]
)
def test_intervals_are_seen(inches: tuple[float, float], title: str) -> None:
    """They end in caps, on a fainter line, and no label lies on one."""
    figure = Figure(figsize=inches, dpi=150, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    draw_front(figure, canvas, _uncertain(), title)
    canvas.draw()
    (axes,) = figure.axes
    bars = [c for c in axes.collections if isinstance(c, LineCollection)]
    step = max(axes.get_lines(), key=lambda line: len(np.asarray(line.get_xdata())))
    for bar in bars:
        assert bar.get_zorder() > step.get_zorder()
        assert (bar.get_alpha() or 1) >= 2 * (step.get_alpha() or 1)
    ends = [line for line in axes.get_lines() if line.get_marker() == "_"]
    assert len(ends) == 2 * len(bars) == 4
    notes = [t for t in axes.texts if isinstance(t, Annotation) and t.get_text()]
    boxes = {t.get_text(): t.get_window_extent(canvas.get_renderer()) for t in notes}
    segments = [segment for bar in bars for segment in bar.get_segments()]
    assert len(segments) >= 8
    for segment in segments:
        drawn = Bbox(axes.transData.transform(segment))
        assert [text for text, box in boxes.items() if box.overlaps(drawn)] == []

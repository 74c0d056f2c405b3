"""``archsearch compare``: whose front is better, and whether that can be said at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archsearch.cli._options import AsJson

if TYPE_CHECKING:
    from archsearch.campaign.comparison import Common, Comparison
    from archsearch.campaign.reading import Reading

_MOST_COMMON = 20
"""Designs in common that are listed on the terminal; ``--json`` has them all."""


def compare(
    directories: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR DIR ...", help="Folders of two campaigns or more.", show_default=False
        ),
    ],
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw the hypervolumes over time: .png, .svg or .pdf."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare campaigns: differences of protocol, hypervolume, who dominates whom, attainment."""
    from archsearch.campaign.comparison import compare as compared
    from archsearch.campaign.reading import read
    from archsearch.cli import render
    from archsearch.cli._figure_file import check_path
    from archsearch.errors import InputError

    if len(directories) < 2:
        raise InputError(f"DIR: got {len(directories)}; give two campaigns or more")
    if plot is not None:
        check_path(plot)
    readings = [read(directory) for directory in directories]
    found = compared(readings)
    names = [str(directory) for directory in directories]
    if plot is not None:
        _draw(plot, readings, found, names)
    if as_json:
        render.print_json(_plain(found, names))
        return
    _show_names(names)
    _show_differences(found)
    if found.hypervolumes is not None:
        _show_fronts(found, [len(r.front.members) for r in readings])
        _warn_of_luck(readings)
        _show_attained(found)
    elif found.is_comparable:
        render.print_line("scores are not compared: some campaign's references are not trained yet")
    _show_common(found, scores=found.is_comparable)
    if plot is not None:
        render.print_line(f"picture: {plot}")


def _draw(path: Path, readings: Sequence[Reading], found: Comparison, names: Sequence[str]) -> None:
    from archsearch.campaign.course import course_of
    from archsearch.cli._course_figure import draw
    from archsearch.errors import InputError

    if found.bound is None:
        why = "references are not trained yet" if found.is_comparable else "protocols differ"
        raise InputError(f"--plot: {why}; hypervolumes cannot be compared")
    draw(path, [course_of(reading, found.bound) for reading in readings], names)


def _letters(count: int) -> list[str]:
    from archsearch.cli._picture import letter

    return [letter(i) for i in range(count)]


def _show_names(names: Sequence[str]) -> None:
    from archsearch.cli import render

    for mark, name in zip(_letters(len(names)), names, strict=True):
        render.print_line(f"{mark}  {name}")


def _show_differences(found: Comparison) -> None:
    from archsearch.cli import render
    from archsearch.cli._text import Column

    render.print_line()
    if not found.differences:
        render.print_line("same protocol, search and seed")
        return
    if not found.is_comparable:
        render.print_line(
            "scores under different protocols are not compared: they do not mean the same"
        )
    count = len(found.differences[0].values)
    render.print_table(
        [Column("differs", text=True), *(Column(mark, text=True) for mark in _letters(count))],
        [
            (f"{d.name}{' (scores)' if d.of_scores else ''}", *map(_short, d.values))
            for d in found.differences
        ],
    )


def _short(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_short, value)) or "none"
    if isinstance(value, dict):
        return "(" + ",".join(str(v) for v in value.values()) + ")"
    return "-" if value is None else str(value)


def _show_fronts(found: Comparison, sizes: Sequence[int]) -> None:
    from archsearch.cli import render
    from archsearch.cli._text import Column, share

    assert found.hypervolumes is not None
    assert found.on_union is not None
    assert found.covered is not None
    marks = _letters(len(sizes))
    whole = found.union_hypervolume or 0.0
    rows = [
        (
            mark,
            f"{found.hypervolumes[i]:.4f}",
            share(found.hypervolumes[i] / whole if whole else None),
            str(sizes[i]),
            str(found.on_union[i]),
            *("-" if i == j else share(found.covered[i][j]) for j in range(len(marks))),
        )
        for i, mark in enumerate(marks)
    ]
    render.print_line()
    render.print_table(
        [
            Column("", text=True), Column("hypervolume"), Column("of all", rank=1),
            Column("members"), Column("on the front of all"),
            *(Column(f"covers of {mark}", rank=2) for mark in marks),
        ],
        rows,
        title="fronts, within one reference point",
    )  # fmt: skip


def _warn_of_luck(readings: Sequence[Reading]) -> None:
    """Said where some fronts stand on fresh seeds, and others on the scores that chose them."""
    from archsearch.cli import render

    marks = _letters(len(readings))
    lucky = [m for m, r in zip(marks, readings, strict=True) if not r.confirmations]
    if lucky and len(lucky) < len(readings):
        render.print_line(
            f"{', '.join(lucky)} not confirmed: scores that chose a front lean to the lucky side,"
            " fresh seeds do not"
        )


def _show_attained(found: Comparison) -> None:
    from archsearch.cli import render
    from archsearch.cli._text import Column, accuracy, human

    assert found.levels is not None
    assert found.attained is not None
    render.print_line()
    render.print_table(
        [Column("for at most"), *map(Column, _letters(len(found.attained)))],
        [
            (human(level), *(accuracy(row[i]) for row in found.attained))
            for i, level in enumerate(found.levels)
        ],
        title="best accuracy at a price",
    )


def _show_common(found: Comparison, *, scores: bool) -> None:
    from archsearch.cli import render
    from archsearch.cli._text import Column, accuracy, count

    if not found.common:
        render.print_line()
        render.print_line("no design was trained by two of them")
        return
    places = range(max(max(one.rows) for one in found.common) + 1)

    def shown(one: Common) -> list[str]:
        found = [one.rows.get(i) for i in places]
        if not scores:
            return ["-" if row is None else "trained" for row in found]
        return ["-" if row is None else accuracy(row.accuracy) for row in found]

    listed = found.common[:_MOST_COMMON]
    render.print_line()
    render.print_table(
        [*map(Column, _letters(len(places))), Column("design", text=True, below=True)],
        [(*shown(one), one.design) for one in listed],
        title=f"{'accuracy of ' * scores}{count(len(found.common), 'common design')}",
    )
    left = len(found.common) - len(listed)
    if left:
        render.print_line(f"and {count(left, 'more', 'more')}: --json")


def _plain(found: Comparison, names: Sequence[str]) -> dict[str, Any]:
    return {
        "campaigns": list(names),
        "is_comparable": found.is_comparable,
        "differences": [d._asdict() for d in found.differences],
        "bound": found.bound,
        "hypervolumes": found.hypervolumes,
        "union_hypervolume": found.union_hypervolume,
        "on_union": found.on_union,
        "covered": found.covered,
        "levels": found.levels,
        "attained": found.attained,
        "common": [
            {
                "digest": one.digest,
                "design": one.design,
                "accuracy": [
                    one.rows[i].accuracy if i in one.rows and found.is_comparable else None
                    for i in range(len(names))
                ],
                "seeds": [one.rows[i].seeds if i in one.rows else 0 for i in range(len(names))],
            }
            for one in found.common
        ],
    }

"""``archsearch bench verdict``: what it costs to know that a design recalls."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from archsearch.cli._options import AsJson

if TYPE_CHECKING:
    from archsearch.bench.verdict import VerdictBench


def verdict(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Designs; all unless given.", show_default=False),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of a design.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Train designs until they pass every cell, on four cells and on five."""
    from archsearch.bench._subjects import FIVE, FOUR, PROTOCOL
    from archsearch.bench.machine import describe
    from archsearch.bench.verdict import DESIGNS, FILLERS, measure
    from archsearch.cli import render
    from archsearch.errors import InputError, suggestion

    unknown = [name for name in names or () if name not in DESIGNS]
    if unknown:
        raise InputError(
            [
                f"there is no design '{name}' in this bench{suggestion(name, list(DESIGNS))};"
                f" there are: {'; '.join(DESIGNS)}"
                for name in unknown
            ]
        )
    found = []
    for cells in (FOUR, FIVE):
        for result in measure(names or list(DESIGNS), cells=cells, training=PROTOCOL, seeds=seeds):
            found.append(result)
            print(f"{result.design}, {result.cells}: {_in_words(result)}", file=sys.stderr)
            for failure in result.failures:
                print(f"archsearch: warning: {result.design}: {failure}", file=sys.stderr)
    if as_json:
        settings = {
            "training": PROTOCOL.model_dump(mode="json"),
            "cells": [[str(cell) for cell in cells] for cells in (FOUR, FIVE)],
            "fillers": FILLERS,
            "designs": {name: d.model_dump(mode="json") for name, d in DESIGNS.items()},
        }
        rows = [
            {**row._asdict(), "solved": row.solved, "runs": [run._asdict() for run in row.runs]}
            for row in found
        ]
        render.print_json({"machine": describe(), "settings": settings, "verdicts": rows})
    else:
        _show(found)


def _in_words(result: VerdictBench) -> str:
    words = f"{result.solved} of {result.seeds} seeds solved it"
    if result.seconds is not None:
        words += f", median {result.seconds:.0f} s, {result.steps:.0f} steps"
    return words


def _show(found: list[VerdictBench]) -> None:
    from archsearch.cli import render
    from archsearch.cli._text import Column, accuracy

    columns = [
        Column("design", text=True),
        Column("cells", text=True),
        Column("solved"),
        Column("seconds"),
        Column("steps"),
        Column("worst cell of the others", rank=1, text=True),
    ]
    table = [
        (
            row.design,
            row.cells,
            f"{row.solved} of {row.seeds}",
            "-" if row.seconds is None else f"{row.seconds:.1f}",
            "-" if row.steps is None else f"{row.steps:.0f}",
            " ".join(map(accuracy, row.worst)) or "-",
        )
        for row in found
    ]
    render.print_table(columns, table, title="until every cell passes, median of the seeds")

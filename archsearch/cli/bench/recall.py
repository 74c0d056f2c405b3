"""``archsearch bench recall``: what each mixer recalls."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from archsearch.cli._options import AsJson

if TYPE_CHECKING:
    from archsearch.bench.recall import RecallRow


def recall(
    out: Annotated[
        Path, typer.Argument(metavar="FILE", help="JSON lines; runs that it holds are kept.")
    ],
    mixer: Annotated[
        list[str] | None,
        typer.Option(help="A mixer to train; all unless given.", show_default=False),
    ] = None,
    rate: Annotated[
        list[float] | None,
        typer.Option(help="A learning rate; 1e-3, 3e-3 and 1e-2 unless given.", show_default=False),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Budget of a run.")] = 600,
    batch_tokens: Annotated[int, typer.Option(min=256, help="Tokens of a batch.")] = 16_384,
    seed: Annotated[int, typer.Option(min=0, help="Of weights and data.")] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Runs at a time; 0 only shows FILE.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Train each sequence mixer behind a short convolution on MQAR."""
    from archsearch.bench import recall as study
    from archsearch.cli import render
    from archsearch.errors import InputError
    from archsearch.mixers import specs

    problems = [
        f"--rate: got {given:g}; must be above 0 and at most 10"
        for given in rate or ()
        if not 0 < given <= 10
    ]
    unfit = [name for name in mixer or () if specs.get(name).kind != "sequence"]
    problems += [f"--mixer: '{name}' is no sequence mixer" for name in unfit]
    if problems:
        raise InputError(problems)
    if workers:
        rows = study.study(
            study.subjects(mixer),
            out,
            rates=rate or study.RATES,
            steps=steps,
            batch_tokens=batch_tokens,
            seed=seed,
            workers=workers,
        )
        for row in rows:
            print(_progress(row), file=sys.stderr)
    found = study.read(out)
    if as_json:
        render.print_json([row._asdict() for row in found])
    else:
        _show_recall(found)


def _progress(row: RecallRow) -> str:
    scores = " ".join(f"{value:.3f}" for value in row.accuracy)
    end = f"{row.outcome} at step {row.step}, {row.seconds:.0f} s"
    return f"{row.mixer} at {row.learning_rate:g}: {scores or row.detail} ({end})"


def _show_recall(rows: list[RecallRow]) -> None:
    from archsearch.bench.recall import CELLS, best, mean
    from archsearch.cli import render
    from archsearch.cli._text import Column, accuracy, human

    winners = best(rows)
    cells = [f"({length},{pairs})" for length, pairs in CELLS]
    columns = [
        Column("mixer", text=True),
        Column("rate"),
        *(Column(cell) for cell in cells),
        Column("step", rank=2),
        Column("seconds", rank=3),
        Column("FLOPs", rank=1),
        Column("state", rank=1),
        Column("growth", rank=1, text=True),
    ]
    ordered = sorted(rows, key=lambda r: (-mean(winners[r.mixer]), r.mixer, r.learning_rate))
    table = [
        (
            row.mixer,
            f"{row.learning_rate:g}{'*' if winners[row.mixer] is row else ''}",
            *(map(accuracy, row.accuracy) if row.accuracy else [row.outcome] * len(cells)),
            str(row.step),
            f"{row.seconds:.0f}",
            human(row.flops),
            human(row.state_floats),
            row.growth,
        )
        for row in ordered
    ]
    render.print_table(columns, table, title="accuracy by cell; * the mixer's best rate")

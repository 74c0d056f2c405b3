"""``archsearch bench protocol``: does a cheaper protocol rank designs as a dearer one?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archsearch.cli._options import AsJson

if TYPE_CHECKING:
    from archsearch.bench.protocol import Agreement, ProtocolRow
    from archsearch.protocol import TrainingConfig

OWN = "as in the file"
"""The protocol of the campaign file itself."""


def protocol(
    space: Annotated[
        Path, typer.Argument(metavar="SPACE", help="A campaign file.", show_default=False)
    ],
    out: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="JSON lines; runs that it holds are kept.", show_default=False
        ),
    ],
    variant: Annotated[
        list[str] | None,
        typer.Option(
            metavar="'KEY=VALUE ...'",
            help="Another protocol: the file's training section with these changes.",
            show_default=False,
        ),
    ] = None,
    design: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|FILE",
            help="A sequence mixer behind a short convolution, or an exported design.",
            show_default=False,
        ),
    ] = None,
    draw: Annotated[int, typer.Option(min=0, help="So many random designs of the space.")] = 0,
    draw_seed: Annotated[int, typer.Option(min=0, help="Of those draws.")] = 0,
    exclude: Annotated[
        Path | None,
        typer.Option(help="Draw no design of this other study.", show_default=False),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of a design under a protocol.")] = 1,
    workers: Annotated[int, typer.Option(min=0, help="Runs at a time; 0 only shows FILE.")] = 1,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also draw the study to a .png, .svg or .pdf file.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train designs under several protocols; the last is what the others are held against."""
    from archsearch.bench import protocol as bench
    from archsearch.cli import render
    from archsearch.cli._figure_file import check_path
    from archsearch.cli.bench._options import design_of
    from archsearch.errors import InputError
    from archsearch.space import load

    if plot is not None:
        check_path(plot)
    file = load(space)
    protocols = _protocols(file.training, variant or [])
    width = file.space.default().d_model
    designs = [design_of(text, width) for text in design or []]
    shunned = [d.digest for d in designs]
    if exclude is not None:
        if not exclude.is_file():
            raise InputError(f"--exclude: there is no file '{exclude}'")
        shunned += [row.digest for row in bench.read(exclude)]
    designs += bench.drawn(file, draw, draw_seed, shunned)
    if workers and not designs:
        raise InputError("nothing to train: give --design or --draw (or --workers 0 to show FILE)")
    if workers:
        rows = bench.study(designs, protocols, file.task, out, seeds=seeds, workers=workers)
        for row in rows:
            print(_progress(row), file=sys.stderr)
    found = bench.read(out)
    if plot is not None:
        from archsearch.cli.bench._protocol_figure import plot_study

        plot_study(found, list(protocols)[-1], plot)
    table = bench.agreements(found, list(protocols)[-1])
    if as_json:
        render.print_json([row._asdict() for row in table])
    else:
        _show(table, list(protocols)[-1])
        if plot is not None:
            render.print_line(f"picture: {plot}")


def _protocols(base: TrainingConfig, texts: list[str]) -> dict[str, TrainingConfig]:
    """The file's protocol and its variants, by their text.

    Raises:
        InputError: A variant is none; every reason at once.
    """
    from pydantic import ValidationError

    from archsearch.errors import InputError, suggestion
    from archsearch.protocol import TrainingConfig

    known = list(TrainingConfig.model_fields)
    protocols, problems = {OWN: base}, []
    for text in texts:
        changes: dict[str, Any] = {}
        for part in text.split():
            key, _, value = part.partition("=")
            if key not in known:
                problems.append(
                    f"--variant '{text}': unknown setting '{key}'{suggestion(key, known)}"
                    f" (known: {', '.join(known)})"
                )
            changes[key] = _scalar(value)
        if set(changes) - set(known):
            continue
        try:
            protocols[text] = TrainingConfig.model_validate(base.model_dump() | changes)
        except ValidationError as error:
            problems += [
                f"--variant '{text}': {e['loc'][0]}: {e['msg']} (got {e['input']!r})"
                for e in error.errors()
            ]
    if problems:
        raise InputError(problems)
    return protocols


def _scalar(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _progress(row: ProtocolRow) -> str:
    scores = " ".join(f"{value:.3f}" for value in row.accuracy)
    end = f"{row.outcome} at step {row.step}, {row.seconds:.0f} s"
    return f"{row.design} | {row.protocol} | seed {row.seed}: {scores or row.detail} ({end})"


def _show(found: list[Agreement], reference: str) -> None:
    from archsearch.cli import render
    from archsearch.cli._text import Column, human

    columns = [
        Column("protocol", text=True),
        Column("designs"),
        Column("solved"),
        Column("tokens", rank=1),
        Column("seconds", rank=2),
        Column("tau"),
        Column("own tau", rank=1),
        Column("missed"),
    ]
    table = [
        (
            row.protocol,
            str(row.designs),
            f"{row.solved} of {row.runs}",
            "-" if row.tokens is None else human(row.tokens),
            "-" if row.seconds is None else f"{row.seconds:.0f}",
            "-" if row.tau is None else f"{row.tau:.3f}",
            "-" if row.own_tau is None else f"{row.own_tau:.3f}",
            str(len(row.missed)),
        )
        for row in found
    ]
    render.print_table(columns, table, title=f"agreement with '{reference}'")
    for row in found:
        for name in row.missed:
            print(f"'{row.protocol}' does not solve, but '{reference}' does: {name}")

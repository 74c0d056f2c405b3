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
    from archsearch.bench.machine import describe
    from archsearch.cli import render
    from archsearch.cli._figure_file import check_path
    from archsearch.cli.bench._options import design_of
    from archsearch.errors import InputError
    from archsearch.space import load

    if plot is not None:
        check_path(plot)
    file = load(space)
    protocols = _protocols(file.training, variant or [])
    reference = list(protocols)[-1]
    if workers:
        width = file.space.default().d_model
        given = {d.digest: d for d in (design_of(text, width) for text in design or [])}
        shunned = {*given, *_digests_of(exclude)}
        designs = [*given.values(), *bench.drawn(file, draw, draw_seed, shunned)]
        if not designs:
            raise InputError("nothing to train: give --design or --draw (--workers 0 shows FILE)")
        for row in bench.study(designs, protocols, file.task, out, seeds=seeds, workers=workers):
            print(_progress(row), file=sys.stderr)
    found = bench.read(out)
    bench.check_same(found, protocols, file.task, out)
    if plot is not None:
        from archsearch.cli.bench._protocol_figure import plot_study

        plot_study(found, reference, plot)
    table = bench.agreements(found, reference)
    if as_json:
        rows = [row._asdict() for row in table]
        render.print_json({"machine": describe(), "reference": reference, "protocols": rows})
        return
    _show(table, reference)
    if plot is not None:
        render.print_line(f"picture: {plot}")


def _digests_of(study: Path | None) -> list[str]:
    """The designs of another study.

    Raises:
        InputError: There is no such file.
        StoreError: It is none.
    """
    from archsearch.bench.protocol import read
    from archsearch.errors import InputError

    if study is None:
        return []
    if not study.is_file():
        raise InputError(f"--exclude: there is no file '{study}'")
    return [row.digest for row in read(study)]


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
        if not text.strip():
            problems.append("--variant: got no setting; must be such as 'steps=1000'")
            continue
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
        Column("across seeds", rank=1),
        Column("own", rank=1),
        Column("missed"),
    ]
    table = [
        (
            row.protocol,
            str(row.designs),
            f"{row.solved} of {row.runs}",
            human(row.tokens),
            f"{row.seconds:.0f}",
            *("-" if t is None else f"{t:.3f}" for t in (row.tau, row.cross_tau, row.own_tau)),
            str(len(row.missed)),
        )
        for row in found
    ]
    render.print_table(columns, table, title=f"agreement with '{reference}'")
    for row in found:
        for name in row.missed:
            print(f"'{row.protocol}' does not solve, but '{reference}' does: {name}")

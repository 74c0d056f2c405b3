"""``archsearch bench training``: the speed of training steps."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from archsearch.cli._options import AsJson
from archsearch.cli.bench._options import (
    BatchTokens,
    CellTexts,
    Design,
    Repeats,
    Width,
    cells_of,
    design_of,
)

if TYPE_CHECKING:
    from archsearch.bench.training import TrainingBench


def training(
    design: Design = "attention",
    d_model: Width = 64,
    cell: CellTexts = None,
    batch: Annotated[
        int | None,
        typer.Option(min=1, help="Sequences of a batch, instead of --tokens.", show_default=False),
    ] = None,
    tokens: BatchTokens = None,
    precision: Annotated[
        str, typer.Option(metavar="auto|float32|bfloat16", help="Of matrix products.")
    ] = "auto",
    naive: Annotated[
        bool, typer.Option(help="Also run the straightforward trainers (up to 8 GB of memory).")
    ] = True,
    repeats: Repeats = 5,
    as_json: AsJson = False,
) -> None:
    """Time training steps beside a straightforward trainer and the machine's matrix products."""
    from archsearch.bench._subjects import PROTOCOL
    from archsearch.bench.machine import describe
    from archsearch.bench.training import OURS, TRAINERS, Subject, measure
    from archsearch.canonical import readable
    from archsearch.cli import render
    from archsearch.errors import InputError
    from archsearch.protocol import Precision

    if precision not in get_args(Precision):
        raise InputError(
            f"--precision: got '{precision}'; must be one of {', '.join(get_args(Precision))}"
        )
    architecture = design_of(design, d_model)
    subjects = [
        Subject(
            architecture,
            wanted,
            batch or max(1, (tokens or PROTOCOL.batch_tokens) // wanted.length),
            cast("Precision", precision),
        )
        for wanted in cells_of(cell)
    ]
    if naive:  # one cell after another: the others' trainers take gigabytes
        found = [b for s in subjects for b in measure([s], trainers=TRAINERS, repeats=repeats)]
    else:
        found = measure(subjects, trainers=(OURS,), repeats=repeats)
    for result in found:
        for failure in result.failures:
            print(f"archsearch: warning: {result.cell}: {failure}", file=sys.stderr)
    if as_json:
        rows = [_as_dict(result) for result in found]
        settings = {"design": readable(architecture), "threads": 1, "repeats": repeats}
        settings["architecture"] = architecture.model_dump(mode="json")
        settings["precision"] = precision
        render.print_json({"machine": describe(), "settings": settings, "cells": rows})
        return
    _show(found, readable(architecture))


def _as_dict(result: TrainingBench) -> dict[str, Any]:
    shares = {"step_share": result.step_share, "head_share": result.head_share}
    trainers = [speed._asdict() for speed in result.trainers]
    return {**result._asdict(), "trainers": trainers, **shares}


def _show(found: list[TrainingBench], design: str) -> None:
    from archsearch.bench.training import NAIVE, NAIVE_LABELLED, OURS
    from archsearch.cli import render
    from archsearch.cli._text import Column, human, share

    columns = [
        Column("cell", text=True),
        Column("tokens/s"),
        Column("of naive"),
        Column("of labelled"),
        Column("useful FLOP/s", rank=1),
        Column("of GEMM", rank=1),
        Column("head", rank=2),
        Column("MiB", rank=1),
        Column("start", rank=4),
        Column("data", rank=4),
        Column("forward", rank=3),
        Column("loss", rank=3),
        Column("backward", rank=3),
        Column("optimizer", rank=3),
    ]
    table = []
    for result in found:
        ours = next((t for t in result.trainers if t.trainer == OURS), None)
        if ours is None:
            continue
        ratios = (result.ratios.get(name) for name in (NAIVE, NAIVE_LABELLED))
        table.append(
            (
                result.cell,
                human(ours.tokens_per_second),
                *("-" if ratio is None else f"{ratio:.1f}x" for ratio in ratios),
                human(ours.flops_per_second),
                share(result.step_share),
                share(result.head_share),
                f"{ours.peak_mebibytes:.0f}",
                f"{ours.start_milliseconds:.1f}",
                *(f"{ms:.1f}" for ms in ours.phase_milliseconds.values()),
            )
        )
    gemm = {k: max(r.gemm_flops_per_second[k] for r in found) for k in ("float32", "bfloat16")}
    peaks = ", ".join(f"{name} {human(rate, 'FLOP/s')}" for name, rate in gemm.items())
    render.print_table(
        columns, table, title=f"{design}, one thread; start and phases in milliseconds"
    )
    print(f"matrix products on this machine: {peaks}")

"""``archsearch bench training``: the speed of training steps."""

from __future__ import annotations

import sys
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from archsearch.cli._options import AsJson
from archsearch.cli.bench._options import (
    CellTexts,
    Repeats,
    Width,
    cells_of,
    design_of,
)

if TYPE_CHECKING:
    from archsearch.architecture import Architecture
    from archsearch.bench.training import Subject, TrainingBench
    from archsearch.protocol import Precision


def training(
    design: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|FILE",
            help="A sequence mixer, put behind a short convolution, or an exported design;"
            " attention unless given.",
            show_default=False,
        ),
    ] = None,
    d_model: Width = 64,
    cell: CellTexts = None,
    batch: Annotated[
        int | None,
        typer.Option(min=1, help="Sequences of a batch, instead of --tokens.", show_default=False),
    ] = None,
    tokens: Annotated[
        list[int] | None,
        typer.Option(
            min=4,
            max=2**24,
            help="Of a batch; 2,048, as in the shipped spaces, unless given.",
            show_default=False,
        ),
    ] = None,
    precision: Annotated[
        str, typer.Option(metavar="auto|float32|bfloat16", help="Of matrix products.")
    ] = "auto",
    naive: Annotated[
        bool, typer.Option(help="Also run the straightforward trainers (up to 10 GB of memory).")
    ] = True,
    repeats: Repeats = 5,
    as_json: AsJson = False,
) -> None:
    """Time training steps beside a straightforward trainer and the machine's matrix products.

    Cells and batches of a design take turns; so do the trainers.
    """
    from archsearch import protocol
    from archsearch.bench.machine import describe
    from archsearch.bench.training import OURS, TRAINERS, measure
    from archsearch.cli import render
    from archsearch.errors import InputError

    allowed = get_args(protocol.Precision)
    if precision not in allowed:
        raise InputError(f"--precision: got '{precision}'; must be one of {', '.join(allowed)}")
    if batch is not None and tokens:
        raise InputError("--batch and --tokens: both say how large a batch is; give one of them")
    found: list[TrainingBench] = []
    for architecture in [design_of(text, d_model) for text in design or ["attention"]]:
        subjects = _subjects(architecture, cell, batch, tokens, cast("Precision", precision))
        if naive:  # one after another: the others' trainers take gigabytes
            for subject in subjects:
                found += measure([subject], trainers=TRAINERS, repeats=repeats)
        else:
            found += measure(subjects, trainers=(OURS,), repeats=repeats)
    for result in found:
        for failure in result.failures:
            print(f"archsearch: warning: {result.cell}: {failure}", file=sys.stderr)
    if as_json:
        rows = [_as_dict(result) for result in found]
        designs = {_in_full(r.architecture): r.architecture.model_dump(mode="json") for r in found}
        settings = {"threads": 1, "repeats": repeats, "precision": precision, "designs": designs}
        render.print_json({"machine": describe(), "settings": settings, "cells": rows})
        return
    for _, results in groupby(found, key=lambda result: result.architecture.digest):
        _show(list(results))


def _subjects(
    architecture: Architecture,
    cells: list[str] | None,
    batch: int | None,
    tokens: list[int] | None,
    precision: Precision,
) -> list[Subject]:
    from archsearch.bench._subjects import PROTOCOL
    from archsearch.bench.training import Subject

    return [
        Subject(architecture, cell, batch or max(1, size // cell.length), precision)
        for cell in cells_of(cells)
        for size in tokens or [PROTOCOL.batch_tokens]
    ]


def _as_dict(result: TrainingBench) -> dict[str, Any]:
    shares = {"step_share": result.step_share, "head_share": result.head_share}
    trainers = [speed._asdict() for speed in result.trainers]
    return {
        "design": _in_full(result.architecture),
        **{key: value for key, value in result._asdict().items() if key != "architecture"},
        "trainers": trainers,
        **shares,
    }


def _in_full(architecture: Architecture) -> str:
    """With what a short name leaves out where it is usual."""
    from archsearch.canonical import readable

    channels = ", ".join(dict.fromkeys(block.channel.name for block in architecture.blocks))
    return (
        f"{readable(architecture)}; channel mixer {channels}, {architecture.norm},"
        f" position {architecture.position}"
    )


def _show(found: list[TrainingBench]) -> None:
    from archsearch.bench.training import NAIVE, NAIVE_LABELLED
    from archsearch.cli import render
    from archsearch.cli._text import Column, human, share

    columns = [
        Column("cell", text=True),
        Column("batch", rank=2),
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
        ours = result.ours
        if ours is None:
            continue
        ratios = (result.ratios.get(name) for name in (NAIVE, NAIVE_LABELLED))
        table.append(
            (
                result.cell,
                f"{result.batch_tokens:,}",
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
    title = f"{_in_full(found[0].architecture)}; one thread, start and phases in milliseconds"
    render.print_table(columns, table, title=title)
    print(f"matrix products on this machine: {peaks}")

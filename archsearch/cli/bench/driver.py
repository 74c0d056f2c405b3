"""``archsearch bench driver``: a long campaign in virtual time; do its workers wait?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from archsearch.cli._options import AsJson


def driver(
    file: Annotated[
        Path, typer.Argument(metavar="SPACE", help="A campaign file.", show_default=False)
    ],
    sampler: Annotated[str, typer.Option(help="Name of the sampler.")] = "surrogate",
    workers: Annotated[int, typer.Option(min=1, max=100_000, help="Virtual workers.")] = 1000,
    trials: Annotated[int, typer.Option(min=1, help="Trained trials.")] = 10_000,
    trial_seconds: Annotated[
        float, typer.Option(min=0.001, help="A worker's time for all runs of a trial.")
    ] = 300.0,
    as_json: AsJson = False,
) -> None:
    """Drive a campaign whose workers need no time, and say how long they would have waited."""
    from archsearch.bench import driver as bench
    from archsearch.bench.machine import describe
    from archsearch.cli import render
    from archsearch.cli._text import Column, share
    from archsearch.samplers import samplers
    from archsearch.space import load

    samplers.get(sampler)
    load(file)  # what is wrong with either is the user's to mend
    found = bench.measure(bench.Load(str(file), sampler, workers, trials, trial_seconds))
    if as_json:
        row = {
            **found._asdict(),
            "load": found.load._asdict(),
            "parts": [part._asdict() for part in found.parts],
            "growth": found.growth,
        }
        render.print_json({"machine": describe(), "driver": row})
        return
    columns = [Column("trials"), Column("ms a trial")]
    table = [(f"{part.trials:,}", f"{part.milliseconds:.0f}") for part in found.parts]
    render.print_table(columns, table, title="what a trial takes of the driver, along the campaign")
    print(
        f"{sampler}, {workers:,} workers, {trials:,} trials of {found.trial_seconds:.0f} s: workers"
        f" waited {share(found.idle)} of their time until the last trial was asked"
    )
    print(
        f"driver: {found.driver_seconds:,.0f} s of {found.virtual_seconds:,.0f} s,"
        f" {found.peak_bytes / 2**20:,.0f} MiB; study: {found.study_bytes / 2**20:,.0f} MiB;"
        f" {found.proposals:,} proposals"
    )

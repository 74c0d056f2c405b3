"""``archsearch bench scaling``: throughput of workers, and what the orchestration costs."""

from __future__ import annotations

from typing import Annotated

import typer

from archsearch.cli._options import AsJson
from archsearch.cli.bench._options import Repeats


def scaling(
    steps: Annotated[int, typer.Option(min=2, help="Of a training run, 21 to 43 ms each.")] = 1400,
    repeats: Repeats = 5,
    as_json: AsJson = False,
) -> None:
    """Time training runs, empty requests and empty trials on one worker and on two."""
    from archsearch.bench.machine import describe
    from archsearch.bench.scaling import measure
    from archsearch.cli import render
    from archsearch.cli._text import Column, share

    found = measure(steps=steps, repeats=repeats)
    if as_json:
        settings = {"steps": steps, "repeats": repeats}
        rows = [{**row._asdict(), "turns": [turn._asdict() for turn in row.turns]} for row in found]
        render.print_json({"machine": describe(), "settings": settings, "executors": rows})
        return
    columns = [
        Column("executor", text=True),
        Column("workers"),
        Column("runs/min"),
        Column("seconds a run", rank=2),
        Column("speed-up"),
        Column("overhead", rank=1),
        Column("without tail", rank=2),
        Column("requests/s"),
        Column("ms a trial"),
    ]
    table = [
        (
            row.executor,
            str(row.workers),
            f"{row.runs_per_minute:.1f}",
            f"{row.run_seconds:.1f}",
            f"{row.speedup:.2f}x",
            share(row.overhead),
            share(row.overhead_without_tail),
            f"{row.requests_per_second:.0f}",
            f"{row.trial_milliseconds:.0f}",
        )
        for row in found
    ]
    render.print_table(columns, table, title="training runs, empty requests, empty trials")

"""``archsearch bench search``: compare ways to search, on a recorded space."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from archsearch.cli._options import AsJson

if TYPE_CHECKING:
    from collections.abc import Sequence

    from archsearch.bench.search_summary import Ratio, Summary
    from archsearch.bench.simulation import Method


def search(
    directory: Annotated[
        Path,
        typer.Argument(
            metavar="TABLE", help="A folder that 'bench tabular' has filled.", show_default=False
        ),
    ],
    out: Annotated[
        Path,
        typer.Argument(
            metavar="RESULTS",
            help="Results, as JSON lines; goes on with what is there.",
            show_default=False,
        ),
    ],
    seeds: Annotated[int, typer.Option(min=0, help="Campaigns of each method; 0 only shows.")] = 20,
    workers: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Virtual workers; 2 and 8 unless given.", show_default=False),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SAMPLER/RATES/RULE",
            help="Such as structural/race/front or random/all/none; a fixed list unless given.",
            show_default=False,
        ),
    ] = None,
    processes: Annotated[int, typer.Option(min=1, help="Campaigns at a time.")] = 1,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw the shares found over time; PNG, SVG or PDF.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Simulate campaigns on a recorded space: when does each method find its front?"""
    from archsearch.bench import search as bench
    from archsearch.bench._processes import Lost
    from archsearch.bench.search_summary import summarise
    from archsearch.bench.table import load_table
    from archsearch.cli import render
    from archsearch.cli._figure_file import check_path
    from archsearch.errors import InputError

    if plot is not None:
        check_path(plot)
    methods = [_method(text) for text in method] if method else list(bench.METHODS)
    table = load_table(directory)
    if not table.card.complete:
        missing = table.card.expected - table.card.runs
        raise InputError(
            f"{directory}: {missing:,} runs are missing; record them with"
            f" 'archsearch bench tabular {directory}'"
        )
    for found in bench.study(
        directory, methods, out, workers=workers or (2, 8), seeds=seeds, processes=processes
    ):
        if isinstance(found, Lost):
            print(f"a campaign was lost: {found.reason}", file=sys.stderr)
        else:
            time = "never" if found.seconds is None else f"{found.seconds:.0f} s"
            where = f"{found.workers} workers, seed {found.seed}"
            print(f"{found.method}, {where}: {time}", file=sys.stderr)
    outcomes = bench.read(out, table)
    rows = summarise(outcomes)
    if as_json:
        render.print_json([{**row._asdict(), "method": str(row.method)} for row in rows])
    else:
        _show(rows)
    if plot is not None:
        from archsearch.cli.bench._search_figure import draw

        draw(plot, outcomes, table.card.name)


def _method(text: str) -> Method:
    """The method that a text stands for.

    Raises:
        InputError: It stands for none.
    """
    from archsearch.bench.simulation import Method
    from archsearch.campaign.stopping import rules
    from archsearch.errors import InputError
    from archsearch.samplers import samplers

    parts = text.split("/")
    known = (samplers.names(), ("race", "all", "drawn"), rules.names())
    if len(parts) != len(known):
        raise InputError(f"--method: got '{text}'; must be SAMPLER/RATES/RULE")
    for part, names in zip(parts, known, strict=True):
        if part not in names:
            raise InputError(f"--method {text}: got '{part}'; must be one of {', '.join(names)}")
    if parts[1] != "race" and parts[2] != "none":
        raise InputError(f"--method {text}: only a race has rungs to stop at; use none")
    return Method(*parts)


def _show(rows: Sequence[Summary]) -> None:
    from archsearch.cli import render
    from archsearch.cli._text import Column, share

    columns = [
        Column("workers"),
        Column("seconds to 95%"),
        Column("interval", rank=4, text=True),
        Column("than random"),
        Column("interval", rank=5, text=True),
        Column("than tpe"),
        Column("interval", rank=5, text=True),
        Column("came there", rank=2),
        Column("trials", rank=6),
        Column("saved", rank=1),
        Column("interval", rank=5, text=True),
        Column("by stops", rank=3),
        Column("stopped", rank=6),
        Column("wrongly", rank=1),
        Column("interval", rank=4, text=True),
        Column("members stopped", rank=3),
        Column("method", text=True),
    ]
    table = [
        (
            str(row.workers),
            "-" if row.seconds is None else f"{row.seconds:,.0f}",
            _between(row.low, row.high, "{:,.0f}"),
            *(text for ratio in row.against for text in _times(ratio)),
            f"{row.reached} of {row.seeds}",
            f"{row.evaluated:.0f}",
            share(row.saved.value),
            f"{share(row.saved.low)} to {share(row.saved.high)}",
            share(row.saved_by_stops.value) if row.stopped else "-",
            f"{row.stopped:,}",
            share(row.wrongful / row.stopped if row.stopped else None),
            _wrongly(row),
            f"{row.members_stopped} of {row.members}" if row.stopped else "-",
            str(row.method),
        )
        for row in rows
    ]
    render.print_table(
        columns,
        table,
        title="virtual time to 95% of the table's hypervolume; than random, tpe: with full runs",
    )


def _wrongly(row: Summary) -> str:
    """The 95 % interval of the share of wrongful stops, those of all campaigns together."""
    from archsearch.campaign.estimates import wilson
    from archsearch.cli._text import share

    if not row.stopped:
        return "-"
    low, high = wilson(row.wrongful, row.stopped)
    return f"{share(low)} to {share(high)}"


def _times(ratio: Ratio | None) -> tuple[str, str]:
    """How much sooner, and the interval of it."""
    if ratio is None:
        return "-", "-"
    return f"{ratio.value:.1f}x", _between(ratio.low, ratio.high, "{:.1f}")


def _between(low: float | None, high: float | None, form: str) -> str:
    if low is None:
        return "-"
    return f"{form.format(low)} to " + ("-" if high is None else form.format(high))

"""``archsearch bench tabular``: record a small space completely."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from archsearch.cli._options import AsJson

if TYPE_CHECKING:
    from archsearch.bench.table import Card
    from archsearch.bench.tabular import RunRow


def tabular(
    directory: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="Holds space.yaml; the table is made there.", show_default=False
        ),
    ],
    workers: Annotated[int, typer.Option(min=0, help="Runs at a time; 0 only shows DIR.")] = 1,
    limit: Annotated[
        int | None,
        typer.Option(min=1, metavar="RUNS", help="Stop after so many.", show_default=False),
    ] = None,
    pack: Annotated[
        bool, typer.Option("--pack", help="Write the table even if runs are missing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train every design of a space at several rates and seeds, and write the table."""
    from archsearch.bench import tabular as bench
    from archsearch.cli import render

    if (card := _recorded(directory)) is not None:
        packed, failed = True, 0
    else:
        plan = bench.plan_of(directory)
        names = {design.key: design.design for design in plan.designs}
        runs = bench.record(plan, directory, workers=workers, limit=limit) if workers else ()
        for row in runs:
            print(f"{names[row.key]} {_progress(row)}", file=sys.stderr)
        rows = bench.read(plan, directory)
        card = bench.card_of(plan, rows)
        packed = pack or (card.complete and workers > 0)
        if packed:
            card = bench.pack(plan, directory)
        failed = bench.failures(rows)
    if as_json:
        state = {"complete": card.complete, "packed": packed, "failed": failed}
        render.print_json({**state, **card.model_dump(mode="json")})
        return
    _show(card)
    if failed:
        print(f"{failed:,} runs failed and are taken up again by the next call")
    if packed:
        missing = "" if card.complete else f" ({card.expected - card.runs:,} runs are missing)"
        print(f"table: {directory}{missing}")


def _recorded(directory: Path) -> Card | None:
    """The card of a complete table whose journal is gone: there is nothing left to run."""
    from archsearch.bench.table import CARD, load_table
    from archsearch.bench.tabular import JOURNAL

    if (directory / JOURNAL).exists() or not (directory / CARD).is_file():
        return None
    card = load_table(directory).card
    return card if card.complete else None


def _progress(row: RunRow) -> str:
    scores = " ".join(f"{value:.3f}" for value in row.accuracy)
    end = f"{row.outcome} at step {row.step}, {row.cpu_seconds:.1f} CPU s"
    return f"at {row.learning_rate:g}, seed {row.seed}: {scores or row.detail} ({end})"


def _show(card: Card) -> None:
    from archsearch.bench._table_text import families_text, members_by_family
    from archsearch.cli import render
    from archsearch.cli._text import Column, accuracy, duration, human

    mean = card.cpu_seconds / max(1, card.runs)
    by_family = ", ".join(f"{n} {name}" for name, n in members_by_family(card.front).items())
    pairs = [
        ("designs", f"{card.designs:,} of {card.assignments:,} assignments"),
        ("runs", f"{card.runs:,} of {card.expected:,}"),
        ("CPU time", f"{duration(card.cpu_seconds)}, {mean:.1f} s a run"),
        ("on the clock", f"{duration(card.seconds)}, summed over the runs"),
        ("convolutions only", accuracy(card.convolutions_only)),
        ("front", f"{len(card.front)} members" + (f": {by_family}" if by_family else "")),
    ]
    render.print_block(card.name, pairs)
    if not card.front:
        return
    columns = [
        Column("score"),
        Column("FLOPs"),
        Column("rate", rank=1),
        Column("families", rank=2, text=True),
        Column("design", text=True),
    ]
    table = [
        (
            accuracy(m.score),
            human(m.flops),
            f"{m.learning_rate:g}",
            families_text(m.families),
            m.design,
        )
        for m in card.front
    ]
    render.print_table(columns, table, title=f"front, priced at {card.priced_at:,} tokens")

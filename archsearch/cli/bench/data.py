"""``archsearch bench data``: the speed of the generator."""

from __future__ import annotations

from archsearch.cli._options import AsJson
from archsearch.cli.bench._options import BatchTokens, CellTexts, Repeats, cells_of


def data(
    cell: CellTexts = None,
    tokens: BatchTokens = None,
    repeats: Repeats = 5,
    as_json: AsJson = False,
) -> None:
    """Time the generator of training data, cell by cell."""
    from archsearch.bench._subjects import PROTOCOL
    from archsearch.bench.data import measure
    from archsearch.bench.machine import describe
    from archsearch.cli import render
    from archsearch.cli._text import Column, human

    tokens = tokens or PROTOCOL.batch_tokens
    found = list(measure(cells_of(cell), batch_tokens=tokens, repeats=repeats))
    if as_json:
        settings = {"batch_tokens": tokens, "repeats": repeats, "fillers": "random"}
        rows = [row._asdict() for row in found]
        render.print_json({"machine": describe(), "settings": settings, "cells": rows})
        return
    columns = [Column("cell", text=True), Column("sequences/s"), Column("tokens/s")]
    table = [
        (row.cell, human(row.sequences_per_second), human(row.tokens_per_second)) for row in found
    ]
    render.print_table(columns, table, title=f"batches of {tokens:,} tokens, one core")

"""``archsearch table``: a campaign's trials for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from archsearch.cli._options import Directory

_SUFFIXES = {
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
}


def table(
    directory: Directory,
    as_csv: Annotated[
        bool,
        typer.Option(
            "--csv", help="Comma-separated values; usual, where FILE's suffix says no other."
        ),
    ] = False,
    as_jsonl: Annotated[bool, typer.Option("--jsonl", help="A JSON object a line.")] = False,
    as_parquet: Annotated[
        bool, typer.Option("--parquet", help="Apache Parquet, by pyarrow; needs --out.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File to write; by default to the terminal.")
    ] = None,
) -> None:
    """Print every trial and reference as a row: design, price, scores, how it ended."""
    from archsearch.campaign.reading import read
    from archsearch.cli._out_file import check_file, format_of, write_file
    from archsearch.cli._table_text import parquet, text_of
    from archsearch.errors import InputError

    flags = {"csv": as_csv, "jsonl": as_jsonl, "parquet": as_parquet}
    asked = [name for name, is_asked in flags.items() if is_asked]
    if len(asked) > 1:
        raise InputError("--csv, --jsonl and --parquet exclude each other; give one")
    if as_parquet and out is None:
        raise InputError("--parquet writes no text; give --out FILE")
    kind = format_of(out, asked[0] if asked else None, _SUFFIXES, "csv")
    if out is not None:
        check_file(out)
    found = read(directory).table()
    data = parquet(found) if kind == "parquet" else text_of(found, as_jsonl=kind == "jsonl")
    if out is None:
        print(data, end="")
        return
    write_file(out, data)
    print(out)

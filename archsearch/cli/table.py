"""``archsearch table``: a campaign's trials for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from archsearch.cli._options import Directory


def table(
    directory: Directory,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Comma-separated values (default).")
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
    from archsearch.cli._table_text import parquet, text_of
    from archsearch.errors import InputError, StoreError
    from archsearch.files import write_atomically

    if as_csv + as_jsonl + as_parquet > 1:
        raise InputError("--csv, --jsonl and --parquet exclude each other; give one")
    if as_parquet and out is None:
        raise InputError("--parquet writes no text; give --out FILE")
    found = read(directory).table()
    data = parquet(found) if as_parquet else text_of(found, as_jsonl=as_jsonl).encode()
    if out is None:
        print(data.decode(), end="")
        return
    try:
        write_atomically(out, data)
    except OSError as error:
        raise StoreError(f"{out}: cannot be written ({error.strerror})") from None
    print(out)

"""``archsearch report``: a campaign as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from archsearch.cli._options import Directory


def report(
    directory: Directory,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="By default DIR/report.html.")
    ] = None,
) -> None:
    """Write one self-contained HTML page: front, curves, capacity, growth, time, decisions."""
    from archsearch.campaign.reading import read
    from archsearch.errors import InputError, StoreError
    from archsearch.files import write_atomically
    from archsearch.report import page_of

    path = out or directory / "report.html"
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--out: got '{path}'; must end in .html")
    page = page_of(read(directory))
    try:
        write_atomically(path, page)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror})") from None
    print(path)

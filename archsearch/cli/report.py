"""``archsearch report``: a campaign as one HTML page, or as figures for papers."""

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
    static: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write figures for papers there, and no page."),
    ] = None,
    formats: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="Of the figures; png,svg,pdf unless given."),
    ] = None,
) -> None:
    """Write one self-contained HTML page: front, curves, capacity, growth, time, decisions."""
    from archsearch.campaign.reading import read
    from archsearch.cli._out_file import check_file, check_folder, write_file
    from archsearch.errors import InputError

    if static is not None:
        from archsearch.cli._static import FORMATS, formats_of, write_figures

        if out is not None:
            raise InputError("--out is the page's and --static is the figures'; give one")
        check_folder(static)
        kinds = FORMATS if formats is None else formats_of(formats)
        for written in write_figures(read(directory), static, kinds):
            print(written)
        return
    if formats is not None:
        raise InputError("--formats is of figures; give --static FOLDER, too")
    from archsearch.report import page_of

    path = out or directory / "report.html"
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--out: got '{path}'; must end in .html")
    reading = read(directory)
    check_file(path)
    write_file(path, page_of(reading))
    print(path)

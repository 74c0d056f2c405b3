"""``archsearch front``: the designs that no other beats at their price."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from archsearch.cli._options import AsJson, Directory


def front(
    directory: Directory,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also draw the front to a .png, .svg or .pdf file."),
    ] = None,
    with_dominated: Annotated[
        bool, typer.Option("--all", help="List the designs that were trained and beaten, too.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show the designs that none beats in accuracy and price."""
    from archsearch.campaign.reading import read
    from archsearch.cli import render
    from archsearch.cli._figure_file import check_path

    if plot is not None:
        check_path(plot)
    reading = read(directory)
    campaign, found = reading.campaign, reading.front
    if plot is not None:
        from archsearch.cli.figure import plot_front

        plot_front(found, plot, campaign.file.title or campaign.file.name)
    if as_json:
        body = found.model_dump(mode="json")
        if not with_dominated:
            del body["dominated"]
        render.print_json({"campaign": campaign.file.name, "n_max": campaign.n_max, **body})
        return
    render.print_front(found, with_dominated=with_dominated, n_max=campaign.n_max)
    if plot is not None:
        render.print_line(f"picture: {plot}")

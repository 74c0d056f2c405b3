"""``archsearch export``: write designs as files of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="The campaign's folder.", show_default=False)
    ],
    pick: Annotated[
        str | None,
        typer.Option(help="A member of the front: knee (default), best or cheapest."),
    ] = None,
    trial: Annotated[int | None, typer.Option(help="A trial by its number.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every member of the front.")] = False,
    format_name: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="yaml, json, pytorch, huggingface, fla, zoology or bibtex; by default what the"
            " suffix of --out says, else yaml.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write (folder with --all); by default DIR/exports/..."),
    ] = None,
    weights: Annotated[
        bool, typer.Option("--weights", help="Add the trained weights as safetensors.")
    ] = False,
    verify: Annotated[
        bool, typer.Option(help="Rebuild the design from what was written, and compare.")
    ] = True,
) -> None:
    """Write the best designs as self-contained files."""
    import sys

    from archsearch.campaign.config import Campaign
    from archsearch.campaign.exports import export_record, file_name, picked
    from archsearch.campaign.front import front_of
    from archsearch.cli._out_file import check_folder, export_format
    from archsearch.errors import InputError
    from archsearch.exporters import exporters
    from archsearch.storage import read_confirmations, read_records

    if sum((pick is not None, trial is not None, every)) > 1:
        raise InputError("--pick, --trial and --all exclude each other; give one")
    format_name = export_format(None if every else out, format_name)
    if out is not None:
        check_folder(out if every else out.parent)
    exporter = exporters.get(format_name)
    campaign = Campaign.open(directory)
    records = read_records(campaign.storage_url, campaign.settings.study)
    confirmations = read_confirmations(campaign.storage_url, campaign.settings.study)
    by_number = {r.number: r for r in records}
    if every:
        numbers = [m.number for m in front_of(campaign, records, confirmations).members]
        if not numbers:
            raise InputError(f"{directory}: the front is empty; there is nothing to export")
    elif trial is not None:
        if trial not in by_number:
            known = f"{min(by_number)} to {max(by_number)}" if by_number else "none"
            raise InputError(f"--trial: got {trial}; the campaign's trials are {known}")
        numbers = [trial]
    else:
        numbers = [picked(front_of(campaign, records, confirmations), pick or "knee")]
    unverified = set()
    for number in numbers:
        record = by_number[number]
        target = out / file_name(record, format_name) if out is not None and every else out
        made = export_record(
            campaign,
            record,
            format_name,
            target,
            confirmations=confirmations,
            weights=weights,
            verify=verify,
        )
        print(made.path)
        if made.unverified is not None:
            unverified.add(made.unverified)
    for line in (*sorted(unverified), *exporter.hints(has_weights=weights)):
        # beside the list of what was written, which programs read
        print(line, file=sys.stderr)

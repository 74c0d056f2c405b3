"""``archsearch confirm``: train the front again with fresh seeds."""

from __future__ import annotations

from typing import Annotated

import typer

from archsearch.cli._options import (
    Address,
    CpusPerTrial,
    Device,
    Directory,
    ExecutorName,
    GpusPerTrial,
    Workers,
)


def confirm(
    directory: Directory,
    executor: ExecutorName = "ray",
    workers: Workers = None,
    address: Address = None,
    cpus_per_trial: CpusPerTrial = 1,
    gpus_per_trial: GpusPerTrial = 0.0,
    device: Device = "auto",
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=100,
            help="Fresh seeds for each design; by default the campaign's number, or 3.",
        ),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="Another number of minutes in all.")
    ] = None,
) -> None:
    """Train front, near-members and references again, until it is clear who is on the front."""
    from archsearch.cli import _session
    from archsearch.errors import InputError
    from archsearch.space.schema import DEFAULT_CONFIRM_SEEDS

    campaign = _session.reopened(directory)
    if not campaign.has_begun:
        raise InputError(
            f"{directory}: nothing was trained yet; begin with 'archsearch resume {directory}'"
        )
    how = _session.launch_options(
        executor=executor,
        workers=workers,
        address=address,
        cpus_per_trial=cpus_per_trial,
        gpus_per_trial=gpus_per_trial,
        device=device,
    )
    # kept, so that a later 'resume' confirms what it adds on the same terms
    changes: dict[str, object] = {
        "confirm_seeds": seeds or campaign.settings.confirm_seeds or DEFAULT_CONFIRM_SEEDS
    }
    if minutes is not None:
        changes["confirm_minutes"] = minutes
    raise typer.Exit(_session.confirm(campaign, how, changes))

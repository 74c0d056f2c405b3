"""``archsearch run``: start a campaign."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from archsearch.cli._options import (
    Address,
    CpusPerTrial,
    Device,
    ExecutorName,
    GpusPerTrial,
    Workers,
)


def run(
    file: Annotated[Path, typer.Argument(help="The campaign file (YAML).", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(help="New folder for the results; by default results/<name>-<NNN>."),
    ] = None,
    executor: ExecutorName = "ray",
    workers: Workers = None,
    address: Address = None,
    cpus_per_trial: CpusPerTrial = 1,
    gpus_per_trial: GpusPerTrial = 0.0,
    device: Device = "auto",
    trials: Annotated[
        int | None, typer.Option(min=1, help="Designs to train; replaces the file's number.")
    ] = None,
    time_budget: Annotated[
        float | None, typer.Option(min=0.01, help="Minutes; replaces the file's budget.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**53, help="Replaces the file's seed.")
    ] = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            help="Replaces the file's: surrogate, structural, tpe, nsga2, gp, portfolio or random."
        ),
    ] = None,
    stopping: Annotated[
        str | None, typer.Option(help="Replaces the file's stopping rule: front, asha or none.")
    ] = None,
    references: Annotated[
        str | None,
        typer.Option(help="Widths of the reference designs: default or all; replaces the file's."),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(help="SQLAlchemy URL of the study; by default study.db in the folder."),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Say what would be searched and at what price; train nothing."
        ),
    ] = False,
) -> None:
    """Search a space: train designs, price them, keep the front."""
    from archsearch.cli import _session
    from archsearch.space import load

    campaign_file = load(file)
    how = _session.launch_options(
        executor=executor,
        workers=workers,
        address=address,
        cpus_per_trial=cpus_per_trial,
        gpus_per_trial=gpus_per_trial,
        device=device,
    )
    settings = _session.settings(
        campaign_file,
        trials=trials,
        time_budget_minutes=time_budget,
        seed=seed,
        sampler=sampler,
        stopping=stopping,
        reference_widths=references,
        storage=storage,
    )
    from archsearch.campaign.preview import preview
    from archsearch.cli.space import show_preview

    chosen = _session.with_settings(campaign_file, settings)
    if dry_run:
        _session.warn_of_calibration(chosen, file, out)
        show_preview(chosen, workers=1 if executor == "serial" else workers)
        return
    for warning in preview(chosen, num_examples=0).warnings:
        _session.warn(warning)
    _session.warn_of_calibration(chosen, file, out)
    raise typer.Exit(_session.begin(campaign_file, settings, how, out))

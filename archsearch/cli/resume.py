"""``archsearch resume``: continue a campaign that was stopped or killed."""

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


def resume(
    directory: Directory,
    executor: ExecutorName = "ray",
    workers: Workers = None,
    address: Address = None,
    cpus_per_trial: CpusPerTrial = 1,
    gpus_per_trial: GpusPerTrial = 0.0,
    device: Device = "auto",
    trials: Annotated[
        int | None, typer.Option(min=1, help="Another number of designs to train in all.")
    ] = None,
    time_budget: Annotated[
        float | None, typer.Option(min=0.01, help="Another number of minutes in all.")
    ] = None,
) -> None:
    """Continue a campaign: finished trials stay, running ones are taken up again."""
    from archsearch.campaign.reading import read
    from archsearch.campaign.standing import split
    from archsearch.cli import _session
    from archsearch.errors import InputError

    campaign = _session.reopened(directory)
    problems = []
    if time_budget is not None and campaign.settings.lag is not None:
        problems.append(_session.UNTIMED)
    if trials is not None:
        done = sum(r.outcome.was_evaluated for r in split(read(directory).records)[1])
        if trials < done:
            problems.append(f"--trials: got {trials}; {done} are done already: give {done} or more")
    if problems:
        raise InputError(problems)
    how = _session.launch_options(
        executor=executor,
        workers=workers,
        address=address,
        cpus_per_trial=cpus_per_trial,
        gpus_per_trial=gpus_per_trial,
        device=device,
    )
    changes = {
        key: value
        for key, value in {"trials": trials, "time_budget_minutes": time_budget}.items()
        if value is not None
    }
    raise typer.Exit(_session.go_on(campaign, how, changes))

"""``archsearch calibrate``: whether the cells and the budget of a space tell designs apart."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from archsearch.cli._options import (
    RESULTS,
    Address,
    AsJson,
    CpusPerTrial,
    Device,
    ExecutorName,
    GpusPerTrial,
    Workers,
)

if TYPE_CHECKING:
    from archsearch.campaign.calibration.plan import CalibrationPlan
    from archsearch.campaign.calibration.records import Calibration, CalibrationRow
    from archsearch.campaign.launch import LaunchOptions


def calibrate(
    file: Annotated[Path, typer.Argument(help="The campaign file (YAML).", show_default=False)],
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
            help="Of each design at each rate; by default as many as there are, or 2.",
            show_default=False,
        ),
    ] = None,
    results: Annotated[
        Path, typer.Option(metavar="DIR", help="Where 'run' keeps its campaigns.")
    ] = RESULTS,
    show: Annotated[
        bool, typer.Option("--show", help="Show what is known so far; train nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train the reference designs: do these cells and this budget tell designs apart?"""
    from archsearch.campaign.calibrate import folder_of, read_calibration, read_runs
    from archsearch.campaign.calibration.conclude import conclude
    from archsearch.campaign.calibration.plan import DEFAULT_SEEDS, plan_of
    from archsearch.cli import _session
    from archsearch.errors import InputError, StoreError
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
    plan = plan_of(campaign_file)
    folder = folder_of(plan, results)
    try:
        kept = read_calibration(folder)
    except StoreError as error:
        # it follows from the runs, and is made again from them
        _session.warn(error.problems[0])
        kept = None
    plan = plan._replace(seeds=seeds or (kept.seeds if kept else DEFAULT_SEEDS))
    again = _command(file, plan, results)
    code = 0
    if show and not read_runs(plan, folder):
        raise InputError(f"{file}: never calibrated; leave out --show to begin")
    if not show and (kept is None or kept.seeds < plan.seeds):
        code = _make(plan, folder, how, again, to_stderr=as_json)
    parallel = 1 if executor == "serial" else workers
    # what depends on the space beyond its protocol, such as the number of trials, is said anew
    found = conclude(plan, read_runs(plan, folder), workers=parallel)
    _print(found, folder, as_json=as_json)
    if code == 0 and not show and not found.complete:
        _complain(found, again)
    raise typer.Exit(code)


def _make(
    plan: CalibrationPlan, folder: Path, how: LaunchOptions, again: str, *, to_stderr: bool
) -> int:
    """Makes what is missing; returns the exit code."""
    from archsearch.campaign.calibrate import calibrate as make
    from archsearch.campaign.progress import EndKind
    from archsearch.cli import _session

    stream = sys.stderr if to_stderr else sys.stdout
    ending, received = _session.carried_out(
        f"calibration {folder}",
        lambda display, stop, install: make(plan, folder, how, display, stop, on_started=install),
        stream,
    )
    print(f"{ending.kind.value}: {ending.reason}", file=stream)
    if ending.kind not in (EndKind.DRAINED, EndKind.CANCELLED):
        return 0
    print(f"continue: {again}", file=stream)
    return _session.exit_code(received)


def _command(file: Path, plan: CalibrationPlan, results: Path) -> str:
    """What goes on with a calibration."""
    from archsearch.campaign.calibrate import calibrate_command
    from archsearch.campaign.calibration.plan import DEFAULT_SEEDS

    command = calibrate_command(file)
    if plan.seeds != DEFAULT_SEEDS:
        command += f" --seeds {plan.seeds}"
    if results != RESULTS:
        command += f" --results {shlex.quote(str(results))}"
    return command


def _complain(found: Calibration, again: str) -> None:
    from archsearch.errors import GoalNotMetError

    left = found.planned - found.runs
    raise GoalNotMetError(
        f"{left} of {found.planned} runs have no result, such as {found.failures[0]};"
        f" when that is mended: {again}"
    )


def _print(found: Calibration, folder: Path, *, as_json: bool) -> None:
    from archsearch.cli import render

    if as_json:
        render.print_json({"directory": str(folder), **found.model_dump(mode="json")})
        return
    _print_rates(found)
    _print_cells(found)
    render.print_line()
    pairs = []
    for finding in found.findings:
        change = f" -> {finding.proposal}" if finding.proposal else ""
        pairs.append((finding.check, f"{finding.verdict.value}: {finding.text}{change}"))
    pairs.append(("discriminates", _answer(found)))
    pairs.append(("kept in", str(folder)))
    render.print_block(f"calibration of {found.space}", pairs)


def _answer(found: Calibration) -> str:
    from archsearch.campaign.calibration.conclude import against

    if found.discriminates is None:
        return f"not known yet: {found.runs} of {found.planned} runs were made"
    if found.discriminates:
        return "yes: designs are told apart at these cells and this budget"
    return f"no: {', '.join(finding.check for finding in against(found.findings))}"


def _print_rates(found: Calibration) -> None:
    """Designs and rates: how good, how soon."""
    from archsearch.cli import render
    from archsearch.cli._text import Column, accuracy, duration

    columns = [
        Column("design", text=True),
        Column("rate"),
        Column("best", text=True, rank=1),
        Column("solved", rank=1),
        Column("accuracy"),
        Column("worst"),
        Column("steps", rank=2),
        Column("time", rank=3),
    ]
    rows = [
        (
            row.name,
            f"{row.learning_rate:g}",
            "*" if row.best else "",
            f"{row.solved} of {row.seeds}",
            accuracy(row.accuracy),
            accuracy(row.worst_cell),
            f"{sum(row.steps) / len(row.steps):.0f}",
            duration(row.seconds),
        )
        for row in found.rows
    ]
    render.print_table(columns, rows, title="means over the seeds; * the best rate, by validation")


def _print_cells(found: Calibration) -> None:
    """Accuracy cell by cell, each design at its best rate, beside what a window can reach."""
    from archsearch.campaign.calibration.plan import WINDOW
    from archsearch.campaign.references import CONV_ONLY
    from archsearch.cli import render
    from archsearch.cli._text import Column, accuracy

    best: dict[str, CalibrationRow] = {row.name: row for row in found.rows if row.best}
    shown = {"attention": found.yardstick, "conv": CONV_ONLY, "window": WINDOW}
    columns = [Column("cell", text=True), *map(Column, shown), Column("in reach")]
    rows = []
    for i, cell in enumerate(found.cells):
        values = [best[n].cell_accuracy[i] if n in best else None for n in shown.values()]
        rows.append((cell, *map(accuracy, values), accuracy(found.within_reach[i])))
    render.print_line()
    title = "accuracy at the best rate; the share of keys that the window reaches"
    render.print_table(columns, rows, title=title)

"""``archsearch explain``: which choices of the front's designs are necessary."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from archsearch.cli._options import (
    Address,
    AsJson,
    CpusPerTrial,
    Device,
    Directory,
    ExecutorName,
    GpusPerTrial,
    Workers,
)

if TYPE_CHECKING:
    from archsearch.campaign.explanation.plan import ExplainPlan
    from archsearch.campaign.explanation.records import EditRow, Explanation, MemberRow
    from archsearch.campaign.launch import LaunchOptions
    from archsearch.campaign.reading import Reading

_MOST_MOTIFS = 12
"""Listed on the terminal; ``--json`` has them all."""


def explain(
    directory: Directory,
    executor: ExecutorName = "ray",
    workers: Workers = None,
    address: Address = None,
    cpus_per_trial: CpusPerTrial = 1,
    gpus_per_trial: GpusPerTrial = 0.0,
    device: Device = "auto",
    minutes: Annotated[
        float, typer.Option(min=0.01, help="After which no further run is begun.")
    ] = 30.0,
    seeds: Annotated[
        int, typer.Option(min=1, max=100, help="Of each design, as far as the time allows.")
    ] = 3,
    show: Annotated[
        bool, typer.Option("--show", help="Show what is known so far; train nothing.")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw what the edits cost; PNG, SVG or PDF.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Take something away from the front's designs, or move it, and see what that costs."""
    from archsearch.campaign.explain import explanation_of
    from archsearch.campaign.explanation.plan import plan_of
    from archsearch.campaign.reading import read
    from archsearch.cli import _session, render
    from archsearch.cli._figure_file import check_path

    if plot is not None:
        check_path(plot)
    reading = read(directory)
    plan = plan_of(reading, seeds=seeds, minutes=minutes)
    how = _session.launch_options(
        executor=executor,
        workers=workers,
        address=address,
        cpus_per_trial=cpus_per_trial,
        gpus_per_trial=gpus_per_trial,
        device=device,
    )
    code = 0 if show else _make(reading, plan, how, to_stderr=as_json)
    found = explanation_of(reading, plan)
    if as_json:
        render.print_json(found.model_dump(mode="json"))
    else:
        _print(found)
    if plot is not None:
        from archsearch.cli._explain_figure import draw

        draw(plot, found)
        print(f"picture: {plot}", file=sys.stderr if as_json else sys.stdout)
    raise typer.Exit(code)


def _make(reading: Reading, plan: ExplainPlan, how: LaunchOptions, *, to_stderr: bool) -> int:
    """Trains what is missing; returns the exit code."""
    from archsearch.campaign.explain import explain as make
    from archsearch.campaign.explain import folder_of
    from archsearch.campaign.progress import EndKind, Stop
    from archsearch.cli import _session
    from archsearch.cli.render import LiveProgress

    stream = sys.stderr if to_stderr else sys.stdout
    stop, display = Stop(), LiveProgress(stream=stream)
    display.event(f"explanation {folder_of(reading)}")
    received: list[int] = []
    try:
        with _session.signals(stop, received) as install:
            ending = make(reading, plan, how, display, stop, on_started=install)
    finally:
        display.close()
    print(f"{ending.kind.value}: {ending.reason}", file=stream)
    if ending.kind not in (EndKind.DRAINED, EndKind.CANCELLED):
        return 0
    command = f"archsearch explain {shlex.quote(str(reading.campaign.directory))}"
    print(f"continue: {command}", file=stream)
    return _session.exit_code(received)


def _print(found: Explanation) -> None:
    from archsearch.cli import render
    from archsearch.cli._text import duration

    for member in found.members:
        _print_member(member)
        render.print_line()
    _print_importances(found)
    _print_motifs(found)
    left = found.planned - found.runs
    pairs = [
        ("runs", f"{found.runs} of {found.planned}, up to {found.seeds} seeds of each design"),
        ("trained", f"{duration(found.seconds)}, all workers together"),
    ]
    if left:
        pairs.append(("to go on", "call it again; what is there is kept"))
    pairs += [("failed", problem) for problem in found.failures]
    render.print_block("explanation", pairs)


def _print_member(member: MemberRow) -> None:
    from archsearch.cli import render
    from archsearch.cli._text import Column, accuracy, human

    columns = [
        Column("edit", text=True),
        Column("layer", rank=3),
        Column("FLOPs"),
        Column("accuracy"),
        Column("change"),
        Column("interval", text=True, rank=1),
        Column("per 10% saved", rank=2),
        Column("seeds", rank=4),
        Column("effect", text=True),
    ]
    rows = [
        (
            f"{row.kind.value}: {row.text}",
            str(row.layer),
            f"{row.flops_ratio:.2f}x",
            accuracy(row.accuracy),
            _signed(row.change),
            "" if row.low is None else f"{_signed(row.low)} to {_signed(row.high)}",
            _signed(row.per_tenth and -row.per_tenth),
            str(row.seeds),
            row.effect.value,
        )
        for row in member.edits
    ]
    render.print_line(
        f"trial {member.number}, {human(member.flops, 'FLOPs')}, accuracy"
        f" {accuracy(member.accuracy)}: {member.design}"
    )
    render.print_table(columns, rows)
    render.print_line(lesson(member), faint=True)


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.3f}"


def lesson(member: MemberRow) -> str:
    """What a member's edits teach, in a sentence or two."""
    by_effect = {
        effect: [row for row in member.edits if row.effect.value == effect]
        for effect in ("needed", "spare", "gain", "unclear", "unknown")
    }
    parts = []
    if by_effect["needed"]:
        parts.append(f"needed: {_listed(by_effect['needed'])}")
    if by_effect["spare"]:
        parts.append(f"can be changed at no cost: {_listed(by_effect['spare'])}")
    if by_effect["gain"]:
        parts.append(f"better with it: {_listed(by_effect['gain'])}")
    open_ones = len(by_effect["unclear"]) + len(by_effect["unknown"])
    if open_ones:
        parts.append(f"{open_ones} of {len(member.edits)} edits are not clear yet")
    return "; ".join(parts)


def _listed(rows: Sequence[EditRow]) -> str:
    return ", ".join(f"{row.kind.value} {row.layer} ({row.text})" for row in rows)


def _print_importances(found: Explanation) -> None:
    from archsearch.cli import render
    from archsearch.cli._text import Column, share

    if not found.importances:
        return
    rows = [(i.name, share(i.share)) for i in found.importances if i.share >= 0.005]
    columns = [Column("parameter", text=True), Column("importance")]
    render.print_table(
        columns, rows, title="what decides who comes near the front (conditional PED-ANOVA)"
    )
    render.print_line()


def _share_text(value: float, interval: tuple[float, float]) -> str:
    from archsearch.cli._text import share

    return f"{share(value)} ({share(interval[0])} to {share(interval[1])})"


def _print_motifs(found: Explanation) -> None:
    from archsearch.cli import render
    from archsearch.cli._text import Column

    if not found.motifs:
        return
    rows = [
        (
            m.text,
            _share_text(m.front_share, m.front_interval),
            _share_text(m.dominated_share, m.dominated_interval),
            "*" if m.is_telling else "",
        )
        for m in found.motifs[:_MOST_MOTIFS]
    ]
    columns = [
        Column("motif", text=True),
        Column("on the front"),
        Column("dominated"),
        Column("", text=True, rank=1),
    ]
    title = (
        f"motifs of {found.front_size} members and {found.dominated_size} dominated designs,"
        " 95 % intervals; * apart"
    )
    render.print_table(columns, rows, title=title)
    render.print_line()

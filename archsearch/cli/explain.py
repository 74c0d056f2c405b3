"""``archsearch explain``: which choices of the front's designs are necessary."""

from __future__ import annotations

import shlex
import sys
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
        int | None,
        typer.Option(
            min=1,
            max=100,
            help="Of each design, as far as the time allows; as many as there are, or 3.",
            show_default=False,
        ),
    ] = None,
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
    from archsearch.campaign.explain import explanation_of, seeds_of
    from archsearch.campaign.explanation.plan import DEFAULT_SEEDS, plan_of
    from archsearch.campaign.reading import read
    from archsearch.cli import _session, render
    from archsearch.cli._figure_file import check_path
    from archsearch.errors import GoalNotMetError

    if plot is not None:
        check_path(plot)
    reading = read(directory)
    seeds = seeds or max(DEFAULT_SEEDS, seeds_of(reading))
    plan = plan_of(reading, seeds=seeds, minutes=minutes)
    how = _session.launch_options(
        executor=executor,
        workers=workers,
        address=address,
        cpus_per_trial=cpus_per_trial,
        gpus_per_trial=gpus_per_trial,
        device=device,
    )
    code, failed = 0, ""
    if show:
        found = explanation_of(reading, plan)
    else:
        code, failed, found = _make(reading, plan, how, to_stderr=as_json)
    if as_json:
        render.print_json(found.model_dump(mode="json"))
    else:
        _print(found)
    if plot is not None:
        from archsearch.cli._explain_figure import draw

        draw(plot, found)
        print(f"picture: {plot}", file=sys.stderr if as_json else sys.stdout)
    if failed:
        raise GoalNotMetError(f"{failed}; when that is mended: {_command(plan, directory)}")
    raise typer.Exit(code)


def _command(plan: ExplainPlan, directory: Path) -> str:
    """What goes on with an explanation."""
    words = f"--minutes {plan.minutes:g} --seeds {plan.seeds}"
    return f"archsearch explain {shlex.quote(str(directory))} {words}"


def _make(
    reading: Reading, plan: ExplainPlan, how: LaunchOptions, *, to_stderr: bool
) -> tuple[int, str, Explanation]:
    """Trains what is missing; returns the exit code, why runs failed, and what is known."""
    from archsearch.campaign.explain import explain as make
    from archsearch.campaign.explain import folder_of
    from archsearch.campaign.progress import EndKind
    from archsearch.cli import _session

    stream = sys.stderr if to_stderr else sys.stdout
    (ending, found), received = _session.carried_out(
        f"explanation {folder_of(reading)}",
        lambda display, stop, install: make(reading, plan, how, display, stop, on_started=install),
        stream,
    )
    print(f"{ending.kind.value}: {ending.reason}", file=stream)
    if ending.kind not in (EndKind.DRAINED, EndKind.CANCELLED):
        return 0, ending.reason if ending.kind is EndKind.ABORTED else "", found
    print(f"continue: {_command(plan, reading.campaign.directory)}", file=stream)
    return _session.exit_code(received), "", found


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
    pairs.append(("intervals", "each of its own: 1 in 20 of what changes nothing lies outside"))
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
            _signed(row.per_tenth) + _bracketed(row.per_tenth_interval),
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


def _bracketed(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f" ({_signed(interval[0])} to {_signed(interval[1])})"


_NEEDED = {
    "drop": "layer {layer}",
    "swap": "{before} in layer {layer}",
    "halve": "{before} in layer {layer}",
    "move": "the place of {before} in layer {layer}",
}
_SPARE = {
    "drop": "layer {layer}",
    "swap": "{before} in layer {layer}",
    "halve": "half of {before} in layer {layer}",
    "move": "the place of {before} in layer {layer}",
}
"""What an edit takes away, by its kind."""


def lesson(member: MemberRow) -> str:
    """What a member's edits teach, in a sentence or two."""
    parts = []
    for effect, title, words in (
        ("needed", "needs", _NEEDED),
        ("spare", "does not need", _SPARE),
    ):
        rows = [row for row in member.edits if row.effect.value == effect]
        if rows:
            parts.append(f"{title}: {', '.join(_taken(row, words) for row in rows)}")
    gains = [
        f"{row.kind.value} {row.layer} ({row.text})" for row in member.edits if row.effect == "gain"
    ]
    if gains:
        parts.append(f"better by: {', '.join(gains)}")
    open_ones = sum(row.effect.value in ("unclear", "unknown") for row in member.edits)
    if open_ones:
        parts.append(f"{open_ones} of {len(member.edits)} edits are not clear yet")
    return "; ".join(parts)


def _taken(row: EditRow, words: dict[str, str]) -> str:
    before = row.text.split(" -> ")[0].removeprefix("without ").split(" one layer ")[0]
    return words[row.kind.value].format(before=before, layer=row.layer)


def _print_importances(found: Explanation) -> None:
    from archsearch.cli import render
    from archsearch.cli._text import Column

    if not found.importances:
        return
    rows = [
        (i.name, _share_text(i.share, i.interval)) for i in found.importances if i.share >= 0.005
    ]
    columns = [Column("parameter", text=True), Column("importance", text=True)]
    render.print_table(
        columns, rows, title="what decides who comes near the front (conditional PED-ANOVA)"
    )
    render.print_line(
        "in brackets two standard errors either way, by which trials were drawn; few trials make"
        " shares too even",
        faint=True,
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

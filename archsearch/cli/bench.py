"""``archsearch bench``: measure this machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archsearch.cli._options import AsJson

if TYPE_CHECKING:
    from archsearch.bench.mixers import MixerBench
    from archsearch.bench.recall import RecallRow

bench = typer.Typer()


@bench.callback(invoke_without_command=True)
def _bench(context: typer.Context) -> None:
    """Measure the speed and the recall of mixers on this machine."""
    if context.invoked_subcommand is None:
        print(context.get_help())


Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NAME]...", help="Mixers; all unless given.", show_default=False),
]


@bench.command("mixers")
def mixers(
    names: Names = None,
    repeats: Annotated[int, typer.Option(min=1, max=1000, help="Timed passes per length.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Time each mixer forwards and backwards, beside full attention."""
    from archsearch.bench.machine import describe
    from archsearch.bench.mixers import D_MODEL, LENGTHS, TOKENS, measure
    from archsearch.cli import render
    from archsearch.errors import InputError
    from archsearch.mixers import specs

    chosen = names or [name for name in specs if not specs.get(name).skipped]
    idle = [name for name in chosen if specs.get(name).skipped]
    if idle:
        raise InputError([f"'{name}' computes nothing that could be timed" for name in idle])
    found = []
    for result in measure(chosen, repeats=repeats):
        found.append(result)
        figures = ", ".join(f"{t.length}: {t.milliseconds:.1f} ms" for t in result.timings)
        print(f"{result.name} ({len(found)} of {len(chosen)}): {figures}", file=sys.stderr)
        for failure in result.failures:
            print(f"archsearch: warning: {result.name}, {failure}", file=sys.stderr)
    if as_json:
        settings = {
            "d_model": D_MODEL,
            "tokens": TOKENS,
            "lengths": list(LENGTHS),
            "threads": 1,
            "repeats": repeats,
            "dtype": "float32",
        }
        rows = [r._asdict() | {"timings": [t._asdict() for t in r.timings]} for r in found]
        render.print_json({"machine": describe(), "settings": settings, "mixers": rows})
        return
    _show(found)


def _show(found: list[MixerBench]) -> None:
    from archsearch.bench.mixers import D_MODEL, LENGTHS, TOKENS
    from archsearch.cli import render
    from archsearch.cli._text import Column

    columns = [
        Column("mixer", text=True),
        Column("growth", rank=2, text=True),
        *(Column(f"N={length}", rank=1 if length in LENGTHS[1:-1] else 0) for length in LENGTHS),
        Column("exponent"),
        Column(f"vs attn at {LENGTHS[0]}"),
        Column(f"at {LENGTHS[-1]}"),
        Column("peak MiB", rank=3),
    ]
    rows = [_row(result) for result in found]
    title = f"milliseconds forward + backward of {TOKENS:,} tokens, d = {D_MODEL}, one thread"
    render.print_table(columns, rows, title=title)


def _row(result: MixerBench) -> tuple[str, ...]:
    from archsearch.bench.mixers import LENGTHS

    by_length = {timing.length: timing for timing in result.timings}

    def figure(length: int, name: str, form: str) -> str:
        timing: Any = by_length.get(length)
        return "-" if timing is None else form.format(getattr(timing, name))

    return (
        result.name,
        result.growth,
        *(figure(length, "milliseconds", "{:.1f}") for length in LENGTHS),
        "-" if result.time_exponent is None else f"{result.time_exponent:.2f}",
        figure(LENGTHS[0], "vs_attention", "{:.2f}x"),
        figure(LENGTHS[-1], "vs_attention", "{:.3f}x"),
        f"{max((t.peak_mebibytes for t in result.timings), default=0.0):.0f}",
    )


@bench.command("recall")
def recall(
    out: Annotated[
        Path, typer.Argument(metavar="FILE", help="JSON lines; runs that it holds are kept.")
    ],
    mixer: Annotated[
        list[str] | None,
        typer.Option(help="A mixer to train; all unless given.", show_default=False),
    ] = None,
    rate: Annotated[
        list[float] | None,
        typer.Option(help="A learning rate; 1e-3, 3e-3 and 1e-2 unless given.", show_default=False),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Budget of a run.")] = 600,
    seed: Annotated[int, typer.Option(min=0, help="Of weights and data.")] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Runs at a time; 0 only shows FILE.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Train each sequence mixer behind a short convolution on MQAR."""
    from archsearch.bench import recall as study
    from archsearch.cli import render
    from archsearch.errors import InputError
    from archsearch.mixers import specs

    problems = [
        f"--rate: got {given:g}; must be above 0 and at most 10"
        for given in rate or ()
        if not 0 < given <= 10
    ]
    unfit = [name for name in mixer or () if specs.get(name).kind != "sequence"]
    problems += [f"--mixer: '{name}' is no sequence mixer" for name in unfit]
    if problems:
        raise InputError(problems)
    if workers:
        rows = study.study(
            study.subjects(mixer),
            out,
            rates=rate or study.RATES,
            steps=steps,
            seed=seed,
            workers=workers,
        )
        for row in rows:
            print(_progress(row), file=sys.stderr)
    found = study.read(out)
    if as_json:
        render.print_json([row._asdict() for row in found])
    else:
        _show_recall(found)


def _progress(row: RecallRow) -> str:
    scores = " ".join(f"{value:.3f}" for value in row.accuracy)
    end = f"{row.outcome} at step {row.step}, {row.seconds:.0f} s"
    return f"{row.mixer} at {row.learning_rate:g}: {scores or row.detail} ({end})"


def _show_recall(rows: list[RecallRow]) -> None:
    from archsearch.bench.recall import CELLS, best, mean
    from archsearch.cli import render
    from archsearch.cli._text import Column, accuracy, human

    winners = best(rows)
    cells = [f"({length},{pairs})" for length, pairs in CELLS]
    columns = [
        Column("mixer", text=True),
        Column("rate"),
        *(Column(cell) for cell in cells),
        Column("step", rank=2),
        Column("seconds", rank=3),
        Column("FLOPs", rank=1),
        Column("state", rank=1),
        Column("growth", rank=1, text=True),
    ]
    ordered = sorted(rows, key=lambda r: (-mean(winners[r.mixer]), r.mixer, r.learning_rate))
    table = [
        (
            row.mixer,
            f"{row.learning_rate:g}{'*' if winners[row.mixer] is row else ''}",
            *(map(accuracy, row.accuracy) if row.accuracy else [row.outcome] * len(cells)),
            str(row.step),
            f"{row.seconds:.0f}",
            human(row.flops),
            human(row.state_floats),
            row.growth,
        )
        for row in ordered
    ]
    render.print_table(columns, table, title="accuracy by cell; * the mixer's best rate")

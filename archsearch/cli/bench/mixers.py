"""``archsearch bench mixers``: the speed of each mixer."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archsearch.cli._options import AsJson

if TYPE_CHECKING:
    from archsearch.bench.mixers import MixerBench

Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NAME]...", help="Mixers; all unless given.", show_default=False),
]


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

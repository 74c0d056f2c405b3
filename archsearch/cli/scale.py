"""``archsearch scale``: a small design's pattern at a target size, priced beside full attention."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archsearch.cli._options import AsJson

if TYPE_CHECKING:
    from archsearch.architecture import Architecture
    from archsearch.exporters.base import ArchitectureFile, Source
    from archsearch.tasks.mqar import MQARConfig

_VERIFIED_PARAMS = 30_000_000
"""Up to so many an export is rebuilt and compared, which takes eight copies of the weights."""


def scale(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="ARCH", help="A file that 'archsearch export' wrote.", show_default=False
        ),
    ],
    params: Annotated[
        float | None, typer.Option(min=1, help="Parameters to reach, without embedding and head.")
    ] = None,
    flops: Annotated[
        float | None,
        typer.Option(min=1, help="FLOPs to reach: forward, of a sequence of the tested length."),
    ] = None,
    depth: Annotated[int | None, typer.Option(min=1, max=512, help="Blocks; with --width.")] = None,
    width: Annotated[
        int | None, typer.Option(min=1, max=65536, help="Width of the stream; with --depth.")
    ] = None,
    method: Annotated[
        str,
        typer.Option(help="stack repeats the pattern of blocks, stretch each block in place."),
    ] = "stack",
    vocab_size: Annotated[
        int | None, typer.Option(min=8, help="Tokens of the vocabulary; by default the task's.")
    ] = None,
    max_length: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=2**24,
            help="Longest sequence that the network is built for; by default the task's longest.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Also write the large design, without weights.")
    ] = None,
    format_name: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="Its format: yaml, json, pytorch, huggingface, fla, zoology or bibtex; by default"
            " what the suffix of --out says, else yaml.",
        ),
    ] = None,
    verify: Annotated[
        bool | None,
        typer.Option(
            "--verify/--no-verify",
            help="Rebuild the design from what was written, and compare; by default up to 30 M"
            " parameters.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Extrapolate a small design to a target size, and price it at lengths from 2k to 128k."""
    import sys

    from archsearch.cli._out_file import check_folder, export_format
    from archsearch.exporters import exporters, read, write

    exporter = exporters.get(export_format(out, format_name))
    if out is not None:
        check_folder(out.parent)
    small = read(file)
    length = small.task.longest_test_length
    built_length = _built_length(small, max_length)
    large = _scaled(small, params, flops, depth, width, method, built_length)
    described = _described(small, large, vocab_size, built_length)
    facts = {
        "before": _facts(small),
        "after": _facts(described),
        "method": method,
        "lengths_before": _lengths(small.architecture),
        "lengths": _lengths(large),
    }
    verified, unverified = _is_verified(described, verify), None
    if out is not None:
        unverified = write(described, exporter, out, verify=verified)
        for line in exporter.hints(has_weights=False):
            print(line, file=sys.stderr)
    if as_json:
        from archsearch.cli.render import print_json

        how = {} if out is None else {"verified": verified, "unverified": unverified}
        print_json({**facts, "written": None if out is None else str(out), **how})
        return
    _show(facts, length)
    if out is not None:
        why = "too large to be rebuilt and compared here; --verify does it all the same"
        aside = unverified if verified else "not compared" if verify is False else why
        print(f"{out} ({aside})" if aside else out)


def _is_verified(large: ArchitectureFile, verify: bool | None) -> bool:
    """Whether the large design is rebuilt and compared: as asked, or if it is small enough."""
    if verify is not None:
        return verify
    assert large.price is not None
    return large.price.params + (large.price.embedding_params or 0) <= _VERIFIED_PARAMS


def _built_length(small: ArchitectureFile, max_length: int | None) -> int:
    """Tokens of the longest sequence that the large network is built for."""
    from archsearch.errors import InputError

    if max_length is None:
        return small.built_length
    if max_length < small.task.longest_length:
        raise InputError(
            f"--max-length: got {max_length}; must be at least {small.task.longest_length}, the"
            " longest sequence of the task"
        )
    return max_length


def _scaled(
    small: ArchitectureFile,
    params: float | None,
    flops: float | None,
    depth: int | None,
    width: int | None,
    method: str,
    built_length: int,
) -> Architecture:
    from archsearch import scaling
    from archsearch.errors import InputError, suggestion

    for option, target in (("--params", params), ("--flops", flops)):
        if target is not None and not math.isfinite(target):
            raise InputError(f"{option}: got {target}; must be a finite number, such as 350e6")

    chosen = next((known for known in scaling.METHODS if known == method), None)
    if chosen is None:
        hint = suggestion(method, scaling.METHODS)
        raise InputError(f"--method: got '{method}'; must be stack or stretch{hint}")
    design, task = small.architecture, small.task
    shape = depth is not None or width is not None
    if (params is not None) + (flops is not None) + shape != 1:
        raise InputError("give one target: --params, --flops, or --depth with --width")
    if params is not None:
        return scaling.of_size(design, params, scaling.params_of(built_length), chosen)
    if flops is not None:
        return scaling.of_size(design, flops, scaling.flops_of(task.longest_test_length), chosen)
    if depth is None or width is None:
        raise InputError("--depth and --width belong together; give both")
    return scaling.scaled(design, depth=depth, d_model=width, method=chosen)


def _described(
    small: ArchitectureFile, large: Architecture, vocab_size: int | None, built_length: int
) -> ArchitectureFile:
    """The large design as it is exported: with its price, without results and weights."""
    from archsearch.costs import price

    task = small.task if vocab_size is None else _with_vocabulary(small.task, vocab_size)
    n_max = task.longest_test_length
    return small.model_copy(
        update={
            "architecture": large,
            "digest": large.digest,
            "task": task,
            "price": price(large, n_max, vocab_size=task.vocab_size, max_length=built_length),
            "max_length": None if built_length == task.longest_length else built_length,
            "accuracy": None,
            "test": (),
            "fresh_seeds": None,
            "weights": None,
            "source": None if small.source is None else _scaled_source(small),
        }
    )


def _scaled_source(small: ArchitectureFile) -> Source:
    """Of a large design: the small one, which was found."""
    assert small.source is not None
    trial = f"{small.source.trial} (scaled from {small.digest})"
    return small.source.model_copy(update={"trial": trial})


def _with_vocabulary(task: MQARConfig, size: int) -> MQARConfig:
    from pydantic import ValidationError

    from archsearch.errors import InputError

    try:
        return type(task).model_validate_json(
            task.model_copy(update={"vocab_size": size}).model_dump_json()
        )
    except ValidationError as error:
        reason = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise InputError(f"--vocab-size: {reason}") from None


def _facts(file: ArchitectureFile) -> dict[str, Any]:
    from archsearch.costs import embedding_params, price
    from archsearch.scaling import in_short

    design = file.architecture
    cost = price(design, file.task.longest_test_length, max_length=file.built_length)
    return {
        "design": in_short(design),
        "digest": file.digest,
        "d_model": design.d_model,
        "depth": len(design.blocks),
        "max_length": file.built_length,
        "params": cost.params,
        "embedding_params": embedding_params(design, file.task.vocab_size),
        "growth": cost.growth_text,
        "flops": cost.flops,
        "state_floats": cost.state_floats,
    }


def _lengths(design: Architecture) -> list[dict[str, int]]:
    from archsearch.scaling import compared

    return [row._asdict() for row in compared(design)]


def _show(facts: dict[str, Any], length: int) -> None:
    from archsearch.cli import render
    from archsearch.cli._text import Column, human

    before, after = facts["before"], facts["after"]
    rows = [
        (label, form(before[key]), form(after[key]))
        for label, key, form in (
            ("width", "d_model", str),
            ("depth", "depth", str),
            ("longest sequence", "max_length", "{:,}".format),
            ("parameters", "params", human),
            ("embedding", "embedding_params", human),
            (f"FLOPs at N = {length:,}", "flops", human),
            ("state", "state_floats", human),
        )
    ]
    rows.append(("growth", before["growth"], after["growth"]))
    render.print_line(f"before: {before['design']}")
    render.print_line(f"after:  {after['design']}")
    render.print_line()
    render.print_table([Column("", text=True), Column("before"), Column("after")], rows)
    render.print_line()
    _show_lengths("before", facts["lengths_before"])
    render.print_line()
    _show_lengths("after", facts["lengths"])


def _show_lengths(which: str, rows: list[dict[str, int]]) -> None:
    from archsearch.cli import render
    from archsearch.cli._text import Column, human, ratio

    render.print_table(
        [Column(f"N, {which}"), Column("FLOPs"), Column("full attention"), Column("ratio"),
         Column("state"), Column("its state", rank=1)],
        [
            (
                f"{row['length']:,}",
                human(row["flops"]),
                human(row["attention_flops"]),
                ratio(row["flops"] / row["attention_flops"]),
                human(row["state_floats"]),
                human(row["attention_state_floats"]),
            )
            for row in rows
        ],
        title="beside full attention of its width and depth",
    )  # fmt: skip

"""``archsearch space``: look at a campaign file before it is run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archsearch.cli._options import AsJson

if TYPE_CHECKING:
    from collections.abc import Mapping

    from archsearch.campaign.preview import Preview, Priced, TimeEstimate
    from archsearch.space import CampaignFile


def space(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="The campaign file (YAML).", show_default=False),
    ] = None,
    samples: Annotated[int, typer.Option(min=0, max=1000, help="Sampled designs to list.")] = 5,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of campaign files for editors.")
    ] = False,
    no_estimate: Annotated[
        bool, typer.Option("--no-estimate", help="Do not time any training step.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check a campaign file: its designs, prices and time."""
    from archsearch.cli import render
    from archsearch.errors import InputError
    from archsearch.space import json_schema, load

    if schema:
        render.print_json(json_schema())
        return
    if file is None:
        raise InputError("missing argument 'FILE'; give a campaign file, or --schema")
    campaign_file = load(file)
    show_preview(campaign_file, num_examples=samples, estimate=not no_estimate, as_json=as_json)


def show_preview(
    file: CampaignFile,
    *,
    num_examples: int = 5,
    estimate: bool = True,
    as_json: bool = False,
    workers: int | None = None,
) -> None:
    """Prints what a campaign would search, and at what price; trains a few steps to time them.

    Raises:
        InputError: No design is feasible.
    """
    import sys

    from archsearch.campaign.preview import estimate_time, preview
    from archsearch.cli import render

    found = preview(file, num_examples=num_examples)
    for warning in found.warnings:
        print(f"archsearch: warning: {warning}", file=sys.stderr)
    if as_json:
        times = estimate_time(file, found, workers=workers) if estimate else None
        render.print_json(_facts(file, found, times))
        return
    render.print_block(file.title or file.name, _pairs(file, found))
    if found.refusals:
        _show_refusals(found)
    _show_designs("sampled designs", {str(i): p for i, p in enumerate(found.examples, 1)}, "sample")
    _show_designs("reference designs", found.references, "reference")
    if estimate:
        render.print_line()
        render.print_line("timing a few training steps of three designs ...", faint=True)
        render.print_block(
            "time on this machine", _time_pairs(estimate_time(file, found, workers=workers))
        )


def _facts(file: CampaignFile, found: Preview, times: TimeEstimate | None) -> dict[str, Any]:
    from archsearch.canonical import readable

    def listed(priced: Priced) -> dict[str, Any]:
        return {
            "design": readable(priced.design),
            "digest": priced.design.digest,
            "architecture": priced.design.model_dump(mode="json"),
            "price": priced.price.model_dump(mode="json"),
        }

    return {
        "name": file.name,
        "title": file.title,
        "digest": file.digest,
        "n_max": file.task.longest_test_length,
        # JSON has no infinity
        "size": found.size if math.isfinite(found.size) else None,
        "samples": found.num_samples,
        "feasible": found.num_feasible,
        "distinct": found.num_distinct,
        "refusals": [refusal._asdict() for refusal in found.refusals],
        "prices": {metric: spread._asdict() for metric, spread in found.spreads.items()},
        "growth": found.growth,
        "designs": [listed(priced) for priced in found.examples],
        "references": {name: listed(priced) for name, priced in found.references.items()},
        "warnings": list(found.warnings),
        "estimate": None if times is None else times._asdict(),
    }


def _pairs(file: CampaignFile, found: Preview) -> list[tuple[str, str]]:
    from archsearch.cli._text import human, share

    search = file.search
    size = f"{found.size:,}" if math.isfinite(found.size) else "infinite (a continuous parameter)"
    if math.isfinite(found.size) and found.size >= 10**12:
        size = f"{float(found.size):.3g}"
    budget = [f"{search.trials:,} trials"] if search.trials is not None else []
    if search.time_budget_minutes is not None:
        budget.append(f"{search.time_budget_minutes:g} minutes")
    pairs = [
        ("campaign", file.name),
        ("designs", size),
        (
            "feasible",
            f"{share(found.num_feasible / found.num_samples)} of {found.num_samples:,}"
            f" random designs ({found.num_distinct:,} different)",
        ),
        ("priced at", f"N = {file.task.longest_test_length:,}, the longest test"),
    ]
    names = {
        "flops": "FLOPs",
        "flops_executed": "executed FLOPs",
        "params": "parameters",
        "state_floats": "state",
    }
    for metric, spread in found.spreads.items():
        words = f"{human(spread.low)} to {human(spread.high)}, median {human(spread.median)}"
        pairs.append((names[metric], words))
    growth = ", ".join(f"{growth} ({count:,})" for growth, count in found.growth.items())
    pairs.append(("growth", growth))
    pairs.append(("search", f"{search.sampler}, {' or '.join(budget)}, seed {search.seed}"))
    return pairs


def _show_refusals(found: Preview) -> None:
    from archsearch.campaign.feasibility import INVALID
    from archsearch.cli import render
    from archsearch.cli._text import Column

    rows = [
        (
            "cannot be built" if r.constraint == INVALID else r.constraint,
            f"{r.refused:,}",
            f"{r.refused_alone:,}",
        )
        for r in found.refusals
    ]
    columns = [Column("constraint", text=True), Column("refuses"), Column("alone")]
    render.print_line()
    render.print_table(columns, rows, title="constraints, the tightest first")


def _show_designs(title: str, designs: Mapping[str, Priced], label: str) -> None:
    from archsearch.canonical import readable
    from archsearch.cli import render
    from archsearch.cli._text import Column, human

    if not designs:
        return
    columns = [
        Column(label, text=True),
        Column("FLOPs"),
        Column("growth", text=True),
        Column("params", rank=2),
        Column("state", rank=1),
        Column("design", text=True, below=True),
    ]
    rows = [
        (
            name,
            human(priced.price.flops),
            priced.price.growth_text,
            human(priced.price.params),
            human(priced.price.state_floats),
            readable(priced.design),
        )
        for name, priced in designs.items()
    ]
    render.print_line()
    render.print_table(columns, rows, title=title)


def _time_pairs(times: TimeEstimate) -> list[tuple[str, str]]:
    from archsearch.campaign.preview import CONTENDERS
    from archsearch.cli._text import count, duration

    cheap, median, dear = (duration(seconds) for seconds in times.trials)
    pairs = [
        ("a trial", f"about {median} (cheapest {cheap}, dearest {dear}); less if solved or stopped")
    ]
    if times.campaign is not None:
        pairs.append(
            (
                "campaign",
                f"about {duration(times.campaign)} with {count(times.workers, 'worker')},"
                f" {times.references} references included",
            )
        )
    if times.confirmation > 0:
        pairs.append(
            (
                "confirmation",
                f"then about {duration(times.confirmation)}, if {CONTENDERS} designs lie on the"
                " front or near it",
            )
        )
    return pairs

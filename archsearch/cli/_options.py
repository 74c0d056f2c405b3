"""Options and arguments that several commands share; only typer is imported."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RESULTS = Path("results")
"""Where campaigns and calibrations are kept."""

Directory = Annotated[
    Path, typer.Argument(metavar="DIR", help="The campaign's folder.", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]

ExecutorName = Annotated[
    str,
    typer.Option(
        "--executor", help="Where designs are trained: ray, or serial (one worker, no Ray)."
    ),
]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Trials at a time; by default what there is.")
]
Address = Annotated[
    str | None,
    typer.Option(
        help="A running Ray cluster to join, such as 10.0.0.1:6379;"
        " RAY_AUTH_TOKEN_PATH names the file of its token."
    ),
]
CpusPerTrial = Annotated[int, typer.Option(min=1, help="Processors of a trial.")]
GpusPerTrial = Annotated[float, typer.Option(min=0, help="Accelerators of a trial.")]
Device = Annotated[
    str,
    typer.Option(
        help="Where to train: auto (an accelerator if a trial has one), cpu, or as torch names it."
    ),
]

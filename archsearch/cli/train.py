"""``archsearch train``: build an exported design and train it under its campaign's protocol."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from archsearch.cli._options import Device

if TYPE_CHECKING:
    from archsearch.records import CellScore
    from archsearch.training import Run


def train(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="ARCH", help="A file that 'archsearch export' wrote.", show_default=False
        ),
    ],
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Another seed; by default the run of the campaign is repeated."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, max=10_000_000, help="Another budget of steps.")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(min=1e-9, max=10, help="Another learning rate.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of torch.")] = 1,
    device: Device = "auto",
    out: Annotated[
        Path | None, typer.Option(help="Where to write the weights (safetensors).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train one exported design and print its accuracy per cell."""
    import json
    import sys

    from archsearch.canonical import readable
    from archsearch.cli._out_file import check_file
    from archsearch.cli.render import print_table
    from archsearch.errors import GoalNotMetError, InputError
    from archsearch.exporters import read
    from archsearch.protocol import TrainingConfig
    from archsearch.records import EvaluationRequest, RunSeed

    if out is not None and out.suffix != ".safetensors":
        raise InputError(f"--out: got '{out}'; must end in .safetensors")
    if out is not None:
        check_file(out)
    described = read(file)
    changes = {
        key: value
        for key, value in {"steps": steps, "learning_rate": learning_rate}.items()
        if value is not None
    }
    training = TrainingConfig.model_validate(described.training.model_dump() | changes)
    request = EvaluationRequest(
        architecture=described.architecture,
        task=described.task,
        training=training,
        seed=described.seed if seed is None else RunSeed(campaign=seed),
        to_step=training.steps,
        threads=threads,
        device=device,
    )
    outcome, run, scores = _train(request, print_to=sys.stderr)
    if out is not None:
        from archsearch.training import save_weights

        save_weights(run.model, out)
    if as_json:
        result = {
            "outcome": outcome,
            "step": run.step,
            "digest": described.digest,
            "test": [score.model_dump(mode="json") for score in scores],
            "weights": None if out is None else str(out),
        }
        print(json.dumps(result, allow_nan=False))
    elif scores:
        print(readable(described.architecture))
        print(f"{outcome} after {run.step} steps")
        print_table(
            ("cell", "accuracy", "log-probability", "queries"),
            [
                (s.label, f"{s.accuracy:.4f}", f"{s.log_probability:.4f}", str(s.queries))
                for s in scores
            ],
        )
        if out is not None:
            print(f"weights: {out}")
    if not scores:
        raise GoalNotMetError(f"{file}: the run {outcome} at step {run.step}; try --learning-rate")


def _train(request, print_to) -> tuple[str, Run, tuple[CellScore, ...]]:  # type: ignore[no-untyped-def]
    import torch

    from archsearch.records import RunOutcome
    from archsearch.training import advance, start, test

    torch.set_num_threads(request.threads)
    run = start(request)
    outcome = RunOutcome.PAUSED
    while outcome is RunOutcome.PAUSED:
        outcome = advance(run, min(request.to_step, run.step + run.config.eval_every))
        if run.curve:
            point = run.curve[-1]
            cells = " ".join(f"{a:.3f}" for a in point.accuracy)
            print(
                f"step {point.step}: loss {point.train_loss:.4f}, validation {cells}", file=print_to
            )
    scores = () if outcome is RunOutcome.DIVERGED else test(run)
    return outcome.value, run, scores

"""The worker's whole world: a request in, an evaluation or a failure out; nothing is raised.

A rung is left as one directory: written aside, synced, renamed, with a manifest of SHA-256 sums. A
complete rung is taken as it stands, so that a request may safely be answered twice.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from archsearch._version import __version__
from archsearch.architecture import Architecture
from archsearch.costs import flops_at
from archsearch.device import resolve
from archsearch.errors import StoreError
from archsearch.files import sync
from archsearch.records import (
    Evaluation,
    EvaluationRequest,
    Failure,
    RunOutcome,
    seal,
    unseal,
)
from archsearch.training import Run, advance, restore, save, start, test

RESULT = "result.json"
CHECKPOINT = "checkpoint.safetensors"
MANIFEST = "manifest.json"


def evaluate(request: EvaluationRequest) -> Evaluation | Failure:
    """Advances one run to ``request.to_step``; scores it on the test stream if it ends there."""
    try:
        if request.directory is not None:
            finished = read_rung(Path(request.directory), request.key)
            if finished is not None:
                return finished
        torch.set_num_threads(request.threads)
        # an accelerator's driver reserves far more than it uses
        on_cpu = resolve(request.device).type == "cpu"
        with _memory_limit(request.memory_limit_bytes if on_cpu else None):
            return _evaluate(request)
    except MemoryError as error:
        return _out_of_memory(request, str(error))
    except Exception as error:  # noqa: BLE001  # the worker's boundary: everything becomes text
        if "can't allocate memory" in str(error) or "out of memory" in str(error):
            return _out_of_memory(request, str(error))
        return Failure.of(error)


def _evaluate(request: EvaluationRequest) -> Evaluation:
    began = time.monotonic()
    run = _begun(request)
    outcome = advance(run, request.to_step)
    scores = test(run) if outcome in (RunOutcome.SOLVED, RunOutcome.FINISHED) else ()
    if not all(math.isfinite(score.log_probability) for score in scores):
        # only test cells longer than those trained on can show this so late
        outcome, scores = RunOutcome.DIVERGED, ()
    evaluation = Evaluation(
        outcome=outcome,
        learning_rate=request.training.learning_rate,
        seed=request.seed,
        step=run.step,
        curve=tuple(run.curve),
        test=scores,
        seconds=time.monotonic() - began,
        train_flops=_train_flops(run, request.architecture),
        precision=str(run.dtype).removeprefix("torch."),
        detail=f"not finite at step {run.step}" if outcome is RunOutcome.DIVERGED else "",
        versions=versions(),
        node=platform.node(),
    )
    if request.directory is not None:
        _leave_rung(request, run, evaluation)
    return evaluation


def _begun(request: EvaluationRequest) -> Run:
    """The run as its last rung left it; from scratch where that rung is gone or damaged.

    A run is a function of its request: the second way only takes longer.
    """
    if request.checkpoint is not None and read_rung(Path(request.checkpoint)) is not None:
        return restore(request, Path(request.checkpoint) / CHECKPOINT)
    return start(request)


def versions() -> dict[str, str]:
    """What the numbers may depend on."""
    return {
        "archsearch": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


def _out_of_memory(request: EvaluationRequest, message: str) -> Evaluation:
    return Evaluation(
        outcome=RunOutcome.OOM,
        learning_rate=request.training.learning_rate,
        seed=request.seed,
        step=0,
        detail=message.splitlines()[0][:500] if message else "out of memory",
        versions=versions(),
        node=platform.node(),
    )


def _train_flops(run: Run, architecture: Architecture) -> float:
    """3 x forward (backward costs twice the forward pass), head at the labelled positions."""
    head = 2 * run.model.embedding.weight.numel()
    per_cell = {
        cell: flops_at(architecture, cell.length) + head * cell.pairs for cell in run.task.cells
    }
    total = 0.0
    for step in range(run.step):
        cell = run.data.cell_of(step)
        total += 3.0 * run.config.batch_sequences(cell.length) * per_cell[cell]
    return total


@contextmanager
def _memory_limit(limit_bytes: int | None) -> Iterator[None]:
    """Makes an allocation beyond the limit fail in this process, instead of ending a neighbour."""
    if limit_bytes is None:
        yield
        return
    import resource  # Unix only

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:
        limit_bytes = min(limit_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _leave_rung(request: EvaluationRequest, run: Run, evaluation: Evaluation) -> None:
    assert request.directory is not None
    directory = Path(request.directory)
    aside = directory.with_name(f"{directory.name}.tmp-{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    save(run, aside / CHECKPOINT, with_optimizer=evaluation.outcome is RunOutcome.PAUSED)
    (aside / RESULT).write_text(seal(evaluation))
    manifest = {name: file_sha256(aside / name) for name in (CHECKPOINT, RESULT)}
    manifest["request"] = request.key
    (aside / MANIFEST).write_text(json.dumps(manifest))
    for path in (*aside.iterdir(), aside):
        sync(path)
    shutil.rmtree(directory, ignore_errors=True)
    aside.rename(directory)
    sync(directory.parent)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_rung(directory: Path, request_key: str | None = None) -> Evaluation | None:
    """The evaluation of a complete rung; None if there is none, it is damaged or another's.

    Args:
        directory: Where the rung was left.
        request_key: ``EvaluationRequest.key`` of the request that it has to answer; None for any.
    """
    try:
        manifest = json.loads((directory / MANIFEST).read_text())
        if any(file_sha256(directory / name) != manifest[name] for name in (CHECKPOINT, RESULT)):
            return None
        if request_key is not None and manifest["request"] != request_key:
            return None
        return unseal(Evaluation, (directory / RESULT).read_text(), str(directory / RESULT))
    except (OSError, ValueError, KeyError, TypeError, StoreError):
        return None

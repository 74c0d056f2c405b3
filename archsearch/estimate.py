"""How long a training run takes on this machine: some steps are timed, the rest is proportion."""

from __future__ import annotations

import time
from collections import defaultdict

from archsearch.architecture import Architecture
from archsearch.costs import flops_at
from archsearch.protocol import TrainingConfig
from archsearch.records import EvaluationRequest, RunSeed
from archsearch.tasks.mqar import Cell, MQARConfig

_TIMED_CYCLES = 2
_FORWARD_SHARE = 1 / 3
"""Of a training step; the backward pass costs twice the forward one."""


def step_seconds(
    architecture: Architecture, task: MQARConfig, training: TrainingConfig
) -> dict[Cell, float]:
    """Seconds of a training step on each training cell, on one thread of this processor.

    Each cell is met once to warm up and ``_TIMED_CYCLES`` times to measure; the fastest counts, for
    other programs only ever make a step slower.
    """
    import torch

    from archsearch.training import start, train_step

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        request = EvaluationRequest(
            architecture=architecture,
            task=task,
            training=training,
            seed=RunSeed(campaign=0),
            to_step=training.steps,
        )
        run = start(request)
        taken: dict[Cell, list[float]] = defaultdict(list)
        # cells follow one another in cycles that hold each once
        for number in range((1 + _TIMED_CYCLES) * len(task.cells)):
            cell = run.data.cell_of(run.step)
            began = time.perf_counter()
            train_step(run)
            if number >= len(task.cells):
                taken[cell].append(time.perf_counter() - began)
    finally:
        torch.set_num_threads(threads)
    return {cell: min(taken[cell]) for cell in task.cells}


def trial_seconds(architecture: Architecture, task: MQARConfig, training: TrainingConfig) -> float:
    """Seconds of a run that spends its whole budget, validations and test included.

    A run that solves the task stops earlier.
    """
    measured = step_seconds(architecture, task, training)
    steps = training.steps * sum(measured.values()) / len(measured)
    num_validations = -(-training.steps // training.eval_every)

    def scored(cells: tuple[Cell, ...], queries: int) -> float:
        return sum(
            _forward_seconds(architecture, cell, queries, training, measured) for cell in cells
        )

    validation = scored(task.cells, training.validation_queries)
    return steps + num_validations * validation + scored(task.test_cells, training.test_queries)


def _forward_seconds(
    architecture: Architecture,
    cell: Cell,
    queries: int,
    training: TrainingConfig,
    measured: dict[Cell, float],
) -> float:
    """Of scoring so many queries: what the nearest measured length takes, by tokens and FLOPs."""
    near = min(measured, key=lambda c: (abs(c.length - cell.length), c.length))
    tokens = training.batch_sequences(near.length) * near.length
    scored = -(-queries // cell.pairs) * cell.length
    dearer = (flops_at(architecture, cell.length) / cell.length) / max(
        flops_at(architecture, near.length) / near.length, 1.0
    )
    return _FORWARD_SHARE * measured[near] * scored / tokens * max(dearer, 1.0)

"""One run of one design: start, advance by some steps, validate, test, save, restore.

A run is a function of its request: data are drawn by (seed, split, cell, index), so a restored run
goes on bit for bit as if it had not stopped (same device kind and thread count).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from archsearch.device import DeviceBatch, Feed, autocast, matmul_dtype, moved, resolve
from archsearch.errors import StoreError
from archsearch.loss import linear_cross_entropy, score_answers
from archsearch.model import HybridModel, build_model, initialise
from archsearch.protocol import SUCCESS_ACCURACY, TrainingConfig
from archsearch.records import (
    FRESH_RUNS,
    CellScore,
    CurvePoint,
    DistanceBin,
    EvaluationRequest,
    RunOutcome,
    RunSeed,
)
from archsearch.tasks.base import Batch, Split, accuracy_by_distance
from archsearch.tasks.mqar import Cell, MQARConfig

PHASES = ("data", "forward", "loss", "backward", "optimizer")
"""Of a training step; the head's part of the backward pass is computed with the loss."""

_ADAM_STATE = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Streams:
    """The seeds of one run, each for one purpose."""

    init: int
    data: int
    order: int
    held_out: int

    @classmethod
    def of(cls, seed: RunSeed) -> Streams:
        """Init, data and order differ by run, unless it is paired.

        Validation and test are the campaign's; those of its confirmations are others, as what the
        search chose by its test was chosen for its luck with that test, too.
        """
        # spawn keys are unsigned: references, numbered -1 downwards, take the odd places
        trial = 2 * seed.trial if seed.trial >= 0 else -2 * seed.trial - 1
        run = 0 if seed.paired else seed.run
        own = np.random.SeedSequence(seed.campaign, spawn_key=(1, trial, run))
        init, data, order = (int(s) for s in own.generate_state(3, np.uint64))
        fresh = seed.run >= FRESH_RUNS
        shared = np.random.SeedSequence(seed.campaign, spawn_key=(0, 1) if fresh else (0,))
        return cls(init % 2**63, data, order, int(shared.generate_state(1, np.uint64)[0]))


def rate_at(step: int, config: TrainingConfig) -> float:
    """Learning rate of a step: linear warm-up, then a cosine to zero at the full budget."""
    warmup = max(1, round(config.warmup_fraction * config.steps))
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, config.steps - warmup)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


@lru_cache(maxsize=8)
def _cell_order(seed: int, cycle: int, cells: int) -> tuple[int, ...]:
    """The places of the cells in a cycle; kept, as a generator costs more than a small batch."""
    order = np.random.SeedSequence(seed, spawn_key=(cycle,))
    return tuple(np.random.default_rng(order).permutation(cells).tolist())


@dataclass(frozen=True)
class TrainingData:
    """What a run is trained on, step by step: a pure function of its seeds."""

    task: MQARConfig
    config: TrainingConfig
    streams: Streams

    def cell_of(self, step: int) -> Cell:
        """Cells follow one another in shuffled cycles: every cycle holds each cell once."""
        cells = self.task.cells
        cycle, place = divmod(step, len(cells))
        return cells[_cell_order(self.streams.order, cycle, len(cells))[place]]

    def batch(self, step: int) -> Batch:
        """The batch of a step; its size keeps the number of tokens."""
        cell = self.cell_of(step)
        size = self.config.batch_sequences(cell.length)
        return self.task.batch(cell, Split.TRAIN, step, size, self.streams.data)


@dataclass
class Run:
    """A live run; ``loss_sum`` over ``loss_count`` steps is what the next validation reports."""

    model: HybridModel
    optimizer: torch.optim.Optimizer
    task: MQARConfig
    config: TrainingConfig
    streams: Streams
    device: torch.device
    dtype: torch.dtype
    step: int = 0
    curve: list[CurvePoint] = field(default_factory=list)
    loss_sum: float = 0.0
    loss_count: int = 0

    def __post_init__(self) -> None:
        self.data = TrainingData(self.task, self.config, self.streams)
        # not a method of the run: a circle would keep the weights until the next collection
        self.feed = Feed(self.data.batch, self.device)

    def hidden_at(self, batch: DeviceBatch) -> Tensor:
        """Hidden states at the labelled positions, in float32."""
        with autocast(self.device, self.dtype):
            return self.model.hidden_at(batch.tokens, batch.positions).float()


def start(request: EvaluationRequest) -> Run:
    """A run at step 0.

    Raises:
        InputError: The design cannot be built.
    """
    task = request.task
    streams = Streams.of(request.seed)
    model = build_model(request.architecture, task.vocab_size, task.longest_length)
    initialise(model, streams.init)
    device = resolve(request.device)
    model.to(device)
    groups = parameter_groups(model, request.training)
    optimizer = torch.optim.AdamW(groups, lr=request.training.learning_rate, fused=True)
    dtype = matmul_dtype(request.training.precision, device)
    return Run(model, optimizer, task, request.training, streams, device, dtype)


def parameter_groups(model: nn.Module, config: TrainingConfig) -> list[dict[str, Any]]:
    """What AdamW is given: parameters with weight decay, and those without."""
    decaying, others = decay_groups(model)
    return [
        {"params": decaying, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def decay_groups(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Parameters with weight decay and without.

    Linear maps and embeddings decay, and what a mixer lists as ``decaying``. Decay rates, step
    sizes, filter taps, gates, biases and norms do not: towards zero is no neutral direction there.
    """
    decaying: set[Tensor] = set()
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            decaying.add(module.weight)
        decaying.update(getattr(module, name) for name in getattr(module, "decaying", ()))
    parameters = list(model.parameters())
    return (
        [p for p in parameters if p in decaying],
        [p for p in parameters if p not in decaying],
    )


def _unmarked(phase: str) -> None:
    """Nobody listens."""


def train_step(run: Run, mark: Callable[[str], None] = _unmarked) -> float:
    """One optimizer step; returns the loss, not finite if the run diverged.

    Weights are left alone by a step whose loss or gradient is not finite.

    Args:
        run: Is advanced by one step.
        mark: Called with the name of each of the ``PHASES`` when it ends.
    """
    batch = run.feed(run.step)
    mark("data")
    run.model.train()
    hidden = run.hidden_at(batch)
    mark("forward")
    loss = linear_cross_entropy(hidden, run.model.embedding.weight, batch.answers, run.dtype)
    mark("loss")
    penalty = run.model.penalty()
    total = loss if penalty is None else loss + penalty
    run.optimizer.zero_grad(set_to_none=True)
    total.backward()  # type: ignore[no-untyped-call]
    mark("backward")
    norm = torch.nn.utils.clip_grad_norm_(run.model.parameters(), run.config.clip_norm)
    value = float(loss.detach())
    if not math.isfinite(value) or not math.isfinite(float(norm)):
        return math.nan
    for group in run.optimizer.param_groups:
        group["lr"] = rate_at(run.step, run.config)
    run.optimizer.step()
    run.step += 1
    mark("optimizer")
    return value


def advance(run: Run, to_step: int) -> RunOutcome:
    """Trains until ``to_step``, success or divergence, validating on the way."""
    while run.step < to_step:
        loss = train_step(run)
        if not math.isfinite(loss):
            return RunOutcome.DIVERGED
        run.loss_sum += loss
        run.loss_count += 1
        if run.step % run.config.eval_every == 0 or run.step == run.config.steps:
            point = _validate(run)
            if not all(math.isfinite(p) for p in point.log_probability):
                return RunOutcome.DIVERGED
            run.curve.append(point)
            if min(point.accuracy) >= SUCCESS_ACCURACY:
                return RunOutcome.SOLVED
    return RunOutcome.FINISHED if run.step >= run.config.steps else RunOutcome.PAUSED


def _validate(run: Run) -> CurvePoint:
    scores = [
        _score(run, cell, Split.VALIDATION, run.config.validation_queries)
        for cell in run.task.cells
    ]
    mean_loss = run.loss_sum / max(1, run.loss_count)
    run.loss_sum, run.loss_count = 0.0, 0
    return CurvePoint(
        step=run.step,
        train_loss=mean_loss,
        accuracy=tuple(s.accuracy for s in scores),
        log_probability=tuple(s.log_probability for s in scores),
    )


def test(run: Run) -> tuple[CellScore, ...]:
    """Scores on the test stream, cell by cell, with accuracy by key distance."""
    queries = run.config.test_queries
    return tuple(_score(run, cell, Split.TEST, queries) for cell in run.task.test_cells)


def _held_out(run: Run, cell: Cell, split: Split, queries: int) -> Iterator[Batch]:
    left = -(-queries // cell.pairs)
    size = run.config.batch_sequences(cell.length)
    for index in range(-(-left // size)):
        yield run.task.batch(cell, split, index, min(size, left), run.streams.held_out)
        left -= size


@torch.no_grad()
def _score(run: Run, cell: Cell, split: Split, queries: int) -> CellScore:
    run.model.eval()
    correct, log_probability, distance = [], [], []
    for batch in _held_out(run, cell, split, queries):
        there = moved(batch, run.device)
        weight = run.model.embedding.weight
        scores = score_answers(run.hidden_at(there), weight, there.answers)
        correct.append(scores.correct.cpu().numpy())
        log_probability.append(scores.log_probability.double().cpu().numpy())
        distance.append(batch.key_distance.ravel())
    hits = np.concatenate(correct)
    bins: tuple[DistanceBin, ...] = ()
    if split is Split.TEST:
        bins = tuple(
            DistanceBin(low=low, high=high, accuracy=accuracy, queries=count)
            for low, high, accuracy, count in accuracy_by_distance(np.concatenate(distance), hits)
        )
    return CellScore(
        length=cell.length,
        pairs=cell.pairs,
        power_a=cell.power_a,
        accuracy=float(hits.mean()),
        log_probability=float(np.concatenate(log_probability).mean()),
        queries=int(hits.size),
        by_distance=bins,
    )


def save(run: Run, path: Path, *, with_optimizer: bool) -> None:
    """Writes the run (or its weights alone) as safetensors."""
    tensors = {f"model.{k}": v.detach().cpu() for k, v in run.model.state_dict().items()}
    # what a layer leaves alone has no gradient, and so no state of the optimizer
    without_gradient = []
    if with_optimizer:
        for name, parameter in run.model.named_parameters():
            state = run.optimizer.state[parameter]
            if not state:
                without_gradient.append(name)
            for key, value in state.items():
                tensors[f"adam.{key}.{name}"] = value.detach().cpu()
    progress = {
        "step": run.step,
        "curve": [point.model_dump(mode="json") for point in run.curve],
        "loss_sum": run.loss_sum,
        "loss_count": run.loss_count,
        "precision": str(run.dtype),
        "without_gradient": without_gradient,
    }
    save_file(
        {k: v.contiguous() for k, v in tensors.items()},
        path,
        metadata={"progress": json.dumps(progress)},
    )


def save_weights(model: HybridModel, path: Path) -> None:
    """Writes a model's weights alone, as ``load_weights`` reads them."""
    save_file({k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}, path)


def load_weights(model: HybridModel, path: Path, prefix: str = "") -> dict[str, str]:
    """Fills a model from a safetensors file and returns the file's metadata.

    Raises:
        StoreError: The file is missing, damaged or of another design.
    """
    try:
        with safe_open(path, "pt") as file:
            found = {k.removeprefix(prefix) for k in file.keys() if k.startswith(prefix)}  # noqa: SIM118
            state = model.state_dict()
            if found != set(state):
                odd = sorted(found.symmetric_difference(state))[0]
                raise StoreError(
                    f"{path}: holds the weights of another design (first difference: {odd})"
                )
            for name, tensor in state.items():
                shape = tuple(file.get_slice(prefix + name).get_shape())
                if shape != tuple(tensor.shape):
                    raise StoreError(
                        f"{path}: {name} has shape {shape}; the design needs {tuple(tensor.shape)}"
                    )
                tensor.copy_(file.get_tensor(prefix + name))
            return dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise StoreError(f"{path}: cannot be read as weights ({error})") from None


def _check_precision(path: Path, then: str | None, now: str) -> None:
    """Workers of one campaign may differ in what ``precision: auto`` means to them."""
    if then not in (None, now):
        raise StoreError(
            f"{path}: trained with products in {then}, this worker makes them in {now};"
            " give training.precision: float32 or bfloat16 to a new campaign"
        )


def restore(request: EvaluationRequest, path: Path) -> Run:
    """The run that ``save`` wrote with its optimizer.

    Raises:
        StoreError: The file is missing, damaged, of another design or of another precision.
    """
    run = start(request)
    metadata = load_weights(run.model, path, "model.")
    try:
        with safe_open(path, "pt") as file:
            progress = json.loads(metadata["progress"])
            _check_precision(path, progress.get("precision"), str(run.dtype))
            for name, parameter in run.model.named_parameters():
                if name in progress.get("without_gradient", ()):
                    continue
                run.optimizer.state[parameter] = {
                    # the fused optimizer wants its step count beside the parameter
                    key: file.get_tensor(f"adam.{key}.{name}").to(run.device)
                    for key in _ADAM_STATE
                }
        run.step = progress["step"]
        run.curve = [CurvePoint.model_validate(point) for point in progress["curve"]]
        run.loss_sum, run.loss_count = progress["loss_sum"], progress["loss_count"]
    except (SafetensorError, KeyError, ValueError) as error:
        raise StoreError(f"{path}: holds no state to go on from ({error})") from None
    return run

"""Training speed of a design, beside straightforward trainers and the machine's matrix products.

Each trainer has a process of its own and they take turns, so that ratios hold although the
machine's speed drifts. archsearch's process has the environment of a campaign's workers, the
others' the system's own.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from archsearch.architecture import Architecture
from archsearch.bench._processes import Lost, Standing
from archsearch.bench.machine import peak_bytes
from archsearch.costs import flops_at
from archsearch.errors import ArchsearchError
from archsearch.protocol import Precision, TrainingConfig
from archsearch.records import EvaluationRequest, RunSeed
from archsearch.tasks.mqar import Cell, MQARConfig

OURS = "archsearch"
NAIVE = "naive"
NAIVE_LABELLED = "naive, labelled positions"
TRAINERS = (OURS, NAIVE_LABELLED, NAIVE)

_GEMM_SIZE = 1024
_GEMM_SECONDS = 0.5


class Subject(NamedTuple):
    """What is trained.

    Attributes:
        batch: Sequences of archsearch's batch; the others take the published number.
        precision: As in ``TrainingConfig``.
    """

    architecture: Architecture
    cell: Cell
    batch: int
    precision: Precision = "auto"


class TrainerSpeed(NamedTuple):
    """One trainer.

    Attributes:
        batch: Sequences.
        step_milliseconds: Median of the turns.
        turn_milliseconds: Of a step, turn by turn.
        flops_per_second: Of the useful FLOPs of a step: three times forward of whole layers, head
            at the labelled positions, whatever the trainer computes beyond that or leaves out. Few
            labels in long sequences let archsearch leave out most of the last layer: this then
            exceeds what the processor does.
        peak_mebibytes: Of the process.
        start_milliseconds: From the request to a network, its weights and the first batches, in a
            process that has built one before; archsearch's trainer alone, else 0.
        phase_milliseconds: Medians, by phase, of the data the mean; archsearch's trainer alone.
    """

    trainer: str
    batch: int
    step_milliseconds: float
    turn_milliseconds: tuple[float, ...]
    tokens_per_second: float
    flops_per_second: float
    peak_mebibytes: float
    start_milliseconds: float
    phase_milliseconds: dict[str, float]


class TrainingBench(NamedTuple):
    """All trainers on one cell.

    Attributes:
        architecture: What was trained.
        batch_tokens: Of archsearch's batch.
        trainers: Those that worked, archsearch's first.
        ratios: Of archsearch's tokens per second by each other's; median of the turns.
        gemm_flops_per_second: Of square matrix products in the same turns, by type.
        head_flops: Of a step, in the head and the loss; 3 products.
        failures: Why a trainer has no figures.
    """

    architecture: Architecture
    cell: str
    batch_tokens: int
    precision: str
    trainers: tuple[TrainerSpeed, ...]
    ratios: dict[str, float]
    gemm_flops_per_second: dict[str, float]
    head_flops: float
    failures: tuple[str, ...]

    @property
    def ours(self) -> TrainerSpeed | None:
        """The speed of archsearch's trainer, if it worked."""
        return next((t for t in self.trainers if t.trainer == OURS), None)

    @property
    def step_share(self) -> float | None:
        """FLOP/s of a step of archsearch by those of the machine's products in the same type."""
        ours = self.ours
        return ours and ours.flops_per_second / self.gemm_flops_per_second[self.precision]

    @property
    def head_share(self) -> float | None:
        """The same of head and loss alone."""
        if self.ours is None:
            return None
        per_second = 1e3 * self.head_flops / self.ours.phase_milliseconds["loss"]
        return per_second / self.gemm_flops_per_second[self.precision]


class _Turn(NamedTuple):
    seconds: float
    start_seconds: float
    phases: dict[str, float]
    peak_bytes: int
    precision: str


def task_of(subject: Subject) -> MQARConfig:
    """The subject's cell alone."""
    return MQARConfig(cells=(subject.cell,))


def request_of(subject: Subject) -> EvaluationRequest:
    """A run of the subject on its cell alone."""
    tokens = subject.batch * subject.cell.length
    return EvaluationRequest(
        architecture=subject.architecture,
        task=task_of(subject),
        training=TrainingConfig(batch_tokens=tokens, precision=subject.precision),
        seed=RunSeed(campaign=0),
        to_step=1000,
    )


def measure(
    subjects: Sequence[Subject], *, trainers: Sequence[str] = TRAINERS, repeats: int = 5
) -> list[TrainingBench]:
    """Times training steps, one thread each, in turns; all processes stand at the same time.

    Args:
        subjects: What is trained.
        trainers: Of ``TRAINERS``.
        repeats: Turns that count, behind one that does not.

    Raises:
        ArchsearchError: The machine's products could not be measured.
    """
    turns: dict[tuple[int, str], list[_Turn]] = {}
    products: list[dict[str, float]] = []
    failures: dict[tuple[int, str], str] = {}
    with ExitStack() as stack:
        gemm = stack.enter_context(Standing(_gemm, None, as_worker=True))
        standing = {
            (i, name): stack.enter_context(
                Standing(_trainer, (name, subject), as_worker=name == OURS)
            )
            for i, subject in enumerate(subjects)
            for name in trainers
        }
        for turn in range(repeats + 1):
            found = gemm.call()
            if isinstance(found, Lost):
                raise ArchsearchError(found.reason)
            products.append(found)
            for key in [k for k in standing if k not in failures]:
                answer = standing[key].call()
                if isinstance(answer, Lost):
                    failures[key] = f"{key[1]}: {answer.reason}"
                elif turn:
                    turns.setdefault(key, []).append(answer)
    return [
        _result(
            subject,
            {n: turns[i, n] for n in trainers if (i, n) in turns and (i, n) not in failures},
            products[1:],
            tuple(failures[i, n] for n in trainers if (i, n) in failures),
        )
        for i, subject in enumerate(subjects)
    ]


def _result(
    subject: Subject,
    turns: dict[str, list[_Turn]],
    products: list[dict[str, float]],
    failures: tuple[str, ...],
) -> TrainingBench:
    cell = subject.cell
    vocabulary = 2 * task_of(subject).vocab_size * subject.architecture.d_model * cell.pairs
    per_sequence = 3.0 * (flops_at(subject.architecture, cell.length) + vocabulary)
    speeds, rates = [], {}
    for name, found in turns.items():
        batch = batch_of(name, subject)
        seconds = statistics.median(t.seconds for t in found)
        rates[name] = [batch * cell.length / t.seconds for t in found]
        speeds.append(
            TrainerSpeed(
                trainer=name,
                batch=batch,
                step_milliseconds=1e3 * seconds,
                turn_milliseconds=tuple(1e3 * t.seconds for t in found),
                tokens_per_second=statistics.median(rates[name]),
                flops_per_second=batch * per_sequence / seconds,
                peak_mebibytes=max(t.peak_bytes for t in found) / 2**20,
                start_milliseconds=1e3 * statistics.median(t.start_seconds for t in found),
                phase_milliseconds={
                    phase: 1e3 * statistics.median(t.phases[phase] for t in found)
                    for phase in found[0].phases
                },
            )
        )
    ratios = {
        name: statistics.median(a / b for a, b in zip(rates[OURS], other, strict=True))
        for name, other in rates.items()
        if name != OURS and OURS in rates
    }
    return TrainingBench(
        architecture=subject.architecture,
        cell=str(cell),
        batch_tokens=subject.batch * cell.length,
        precision=turns[OURS][0].precision if turns.get(OURS) else "float32",
        trainers=tuple(speeds),
        ratios=ratios,
        gemm_flops_per_second={
            kind: statistics.median(p[kind] for p in products) for kind in products[0]
        },
        head_flops=3.0 * subject.batch * vocabulary,
        failures=failures,
    )


def batch_of(trainer: str, subject: Subject) -> int:
    """Sequences of a trainer's batch."""
    if trainer == OURS:
        return subject.batch
    from archsearch.bench._naive import published_batch

    return published_batch(subject.cell.length)


def _trainer(argument: tuple[str, Subject]) -> Callable[[], _Turn]:
    import torch

    torch.set_num_threads(1)
    name, subject = argument
    return _ours(subject) if name == OURS else _naive(name, subject)


def _ours(subject: Subject) -> Callable[[], _Turn]:
    from archsearch.device import AHEAD
    from archsearch.training import PHASES, start, train_step

    request = request_of(subject)
    run = start(request)

    def step() -> tuple[float, dict[str, float]]:
        phases: dict[str, float] = {}
        began = last = time.perf_counter()

        def mark(phase: str) -> None:
            nonlocal last
            now = time.perf_counter()
            phases[phase], last = now - last, now

        train_step(run, mark)
        return last - began, phases

    def turn() -> _Turn:
        # one of the others', which are slower; as many as are made in one go
        steps = [step() for _ in range(AHEAD)]
        found = {p: statistics.median(phases[p] for _, phases in steps) for p in PHASES}
        # the median step finds its batch ready
        found["data"] = statistics.fmean(phases["data"] for _, phases in steps)
        rest = statistics.median(seconds - phases["data"] for seconds, phases in steps)
        seconds = rest + found["data"]
        began = time.perf_counter()
        start(request).feed(0)
        begun = time.perf_counter() - began
        precision = str(run.dtype).removeprefix("torch.")
        return _Turn(seconds, begun, found, peak_bytes(), precision)

    return turn


def _naive(name: str, subject: Subject) -> Callable[[], _Turn]:
    from archsearch.bench import _naive
    from archsearch.tasks.base import Split
    from archsearch.training import start

    run = start(request_of(subject))
    optimizer = _naive.optimizer_of(run.model, run.config)
    size = batch_of(name, subject)
    number = 0

    def turn() -> _Turn:
        nonlocal number
        began = time.perf_counter()
        batch = run.task.batch(subject.cell, Split.TRAIN, number, size, run.streams.data)
        _naive.step(
            run.model, optimizer, batch, run.config, number, labelled_only=name == NAIVE_LABELLED
        )
        number += 1
        return _Turn(time.perf_counter() - began, 0.0, {}, peak_bytes(), "float32")

    return turn


def _gemm(_: None) -> Callable[[], dict[str, float]]:
    """FLOP/s of square products by type, the fastest of five or half a second."""
    import torch

    torch.set_num_threads(1)
    kinds = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    shape = (_GEMM_SIZE, _GEMM_SIZE)

    def once(dtype: torch.dtype) -> float:
        a, b = (torch.ones(shape, dtype=dtype) for _ in range(2))
        times = []
        for _ in range(5):
            began = time.perf_counter()
            a @ b
            times.append(time.perf_counter() - began)
            if sum(times) > _GEMM_SECONDS:
                break
        return 2 * _GEMM_SIZE**3 / min(times)

    return lambda: {name: once(dtype) for name, dtype in kinds.items()}

"""Forward and backward time and memory of each mixer, beside full attention in the same process.

Every measurement has a process of its own, forked from one that has imported torch, so that peak
memory is the mixer's and nobody's cache is warm for the next. Timed passes alternate with passes of
full attention over the same input: ratios hold although the machine's speed drifts.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from archsearch.architecture import Architecture, Block, Component
from archsearch.bench._processes import Lost, run_each
from archsearch.bench.machine import peak_bytes
from archsearch.mixers import specs

if TYPE_CHECKING:
    from torch import Tensor

D_MODEL = 64
TOKENS = 16_384
"""Of a batch, whatever the length."""
LENGTHS = (256, 1024, 4096, 16_384)
YARDSTICK = "attention"
_VOCAB = 8192
_LONGEST_QUADRATIC = 4096
_MEBIBYTE = 2**20


class Timing(NamedTuple):
    """One mixer at one length.

    Attributes:
        length: N; the batch holds ``TOKENS`` / N sequences.
        milliseconds: Median of the repeats, forward and backward, gradients of input and weights.
        fastest_milliseconds: The fastest repeat.
        peak_mebibytes: By which the first pass raised the process's peak memory.
        vs_attention: Median over the repeats of this mixer's time by full attention's beside it.
    """

    length: int
    milliseconds: float
    fastest_milliseconds: float
    peak_mebibytes: float
    vs_attention: float


class MixerBench(NamedTuple):
    """One mixer at its default options.

    Attributes:
        growth: Of its FLOPs in N, as built.
        timings: By length, shortest first.
        time_exponent: Of the time of a sequence, between the two longest lengths of ``LENGTHS``;
            None where the longest was not measured.
        failures: Why a length has no timing.
    """

    name: str
    kind: str
    family: str
    growth: str
    timings: tuple[Timing, ...]
    time_exponent: float | None
    failures: tuple[str, ...] = ()


def measure(
    names: Sequence[str], *, lengths: Sequence[int] = LENGTHS, repeats: int = 5
) -> Iterator[MixerBench]:
    """Measures mixers one after another, on one thread.

    Args:
        names: Mixers, each at its default options.
        lengths: Of sequences; those above 4,096 only for growths below N^2, and the yardstick.
        repeats: Timed passes for each length, behind one that is not counted.
    """
    for name in names:
        spec = specs.get(name)()
        growth = spec.flops_form(D_MODEL).growth
        tasks = [
            (name, length, repeats)
            for length in lengths
            if length <= _LONGEST_QUADRATIC or growth.power < 2 or name == YARDSTICK
        ]
        timings, failures = [], []
        for (_, length, _), result in run_each(_timing, tasks, preload="archsearch.model"):
            if isinstance(result, Lost):
                failures.append(f"N = {length}: {result.reason}")
            else:
                timings.append(result)
        yield MixerBench(
            name,
            spec.kind,
            spec.family,
            str(growth),
            tuple(timings),
            _exponent(timings),
            tuple(failures),
        )


def _exponent(timings: Sequence[Timing]) -> float | None:
    times = {t.length: t.milliseconds * t.length for t in timings}
    shorter, longer = LENGTHS[-2:]
    if longer not in times:
        return None
    return math.log(times[longer] / times[shorter]) / math.log(longer / shorter)


def _timing(task: tuple[str, int, int]) -> Timing:
    import torch

    name, length, repeats = task

    torch.set_num_threads(1)
    ours = _pass(name, length)
    before = peak_bytes()
    ours()
    peak = peak_bytes() - before
    theirs = ours if name == YARDSTICK else _pass(YARDSTICK, length)
    theirs()
    pairs = [(theirs(), ours()) for _ in range(repeats)]
    times = [mine for _, mine in pairs]
    return Timing(
        length=length,
        milliseconds=1e3 * statistics.median(times),
        fastest_milliseconds=1e3 * min(times),
        peak_mebibytes=peak / _MEBIBYTE,
        vs_attention=statistics.median(mine / other for other, mine in pairs),
    )


def _pass(name: str, length: int) -> Callable[[], float]:
    """A function that runs the mixer forwards and backwards once and returns the seconds."""
    import torch

    from archsearch.model import build_model, initialise

    component = Component(name=name)
    is_channel = specs.get(name).kind == "channel"
    conv = Component(name="short_conv")
    block = Block(sequence=conv, channel=component) if is_channel else Block(sequence=component)
    model = build_model(Architecture(d_model=D_MODEL, blocks=(block,)), _VOCAB, length)
    initialise(model, seed=0)
    found: Any = model.blocks[0]
    mixer = (found.channel if is_channel else found.sequence).train()
    generator = torch.Generator().manual_seed(0)
    shape = (TOKENS // length, length)
    x_BLD = torch.randn(*shape, D_MODEL, generator=generator).requires_grad_()
    gradient_BLD = torch.randn(*shape, D_MODEL, generator=generator)
    given: list[Tensor] = [x_BLD]
    if specs.get(name).reads_tokens:
        given.append(torch.randint(0, _VOCAB, shape, generator=generator))
    wanted = [x_BLD, *mixer.parameters()]

    def run() -> float:
        began = time.perf_counter()
        torch.autograd.grad(mixer(*given), wanted, gradient_BLD, allow_unused=True)
        return time.perf_counter() - began

    return run

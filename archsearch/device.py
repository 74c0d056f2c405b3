"""Where a run computes, in which types, and how data get there.

The accelerator's path is kept to what torch offers: autocast, pinned memory, copies that do not
wait. It was never measured; the tests run it on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Final, NamedTuple

import torch
from torch import Tensor

from archsearch.errors import InputError
from archsearch.tasks.base import Batch


def resolve(name: str) -> torch.device:
    """The device of that name; ``auto`` is an accelerator if torch sees one, else the CPU.

    Raises:
        InputError: There is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"device '{name}' cannot be used here ({reason}); 'auto' takes what there is"
        ) from None
    return device


def matmul_dtype(precision: str, device: torch.device) -> torch.dtype:
    """bfloat16 on accelerators and processors with AVX-512 bf16, unless float32 is asked for."""
    if precision == "auto":
        native = device.type != "cpu" or torch.cpu.get_capabilities().get("avx512_bf16", False)
        return torch.bfloat16 if native else torch.float32
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Within, matrix products run in ``dtype``; weights, norms and sums stay in float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype is torch.bfloat16)


class DeviceBatch(NamedTuple):
    """A batch where the model is: tokens (B, N), query positions (B, D), answers (B * D)."""

    tokens: Tensor
    positions: Tensor
    answers: Tensor


def moved(batch: Batch, device: torch.device) -> DeviceBatch:
    """The batch on the device; the copy goes on while the caller does."""
    parts = [torch.from_numpy(p) for p in (batch.tokens, batch.query_positions, batch.answers)]
    if device.type != "cpu":
        parts = [part.pin_memory() for part in parts]
    tokens, positions, answers = (part.to(device, non_blocking=True) for part in parts)
    return DeviceBatch(tokens, positions, answers.flatten())


AHEAD: Final = 16
"""Batches that the processor makes in one go: only the first of them finds its caches cold."""
_AHEAD_TOKENS: Final = 2**17
"""As many are enough, and take no memory worth mentioning."""


class Feed:
    """Batches by number, made before they are asked for.

    For an accelerator a thread makes the next one while the caller computes. On the CPU it would
    take its time from the same processor; there several are made at a time.
    """

    def __init__(
        self, make: Callable[[int], Batch], device: torch.device, *, threaded: bool | None = None
    ) -> None:
        """``make`` is a pure function of the number. ``threaded`` overrules who has a thread."""
        self._make, self._device = make, device
        wanted = device.type != "cpu" if threaded is None else threaded
        self._thread = ThreadPoolExecutor(1, "archsearch-feed") if wanted else None
        self._next: tuple[int, Future[DeviceBatch]] | None = None
        self._ready: dict[int, DeviceBatch] = {}

    def __call__(self, number: int) -> DeviceBatch:
        """The batch of that number."""
        if self._thread is None:
            if number not in self._ready:
                self._ready = self._several(number)
            return self._ready.pop(number)
        expected, self._next = self._next, None
        known = expected is not None and expected[0] == number
        batch = expected[1].result() if expected is not None and known else self._made(number)
        self._next = (number + 1, self._thread.submit(self._made, number + 1))
        return batch

    def _several(self, first: int) -> dict[int, DeviceBatch]:
        """Batches from that number on."""
        found: dict[int, DeviceBatch] = {}
        tokens = 0
        while len(found) < AHEAD and tokens < _AHEAD_TOKENS:
            number = first + len(found)
            found[number] = self._made(number)
            tokens += found[number].tokens.numel()
        return found

    def _made(self, number: int) -> DeviceBatch:
        return moved(self._make(number), self._device)

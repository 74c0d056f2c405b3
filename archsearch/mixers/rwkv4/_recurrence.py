"""h_i = a_i h_{i-1} + x_i with a factor for each entry, by blocks and with its own derivative.

Axes: B batch, L length, K blocks, C positions of a block; any axes behind.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from archsearch.mixers.rwkv4.spec import blocks


class _Recurrence(torch.autograd.Function):
    """The derivative is the same recurrence from the end: torch would keep every step."""

    @staticmethod
    def forward(ctx: Any, a_BLSD: Tensor, x_BLSD: Tensor) -> Tensor:
        h_BLSD = _run(a_BLSD, x_BLSD)
        ctx.save_for_backward(a_BLSD, h_BLSD)
        return h_BLSD

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        a_BLSD, h_BLSD = ctx.saved_tensors
        later = F.pad(a_BLSD[:, 1:], (0, 0, 0, 0, 0, 1)).flip(1)
        by_x = _run(later, grad.flip(1)).flip(1)
        by_a = by_x * F.pad(h_BLSD[:, :-1], (0, 0, 0, 0, 1, 0))
        return by_a.sum_to_size(a_BLSD.shape), by_x


def recurrence(a_BLSD: Tensor, x_BLSD: Tensor) -> Tensor:
    """The h (B, L, S, D) of inputs (B, L, S, D) for factors (B, L, 1, D) that streams share."""
    h_BLSD: Tensor = _Recurrence.apply(a_BLSD, x_BLSD)  # type: ignore[no-untyped-call]
    return h_BLSD


def _run(a_BLSD: Tensor, x_BLSD: Tensor) -> Tensor:
    length = x_BLSD.shape[1]
    size, count = blocks(length)
    a, h = (_blocks(t, size, count) for t in (a_BLSD, x_BLSD))
    # all blocks at once, each as if nothing stood before it: a becomes the products from its start
    for i in range(1, size):
        h[:, :, i].addcmul_(a[:, :, i], h[:, :, i - 1])
        a[:, :, i] *= a[:, :, i - 1]
    # then from block to block
    ends = h[:, :, -1].clone()
    for i in range(1, count):
        ends[:, i].addcmul_(a[:, i, -1], ends[:, i - 1])
    h[:, 1:].addcmul_(a[:, 1:], ends[:, :-1, None])
    return h.flatten(1, 2)[:, :length]


def _blocks(x_BLSD: Tensor, size: int, count: int) -> Tensor:
    """A copy as (B, K, C, S, D), zeros behind the end."""
    shape = (x_BLSD.shape[0], count * size, *x_BLSD.shape[2:])
    padded = x_BLSD.new_empty(shape)
    padded[:, : x_BLSD.shape[1]] = x_BLSD
    padded[:, x_BLSD.shape[1] :] = 0
    return padded.view(shape[0], count, size, *shape[2:])

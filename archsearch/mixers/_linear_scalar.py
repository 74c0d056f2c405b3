"""Scores within a chunk when each head decays at a pace of its own.

Axes: B batch, H heads, N chunks, C positions of a chunk.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

TILE = 2**17
"""Numbers that are worked on at a time, so that they stay in the processor's cache."""


def pairwise_decay(total: Tensor) -> Tensor:
    """exp(c_i - c_j) for j <= i and 0 elsewhere, (..., C, C), of running sums c (..., C)."""
    # bounded first: the exponential of what lies above the diagonal could overflow
    return (total[..., :, None] - total[..., None, :]).clamp_max_(0).exp_().tril_()


def decayed(score_BHNCC: Tensor, total_BHNC: Tensor) -> Tensor:
    """Scores times ``pairwise_decay``; one head of scores may serve all heads of decays."""
    if not total_BHNC.requires_grad:
        return score_BHNCC * pairwise_decay(total_BHNC)
    return _Decayed.apply(score_BHNCC, total_BHNC)  # type: ignore[no-untyped-call]


class _Decayed(torch.autograd.Function):
    # the decays are made twice instead of being kept, and their gradient takes one product: moving
    # c_i scales row i of the result against column i

    @staticmethod
    def forward(ctx: Any, score: Tensor, total: Tensor) -> Tensor:
        out = score.new_empty(*total.shape, total.shape[-1])
        for score_tile, total_tile, out_tile in _tiles(score, total, out):
            torch.mul(pairwise_decay(total_tile), score_tile, out=out_tile)
        ctx.save_for_backward(score, total, out)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        score, total, out = ctx.saved_tensors
        to_score, to_total = torch.empty_like(score), torch.empty_like(total)
        tiles = _tiles(gradients[0], score, total, out, to_score, to_total)
        for g, score_tile, total_tile, out_tile, to_score_tile, to_total_tile in tiles:
            moved = g * out_tile
            to_total_tile.copy_(moved.sum(-1)).sub_(moved.sum(-2))
            product = torch.mul(pairwise_decay(total_tile), g, out=moved)
            to_score_tile.copy_(product.sum_to_size(score_tile.shape))
        return to_score, to_total


def _tiles(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Runs of chunks of one sequence at a time."""
    largest = max(tensors, key=Tensor.numel)
    per_chunk = largest.shape[1] * largest[0, 0, 0].numel()
    size = max(1, TILE // per_chunk)
    for sequence in zip(*(x.unbind(0) for x in tensors), strict=True):
        yield from zip(*(torch.split(x, size, dim=1) for x in sequence), strict=True)

"""Scores within a chunk when each channel decays at a pace of its own.

score_ij = sum_e q_ie k_je exp(c_ie - c_je) for j <= i, c falling along the chunk. The exponential
is split at a position between j and i, so that both factors are at most 1 and nothing overflows:
pairs in different sub-chunks at the start of the later one, pairs within a sub-chunk at the middle
of the smallest block that holds them both.
Axes: M chunks, C positions of a chunk, E channels, A sub-chunks, S positions of a sub-chunk.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from archsearch.mixers._linear_cost import HALVED, SUBCHUNK

TILE = 2**18
"""Numbers that are worked on at a time, so that they stay in the processor's cache."""


def channel_scores(q: Tensor, k: Tensor, total: Tensor) -> Tensor:
    """Lower triangular scores (..., C, C) of q, k and running sums of log decays (..., C, E)."""
    lead, (chunk, width) = q.shape[:-2], q.shape[-2:]
    flat = (x.reshape(-1, chunk, width) for x in (q, k, total))
    score_MCC: Tensor = _ChannelScores.apply(*flat)  # type: ignore[no-untyped-call]
    return score_MCC.view(*lead, chunk, chunk)


class _ChannelScores(torch.autograd.Function):
    # autograd would keep every scaled copy of q and k; and the gradient of c needs no pass of its
    # own: moving c_i is scaling q_i and k_i against each other

    @staticmethod
    def forward(ctx: Any, q_MCE: Tensor, k_MCE: Tensor, c_MCE: Tensor) -> Tensor:
        ctx.save_for_backward(q_MCE, k_MCE, c_MCE)
        score_MCC = q_MCE.new_empty(*q_MCE.shape[:2], q_MCE.shape[1])
        for tensors in _tiles(q_MCE, k_MCE, c_MCE, score_MCC):
            _write_scores(*tensors)
        return score_MCC

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q_MCE, k_MCE, c_MCE = ctx.saved_tensors
        dq_MCE, dk_MCE = torch.empty_like(q_MCE), torch.empty_like(k_MCE)
        for q, k, c, g, dq, dk in _tiles(
            q_MCE, k_MCE, c_MCE, gradients[0].contiguous(), dq_MCE, dk_MCE
        ):
            dq_rows, dk_rows = _row_gradients(q, k, c, g)
            dq.copy_(dq_rows)
            dk.copy_(dk_rows)
            for size in HALVED:
                _add_half_gradients((q, k, c, g), size, (dq, dk))
            _add_pair_gradients((q, k, c, g), (dq, dk))
        return dq_MCE, dk_MCE, (q_MCE * dq_MCE).sub_(k_MCE * dk_MCE)


def _tiles(*tensors: Tensor) -> zip[tuple[Tensor, ...]]:
    _, chunk, width = tensors[0].shape
    size = max(1, TILE * SUBCHUNK // (chunk * chunk * width))
    return zip(*(torch.split(x, size) for x in tensors), strict=True)


def _write_scores(q_MCE: Tensor, k_MCE: Tensor, c_MCE: Tensor, score_MCC: Tensor) -> None:
    q_scale, k_scale = _row_scales(c_MCE)
    k_MACE = k_scale.mul_(k_MCE[:, None])
    torch.matmul(
        _split(q_MCE, SUBCHUNK) * q_scale,
        k_MACE.transpose(-1, -2),
        out=_split(score_MCC, SUBCHUNK),
    )
    for size in HALVED:
        q2, k1 = _halves(q_MCE, size)[1], _halves(k_MCE, size)[0]
        q_scale, k_scale = _half_scales(c_MCE, size)
        product = q_scale.mul_(q2) @ k_scale.mul_(k1).transpose(-1, -2)
        _corners(score_MCC, size).copy_(product)
    q2, k1 = _halves(q_MCE, 2)[1], _halves(k_MCE, 2)[0]
    score_MCC.diagonal(dim1=1, dim2=2).copy_((q_MCE * k_MCE).sum(-1))
    _corners(score_MCC, 2)[..., 0].copy_(_pair_scale(c_MCE).mul_(q2).mul_(k1).sum(-1))


def _row_gradients(q: Tensor, k: Tensor, c: Tensor, g_MCC: Tensor) -> tuple[Tensor, Tensor]:
    """Of q and k, from the pairs in different sub-chunks."""
    q_scale, k_scale = _row_scales(c)
    g_MASC = _split(g_MCC, SUBCHUNK)
    dq_MASE = (g_MASC @ (k[:, None] * k_scale)).mul_(q_scale)
    dk_MACE = g_MASC.transpose(-1, -2) @ q_scale.mul_(_split(q, SUBCHUNK))
    return dq_MASE.flatten(1, 2), dk_MACE.mul_(k_scale).sum(1)


def _add_half_gradients(
    inputs: tuple[Tensor, ...], size: int, gradients: tuple[Tensor, Tensor]
) -> None:
    """From the late queries and early keys of the blocks of a size."""
    q, k, c, g_MCC = inputs
    dq, dk = gradients
    q2, k1 = _halves(q, size)[1], _halves(k, size)[0]
    q_scale, k_scale = _half_scales(c, size)
    corner = _corners(g_MCC, size)
    _halves(dq, size)[1].addcmul_(corner @ (k1 * k_scale), q_scale)
    _halves(dk, size)[0].addcmul_(corner.transpose(-1, -2) @ q_scale.mul_(q2), k_scale)


def _add_pair_gradients(inputs: tuple[Tensor, ...], gradients: tuple[Tensor, Tensor]) -> None:
    """From the pairs of neighbours, and of each position with itself."""
    q, k, c, g_MCC = inputs
    dq, dk = gradients
    own = g_MCC.diagonal(dim1=1, dim2=2)[..., None]
    dq.addcmul_(own, k)
    dk.addcmul_(own, q)
    q2, k1 = _halves(q, 2)[1], _halves(k, 2)[0]
    scaled = _pair_scale(c).mul_(_corners(g_MCC, 2))
    _halves(dq, 2)[1].addcmul_(scaled, k1)
    _halves(dk, 2)[0].addcmul_(scaled, q2)


def _split(x_MCE: Tensor, size: int) -> Tensor:
    return x_MCE.view(x_MCE.shape[0], -1, size, x_MCE.shape[2])


def _halves(x_MCE: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """First and second halves of blocks of a size, (M, C / size, size / 2, E): views."""
    first, second = _split(x_MCE, size).chunk(2, dim=2)
    return first, second


def _corners(x_MCC: Tensor, size: int) -> Tensor:
    """Late queries and early keys of the blocks on the diagonal, (M, C / size, size/2, size/2)."""
    count, half = x_MCC.shape[1] // size, size // 2
    blocks = x_MCC.view(x_MCC.shape[0], count, size, count, size)
    return blocks.diagonal(dim1=1, dim2=3).movedim(-1, 1)[..., half:, :half]


def _row_scales(c_MCE: Tensor) -> tuple[Tensor, Tensor]:
    """For queries (M, A, S, E) and keys (M, A, C, E): decay since, and up to, a sub-chunk's start.

    Keys that do not stand before the sub-chunk get 0.
    """
    c_MASE = _split(c_MCE, SUBCHUNK)
    since = c_MASE.clone()
    since[:, 1:] -= c_MASE[:, :-1, -1:]
    until = c_MCE.new_zeros(c_MCE.shape[0], c_MASE.shape[1], *c_MCE.shape[1:])
    for a in range(1, c_MASE.shape[1]):
        earlier = until[:, a, : a * SUBCHUNK]
        torch.sub(c_MASE[:, a - 1, -1:], c_MCE[:, : a * SUBCHUNK], out=earlier)
        earlier.exp_()
    return since.exp_(), until


def _half_scales(c_MCE: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """For late queries and early keys: decay since, and up to, the middle of their block."""
    first, second = _halves(c_MCE, size)
    middle = first[:, :, -1:]
    return (second - middle).exp_(), (middle - first).exp_()


def _pair_scale(c_MCE: Tensor) -> Tensor:
    """Decay from each even position to the next, (M, C / 2, 1, E)."""
    first, second = _halves(c_MCE, 2)
    return (second - first).exp_()

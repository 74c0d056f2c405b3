"""Softmax attention on the CPU as matrix products that the processor is fast at.

torch's fused kernel is built for long rows. At the lengths of training and with one head of 64,
plain products over blocks of queries take 0.6 to 0.9 of its time, forwards and backwards together.
Elsewhere (another device, half precision, scores that the caches cannot hold) the fused kernel
serves. The results are the same.

Axes: Z batch and heads, L length, Q queries, T keys, E width of a head, V width of a value.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from archsearch.mixers._softmax_cost import BLOCK, MOST_SCORES, causal_in_blocks


def causal_attention(q_BHLE: Tensor, k_BHLE: Tensor, v_BHLE: Tensor) -> Tensor:
    """Each query attends to the keys up to its own position; scores are over sqrt(E)."""
    batch, heads, length, _ = q_BHLE.shape
    if not (_plain(q_BHLE) and causal_in_blocks(length, heads)):
        return F.scaled_dot_product_attention(q_BHLE, k_BHLE, v_BHLE, is_causal=True)
    y_ZLV: Tensor = _CausalAttention.apply(  # type: ignore[no-untyped-call]
        *(x.flatten(0, 1) for x in (q_BHLE, k_BHLE, v_BHLE))
    )
    return y_ZLV.view(batch, heads, length, -1)


def softmax_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Attention of queries (..., Q, E) to keys (..., T, E) where the mask (..., Q, T) is true.

    Every query needs a key. The axes in front are the same for all three.
    """
    num_scores = q.shape[:-1].numel() * k.shape[-2]
    if not _plain(q) or num_scores > MOST_SCORES:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    y: Tensor = _MaskedAttention.apply(q, k, v, mask)  # type: ignore[no-untyped-call]
    return y


def _plain(x: Tensor) -> bool:
    # under autocast products would be in half precision, also those of the way back
    wide = x.dtype in (torch.float32, torch.float64) and not torch.is_autocast_enabled("cpu")
    return x.device.type == "cpu" and wide


def _bias(mask: Tensor, like: Tensor) -> Tensor:
    return like.new_zeros(mask.shape).masked_fill_(~mask, float("-inf"))


def _score_gradient(share: Tensor, dy: Tensor, v: Tensor) -> Tensor:
    """Of the scores, from that of the outputs, through the softmax."""
    dshare = dy @ v.transpose(-1, -2)
    return torch._softmax_backward_data(dshare, share, -1, share.dtype)


class _MaskedAttention(torch.autograd.Function):
    """Keeps the softmax for the way back."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        scaled = q * q.shape[-1] ** -0.5
        score = scaled @ k.transpose(-1, -2)
        share = score.add_(_bias(mask, score)).softmax(-1)
        ctx.save_for_backward(scaled, k, v, share)
        return share @ v

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        scaled, k, v, share = ctx.saved_tensors
        dscore = _score_gradient(share, dy, v)
        dq = (dscore @ k).mul_(scaled.shape[-1] ** -0.5)
        return dq, dscore.transpose(-1, -2) @ scaled, share.transpose(-1, -2) @ dy, None


class _CausalAttention(torch.autograd.Function):
    """Blocks of queries, each against the keys up to its end; keeps the softmax of each."""

    @staticmethod
    def forward(ctx: Any, q_ZLE: Tensor, k_ZLE: Tensor, v_ZLV: Tensor) -> Tensor:
        length = q_ZLE.shape[1]
        scaled = q_ZLE * q_ZLE.shape[2] ** -0.5
        future = _bias(torch.ones(BLOCK, BLOCK, dtype=torch.bool).tril(), scaled)
        y_ZLV, shares = torch.empty_like(v_ZLV), []
        for start in range(0, length, BLOCK):
            end = min(start + BLOCK, length)
            size = end - start
            score = scaled[:, start:end] @ k_ZLE[:, :end].transpose(1, 2)
            score[:, :, start:] += future[:size, :size]
            shares.append(score.softmax(-1))
            y_ZLV[:, start:end] = shares[-1] @ v_ZLV[:, :end]
        ctx.save_for_backward(scaled, k_ZLE, v_ZLV, *shares)
        return y_ZLV

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy_ZLV: Tensor) -> tuple[Tensor, ...]:
        scaled, k_ZLE, v_ZLV, *shares = ctx.saved_tensors
        dq, dk, dv = torch.empty_like(scaled), torch.zeros_like(k_ZLE), torch.zeros_like(v_ZLV)
        for start, share in zip(range(0, scaled.shape[1], BLOCK), shares, strict=True):
            end = min(start + BLOCK, scaled.shape[1])
            dy = dy_ZLV[:, start:end]
            dscore = _score_gradient(share, dy, v_ZLV[:, :end])
            dq[:, start:end] = dscore @ k_ZLE[:, :end]
            dk[:, :end].baddbmm_(dscore.transpose(1, 2), scaled[:, start:end])
            dv[:, :end].baddbmm_(share.transpose(1, 2), dy)
        return dq.mul_(scaled.shape[2] ** -0.5), dk, dv

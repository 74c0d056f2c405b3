"""Head and loss at labelled positions, fused: the logits of all rows never exist at once.

Axes: M labelled positions, D width, V vocabulary.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

_ROWS = 256
"""Rows whose logits exist at a time: 8 MB at V = 8192, which the caches hold."""


class _LinearCrossEntropy(torch.autograd.Function):
    """Computes both gradients in the forward pass, chunk by chunk, while the logits are at hand."""

    @staticmethod
    def forward(
        ctx: Any, hidden_MD: Tensor, weight_VD: Tensor, answer_M: Tensor, dtype: torch.dtype
    ) -> Tensor:
        hidden, weight = hidden_MD.to(dtype), weight_VD.to(dtype)
        hidden_grad = torch.empty_like(hidden_MD)
        weight_grad = torch.zeros_like(weight_VD)
        total = hidden_MD.new_zeros(())
        for start in range(0, hidden.shape[0], _ROWS):
            rows = slice(start, start + _ROWS)
            target = answer_M[rows, None]
            logits = (hidden[rows] @ weight.T).to(hidden_MD.dtype)
            normaliser = torch.logsumexp(logits, -1, keepdim=True)
            total += (normaliser - logits.gather(1, target)).sum()
            gradient = logits.sub_(normaliser).exp_()
            gradient.scatter_add_(1, target, gradient.new_full(target.shape, -1.0))
            gradient = gradient.to(dtype)
            hidden_grad[rows] = (gradient @ weight).to(hidden_MD.dtype)
            weight_grad += (gradient.T @ hidden[rows]).to(weight_VD.dtype)
        ctx.save_for_backward(hidden_grad, weight_grad)
        ctx.rows = hidden.shape[0]
        return total / hidden.shape[0]

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        scale = grad_outputs[0] / ctx.rows
        hidden_grad, weight_grad = ctx.saved_tensors
        return hidden_grad * scale, weight_grad * scale, None, None


def linear_cross_entropy(
    hidden_MD: Tensor, weight_VD: Tensor, answer_M: Tensor, dtype: torch.dtype
) -> Tensor:
    """Mean of -log softmax(hidden W^T)[answer] over the M rows.

    Args:
        hidden_MD: Hidden states at the labelled positions.
        weight_VD: The head, here the tied embedding.
        answer_M: Class indices.
        dtype: Type of the matrix products; the softmax runs in the type of ``hidden_MD``.
    """
    loss: Tensor = _LinearCrossEntropy.apply(  # type: ignore[no-untyped-call]
        hidden_MD, weight_VD, answer_M, dtype
    )
    return loss


class AnswerScores(NamedTuple):
    """Of each labelled position: is the answer's logit the largest, and its log-probability."""

    correct: Tensor
    log_probability: Tensor


@torch.no_grad()
def score_answers(
    hidden_MD: Tensor, weight_VD: Tensor, answer_M: Tensor, dtype: torch.dtype
) -> AnswerScores:
    """Scores answers over the whole vocabulary with the chunks and types of the loss."""
    weight = weight_VD.to(dtype)
    correct, log_probability = [], []
    for start in range(0, hidden_MD.shape[0], _ROWS):
        rows = slice(start, start + _ROWS)
        logits = (hidden_MD[rows].to(dtype) @ weight.T).to(hidden_MD.dtype)
        answer = logits.gather(1, answer_M[rows, None])[:, 0]
        log_probability.append(answer - torch.logsumexp(logits, -1))
        correct.append(logits.argmax(-1) == answer_M[rows])
    return AnswerScores(torch.cat(correct), torch.cat(log_probability))

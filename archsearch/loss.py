"""Head and loss at labelled positions, fused: the logits of all rows never exist at once.

Axes: M labelled positions, D width, V vocabulary, R rows of a chunk.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

ROWS = 128
"""Rows whose logits exist at a time: 4 MB at V = 8192."""


def linear_cross_entropy(
    hidden_MD: Tensor, weight_VD: Tensor, answer_M: Tensor, dtype: torch.dtype
) -> Tensor:
    """Mean of -log softmax(hidden W^T)[answer] over the M rows.

    Args:
        hidden_MD: Hidden states at the labelled positions.
        weight_VD: The head, here the tied embedding.
        answer_M: Class indices.
        dtype: Type of the matrix products; the softmax and sums over chunks are in float32 at
            least. In bfloat16 the loss's own value is rounded to that, its gradients are not.
    """
    # "accurate" would multiply the weight's gradient in float32 where the others are half
    half = dtype in (torch.bfloat16, torch.float16)
    options = torch.nn.LinearCrossEntropyOptions(
        acc_policy="balanced" if half else "accurate",
        acc_dtype=torch.float32 if half else None,
        batch_chunk_size=ROWS,
    )
    loss = F.linear_cross_entropy(
        hidden_MD.to(dtype), weight_VD.to(dtype), answer_M, options=options
    )
    return loss.to(hidden_MD.dtype)


class AnswerScores(NamedTuple):
    """Of each labelled position: is the answer's logit the largest, and its log-probability."""

    correct: Tensor
    log_probability: Tensor


@torch.no_grad()
def score_answers(hidden_MD: Tensor, weight_VD: Tensor, answer_M: Tensor) -> AnswerScores:
    """Scores answers over the whole vocabulary, in chunks of rows.

    Never in half precision, whatever the loss is made in: a logit of 20 would be known to 0.1, and
    of equals the first would count as the answer.
    """
    scores = AnswerScores(
        torch.empty_like(answer_M, dtype=torch.bool),
        torch.empty_like(answer_M, dtype=hidden_MD.dtype),
    )
    # one buffer for all chunks: small results in between would keep the heap from reusing theirs
    logits = hidden_MD.new_empty(min(ROWS, len(answer_M)), len(weight_VD))
    for begin in range(0, len(answer_M), ROWS):
        rows = slice(begin, begin + ROWS)
        answer_R1 = answer_M[rows, None]
        logits_RV = torch.matmul(hidden_MD[rows], weight_VD.T, out=logits[: len(answer_R1)])
        answer_logit_R1 = logits_RV.gather(1, answer_R1)
        log_sum_R1 = torch.logsumexp(logits_RV, -1, keepdim=True)
        scores.log_probability[rows] = (answer_logit_R1 - log_sum_R1)[:, 0]
        scores.correct[rows] = logits_RV.argmax(-1) == answer_M[rows]
    return scores

"""Full causal attention."""

from __future__ import annotations

import torch
from torch import Tensor

from archsearch.mixers._attention import HeadedAttention
from archsearch.mixers._softmax_attention import causal_attention


class AttentionModule(HeadedAttention):
    """See ``spec.Attention``."""

    def core(self, q_BHLE: Tensor, k_BHLE: Tensor, v_BHLE: Tensor) -> Tensor:
        return causal_attention(q_BHLE, k_BHLE, v_BHLE)

    def allowed(self, query: Tensor, key: Tensor, length: int) -> Tensor:
        return query >= key

    def held(self, count: int, length: int) -> Tensor:
        return torch.arange(count)


MODULE = AttentionModule

"""Full causal attention through torch's fused kernel."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from archsearch.mixers._attention import HeadedAttention


class AttentionModule(HeadedAttention):
    """See ``spec.Attention``."""

    def core(self, q_BHLE: Tensor, k_BHLE: Tensor, v_BHLE: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q_BHLE, k_BHLE, v_BHLE, is_causal=True)

    def allowed(self, query: Tensor, key: Tensor, length: int) -> Tensor:
        return query >= key

    def held(self, count: int, length: int) -> Tensor:
        return torch.arange(count)


MODULE = AttentionModule

"""Full causal attention through torch's fused kernel."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from archsearch.mixers._attention import HeadedAttention
from archsearch.mixers.attention.spec import Attention
from archsearch.mixers.base import MixerContext


class AttentionModule(HeadedAttention):
    """See ``spec.Attention``."""

    def __init__(self, spec: Attention, context: MixerContext) -> None:
        super().__init__(spec, context, spec.num_heads)

    def core(self, q_BHLE: Tensor, k_BHLE: Tensor, v_BHLE: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q_BHLE, k_BHLE, v_BHLE, is_causal=True)

    def mask(self, length: int, device: torch.device) -> Tensor:
        return torch.ones(length, length, dtype=torch.bool, device=device).tril()


MODULE = AttentionModule

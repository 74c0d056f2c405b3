"""Causal sliding-window attention by blocks of queries."""

from __future__ import annotations

import torch
from torch import Tensor

from archsearch.mixers._attention import HeadedAttention, window_mask, windowed_attention
from archsearch.mixers.base import MixerContext, reach_at
from archsearch.mixers.sliding_window.spec import SlidingWindow


class SlidingWindowModule(HeadedAttention):
    """See ``spec.SlidingWindow``."""

    def __init__(self, spec: SlidingWindow, context: MixerContext) -> None:
        super().__init__(spec, context, spec.num_heads)
        self.window = spec.window

    def core(self, q_BHLE: Tensor, k_BHLE: Tensor, v_BHLE: Tensor) -> Tensor:
        window = reach_at(self.window, q_BHLE.shape[2])
        return windowed_attention(q_BHLE, k_BHLE, v_BHLE, window)

    def mask(self, length: int, device: torch.device) -> Tensor:
        return window_mask(length, reach_at(self.window, length), device)


MODULE = SlidingWindowModule

"""Causal sliding-window attention by blocks of queries."""

from __future__ import annotations

import torch
from torch import Tensor

from archsearch.mixers._attention import HeadedAttention, in_window, windowed_attention
from archsearch.mixers.base import MixerContext, reach_at
from archsearch.mixers.sliding_window.spec import SlidingWindow


class SlidingWindowModule(HeadedAttention):
    """See ``spec.SlidingWindow``."""

    def __init__(self, spec: SlidingWindow, context: MixerContext) -> None:
        super().__init__(spec, context)
        self.window = spec.window

    def core(self, q_BHLE: Tensor, k_BHLE: Tensor, v_BHLE: Tensor) -> Tensor:
        window = reach_at(self.window, q_BHLE.shape[2])
        return windowed_attention(q_BHLE, k_BHLE, v_BHLE, window)

    def allowed(self, query: Tensor, key: Tensor, length: int) -> Tensor:
        return in_window(query - key, *self.reach(length))

    def reach(self, length: int) -> tuple[int, int]:
        return reach_at(self.window, length), 1

    def held(self, count: int, length: int) -> Tensor:
        return torch.arange(max(0, count - reach_at(self.window, length)), count)


MODULE = SlidingWindowModule

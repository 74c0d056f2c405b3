"""Causal dilated window attention: a sliding window within each residue class of positions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from archsearch.mixers._attention import HeadedAttention, in_window, windowed_attention
from archsearch.mixers.base import MixerContext, reach_at
from archsearch.mixers.dilated_window.spec import DilatedWindow


class DilatedWindowModule(HeadedAttention):
    """See ``spec.DilatedWindow``."""

    def __init__(self, spec: DilatedWindow, context: MixerContext) -> None:
        super().__init__(spec, context)
        self.window = spec.window
        self.dilation = spec.dilation

    def core(self, q_BHLE: Tensor, k_BHLE: Tensor, v_BHLE: Tensor) -> Tensor:
        length = q_BHLE.shape[2]
        classes = min(self.dilation, length)
        window = reach_at(self.window, length)
        y = windowed_attention(
            self._split(q_BHLE, classes),
            self._split(k_BHLE, classes),
            self._split(v_BHLE, classes),
            window,
        )
        batch, heads = q_BHLE.shape[:2]
        y_BHLE = y.reshape(batch, heads, classes, y.shape[2], -1).transpose(2, 3).flatten(2, 3)
        return y_BHLE[:, :, :length]

    def allowed(self, query: Tensor, key: Tensor, length: int) -> Tensor:
        return in_window(query - key, *self.reach(length))

    def reach(self, length: int) -> tuple[int, int]:
        return reach_at(self.window, length), self.dilation

    def held(self, count: int, length: int) -> Tensor:
        span = (reach_at(self.window, length) - 1) * self.dilation + 1
        return torch.arange(max(0, count - span), count)

    @staticmethod
    def _split(x_BHLE: Tensor, classes: int) -> Tensor:
        """Residue classes beside the heads, (B, H * classes, L / classes, E), padded at the end."""
        padded = F.pad(x_BHLE, (0, 0, 0, -x_BHLE.shape[2] % classes))
        batch, heads, _, width = padded.shape
        return padded.reshape(batch, heads, -1, classes, width).transpose(2, 3).flatten(1, 2)


MODULE = DilatedWindowModule

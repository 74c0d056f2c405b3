"""Causal dilated window attention: a sliding window within each residue class of positions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from archsearch.mixers._attention import HeadedAttention, window_mask, windowed_attention
from archsearch.mixers.base import MixerContext, reach_at
from archsearch.mixers.dilated_window.spec import DilatedWindow


class DilatedWindowModule(HeadedAttention):
    """See ``spec.DilatedWindow``."""

    def __init__(self, spec: DilatedWindow, context: MixerContext) -> None:
        super().__init__(spec, context, spec.num_heads)
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

    def mask(self, length: int, device: torch.device) -> Tensor:
        return window_mask(length, reach_at(self.window, length), device, self.dilation)

    @staticmethod
    def _split(x_BHLE: Tensor, classes: int) -> Tensor:
        """Residue classes beside the heads, (B, H * classes, L / classes, E), padded at the end."""
        padded = F.pad(x_BHLE, (0, 0, 0, -x_BHLE.shape[2] % classes))
        batch, heads, _, width = padded.shape
        return padded.reshape(batch, heads, -1, classes, width).transpose(2, 3).flatten(1, 2)


MODULE = DilatedWindowModule

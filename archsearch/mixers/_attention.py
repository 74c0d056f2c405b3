"""What the attention mixers share: heads, rotary turns and the dense masked reference.

Axes: B batch, L length, D width, H heads, E width of a head.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from archsearch.mixers._module import SequenceMixer
from archsearch.mixers.base import MixerContext, MixerSpec

ROTARY_BASE = 10000.0


def rotary_angles(length: int, head_width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin of i * base^(-2j/E), each (L, E/2) in the type of ``like`` (2104.09864, eq. 15)."""
    exponent = torch.arange(0, head_width, 2, dtype=torch.float64, device=like.device) / head_width
    position = torch.arange(length, dtype=torch.float64, device=like.device)
    angle_LE = position[:, None] * ROTARY_BASE**-exponent
    return angle_LE.cos().to(like.dtype), angle_LE.sin().to(like.dtype)


def rotate(x_BHLE: Tensor, cos_LE: Tensor, sin_LE: Tensor) -> Tensor:
    """Turns each pair (x_j, x_{j+E/2}) by its angle."""
    a, b = x_BHLE.chunk(2, dim=-1)
    return torch.cat((a * cos_LE - b * sin_LE, a * sin_LE + b * cos_LE), dim=-1)


def masked_attention(q_BHLE: Tensor, k_BHLE: Tensor, v_BHLE: Tensor, mask_LL: Tensor) -> Tensor:
    """Softmax attention over the pairs where the mask is true, written out; empty rows give 0."""
    score = q_BHLE @ k_BHLE.transpose(-1, -2) / q_BHLE.shape[-1] ** 0.5
    weight = score.masked_fill(~mask_LL, float("-inf")).softmax(-1)
    return weight.nan_to_num(0.0) @ v_BHLE


class HeadedAttention(SequenceMixer):
    """Projections to H heads, a pattern-specific core, and a projection back; no biases.

    A subclass gives ``core`` (fast) and ``mask`` (the pairs it allows).
    """

    def __init__(self, spec: MixerSpec, context: MixerContext, num_heads: int) -> None:
        super().__init__(spec, context)
        self.num_heads = num_heads
        self.query_key_value = nn.Linear(context.d_model, 3 * context.d_model, bias=False)
        self.output = nn.Linear(context.d_model, context.d_model, bias=False)

    @abstractmethod
    def core(self, q_BHLE: Tensor, k_BHLE: Tensor, v_BHLE: Tensor) -> Tensor:
        """The attention itself, (B, H, L, E)."""

    @abstractmethod
    def mask(self, length: int, device: torch.device) -> Tensor:
        """(L, L) booleans: may query i (row) read key j (column)?"""

    def heads(self, x_BLD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (B, H, L, E), turned if rotary."""
        batch, length, width = x_BLD.shape
        shape = (batch, length, 3, self.num_heads, width // self.num_heads)
        q, k, v = self.query_key_value(x_BLD).view(shape).permute(2, 0, 3, 1, 4).unbind(0)
        if self.context.rotary:
            cos, sin = rotary_angles(length, width // self.num_heads, q)
            q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        return q, k, v

    def merge(self, y_BHLE: Tensor) -> Tensor:
        """Heads side by side, then the output projection."""
        return self.output(y_BHLE.transpose(1, 2).flatten(2))

    def forward(self, x_BLD: Tensor) -> Tensor:
        return self.merge(self.core(*self.heads(x_BLD)))

    def reference(self, x_BLD: Tensor) -> Tensor:
        q, k, v = self.heads(x_BLD)
        return self.merge(masked_attention(q, k, v, self.mask(x_BLD.shape[1], x_BLD.device)))

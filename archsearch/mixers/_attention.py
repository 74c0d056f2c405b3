"""What the attention mixers share: heads, rotary turns and the dense masked reference.

Axes: B batch, L length, D width, H heads, E width of a head.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archsearch.mixers._module import SequenceMixer
from archsearch.mixers._window import WindowBlocks, window_blocks
from archsearch.mixers.base import MixerContext, MixerSpec

ROTARY_BASE = 10000.0


def rotary_angles(length: int, head_width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of i base^(-2j/E), each (L, E/2), typed as ``like`` (2104.09864, eq. 15)."""
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


def windowed_attention(q_BHLE: Tensor, k_BHLE: Tensor, v_BHLE: Tensor, window: int) -> Tensor:
    """Causal attention over the last ``window`` keys, self included, block by block."""
    length = q_BHLE.shape[2]
    if window >= length:
        return F.scaled_dot_product_attention(q_BHLE, k_BHLE, v_BHLE, is_causal=True)
    blocks = window_blocks(window, length)
    if blocks is None:
        mask_LL = window_mask(length, window, q_BHLE.device)
        return F.scaled_dot_product_attention(q_BHLE, k_BHLE, v_BHLE, attn_mask=mask_LL)
    # axes (B*H, block, position, E): with four axes torch takes its fused kernel
    q = _neighbourhoods(q_BHLE, blocks, 0)
    k, v = (_neighbourhoods(x, blocks, blocks.num_previous) for x in (k_BHLE, v_BHLE))
    mask = _block_mask(window, blocks, q_BHLE.device)[None]
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return y.flatten(1, 2)[:, :length].reshape(q_BHLE.shape)


def _neighbourhoods(x_BHLE: Tensor, blocks: WindowBlocks, num_previous: int) -> Tensor:
    """Each block behind its ``num_previous`` predecessors, (B*H, blocks, positions, E).

    Zeros stand before the first token and behind the last.
    """
    span = blocks.num_blocks * blocks.size
    tail = span - x_BHLE.shape[2]
    padded = F.pad(x_BHLE.flatten(0, 1), (0, 0, num_previous * blocks.size, tail))
    shape = (padded.shape[0], blocks.num_blocks, blocks.size, padded.shape[2])
    starts = range(0, (num_previous + 1) * blocks.size, blocks.size)
    return torch.cat([padded[:, s : s + span].reshape(shape) for s in starts], dim=2)


def _block_mask(window: int, blocks: WindowBlocks, device: torch.device) -> Tensor:
    """(blocks, queries, keys) booleans: inside the window, and not before the first token."""
    start = torch.arange(blocks.num_blocks, device=device)[:, None, None] * blocks.size
    query = start + torch.arange(blocks.size, device=device)[:, None]
    key = start + torch.arange(-blocks.num_previous * blocks.size, blocks.size, device=device)
    distance = query - key
    return (distance >= 0) & (distance < window) & (key >= 0)


def window_mask(length: int, window: int, device: torch.device, dilation: int = 1) -> Tensor:
    """(L, L) booleans: is j one of the keys i, i - r, ..., i - (window-1) r, for dilation r?"""
    position = torch.arange(length, device=device)
    distance = position[:, None] - position
    near = (distance >= 0) & (distance < window * dilation)
    return near & (distance % dilation == 0)


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

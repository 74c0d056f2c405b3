"""Local, global and random blocks of keys, gathered beside one another for each block of queries.

Axes: B batch, Z batch and heads, H heads, L length, E width of a head, K blocks, Q queries of a
block, T keys that it reads, R random blocks.
"""

from __future__ import annotations

import random

import torch
import torch.nn.functional as F
from torch import Tensor

from archsearch.mixers._attention import HeadedAttention, block_mask, blocked
from archsearch.mixers._softmax_attention import softmax_attention
from archsearch.mixers._window import WindowBlocks
from archsearch.mixers.base import MixerContext
from archsearch.mixers.local_global_random.spec import LocalGlobalRandom


def draw_blocks(name: str, others: Tensor, count: int) -> Tensor:
    """For each entry m of ``others``, ``count`` different numbers below m, in any order.

    Entries beyond the first m mean nothing. More entries leave the draws of earlier ones alone. The
    generator is Python's: its numbers are the same in every version, and exported files need no
    other package.
    """
    generator = random.Random(name)
    numbers = [generator.random() for _ in range(len(others) * count)]
    uniform = torch.tensor(numbers, dtype=torch.float64).view(len(others), count)
    drawn = torch.zeros(len(others), 0, dtype=torch.int64)
    for r in range(count):
        # the x-th of the numbers that are left: one further for each smaller one that is not
        x = (uniform[:, r] * (others - r).clamp(min=1)).long()
        for taken in drawn.sort(dim=1).values.T:
            x = x + (x >= taken)
        drawn = torch.cat((drawn, x[:, None]), dim=1)
    return drawn


class LocalGlobalRandomModule(HeadedAttention):
    """See ``spec.LocalGlobalRandom``."""

    spec: LocalGlobalRandom
    drawn: Tensor

    def __init__(self, spec: LocalGlobalRandom, context: MixerContext) -> None:
        super().__init__(spec, context)
        blocks = -(-context.max_length // spec.block_size)
        # a function of the options: no part of the weights, which fit every length
        self.register_buffer("drawn", self._draw(blocks), persistent=False)

    def _draw(self, num_blocks: int) -> Tensor:
        """Random block r of block n in each head; valid where r < n+1 - g - u, else 0."""
        spec = self.spec
        # not on the meta device, where a design of any size is built to be counted
        with torch.device("cpu"):
            others = torch.arange(num_blocks) + 1 - spec.num_global - spec.num_local
            valid = torch.arange(spec.num_random) < others[:, None]
            heads = [
                draw_blocks(
                    f"{spec.seed}/{self.context.layer_index}/{head}", others, spec.num_random
                )
                for head in range(self.num_heads)
            ]
            return torch.where(valid, spec.num_global + torch.stack(heads), 0)

    def random_blocks(self, length: int) -> Tensor:
        """(H, K, R); drawn anew, with the same result so far, beyond the buffer."""
        needed = -(-length // self.spec.block_size)
        if needed <= self.drawn.shape[1]:
            return self.drawn[:, :needed]
        return self._draw(needed).to(self.drawn.device)

    def core(self, q_BHLE: Tensor, k_BHLE: Tensor, v_BHLE: Tensor) -> Tensor:
        spec, length = self.spec, q_BHLE.shape[2]
        blocks = WindowBlocks(spec.block_size, spec.num_local - 1, -(-length // spec.block_size))
        if blocks.num_blocks <= spec.slots:
            return F.scaled_dot_product_attention(q_BHLE, k_BHLE, v_BHLE, is_causal=True)
        q, k, v = blocked(q_BHLE, k_BHLE, v_BHLE, blocks)
        random_HKR = self.random_blocks(length)
        k, v = (
            torch.cat((near, self._global(x, blocks), _gathered(x, random_HKR, blocks)), dim=2)
            for near, x in ((k, k_BHLE), (v, v_BHLE))
        )
        mask = self._block_mask(blocks, q.device)[None]
        y_ZKQE = softmax_attention(q, k, v, mask)
        return y_ZKQE.flatten(1, 2)[:, :length].reshape(q_BHLE.shape)

    def _global(self, x_BHLE: Tensor, blocks: WindowBlocks) -> Tensor:
        """The first blocks (Z, K, g Q, E), the same for every block of queries."""
        first = x_BHLE[:, :, : self.spec.num_global * blocks.size].flatten(0, 1)
        return first[:, None].expand(-1, blocks.num_blocks, -1, -1)

    def _block_mask(self, blocks: WindowBlocks, device: torch.device) -> Tensor:
        """(K, Q, T) booleans in the order window, global, random."""
        spec, size = self.spec, blocks.size
        near = block_mask(spec.num_local * size, blocks, device)
        # blocks before the window: how many there are, and how many are not global
        before_K1 = torch.arange(blocks.num_blocks, device=device)[:, None] + 1 - spec.num_local
        first = torch.arange(spec.num_global, device=device) < before_K1
        drawn = torch.arange(spec.num_random, device=device) < before_K1 - spec.num_global
        far_KT = torch.cat((first, drawn), dim=1).repeat_interleave(size, dim=1)
        return torch.cat((near, far_KT[:, None].expand(-1, size, -1)), dim=2)

    def allowed(self, query: Tensor, key: Tensor, length: int) -> Tensor:
        spec = self.spec
        own, other = query // spec.block_size, key // spec.block_size
        fixed = (other < spec.num_global) | (own - other < spec.num_local)
        drawn = self.random_blocks(length)[:, own] == other[..., None]
        valid = torch.arange(spec.num_random, device=own.device) < (
            own[..., None] + 1 - spec.num_global - spec.num_local
        )
        return fixed | (drawn & valid).any(-1)

    def held(self, count: int, length: int) -> Tensor:
        spec, position = self.spec, torch.arange(count)
        if spec.num_random:
            return position
        first = position < spec.num_global * spec.block_size
        return position[first | (position >= count - spec.num_local * spec.block_size)]


def _gathered(x_BHLE: Tensor, random_HKR: Tensor, blocks: WindowBlocks) -> Tensor:
    """The random blocks of each block (Z, K, R Q, E)."""
    batch, heads, length, width = x_BHLE.shape
    padded = F.pad(x_BHLE, (0, 0, 0, blocks.num_blocks * blocks.size - length))
    rows = padded.reshape(batch, heads * blocks.num_blocks, blocks.size * width)
    first_H11 = torch.arange(heads, device=rows.device)[:, None, None] * blocks.num_blocks
    found = rows.index_select(1, (first_H11 + random_HKR).flatten())
    return found.view(batch * heads, blocks.num_blocks, -1, width)


MODULE = LocalGlobalRandomModule

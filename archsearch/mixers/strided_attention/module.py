"""Strided attention: the blocks of a sliding window, each beside the columns.

Axes: Z batch and heads, L length, E width of a head, K blocks, Q queries of a block, C columns.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from archsearch.mixers._attention import HeadedAttention, block_mask, blocked, in_window
from archsearch.mixers._softmax_attention import softmax_attention
from archsearch.mixers.base import MixerContext, reach_at
from archsearch.mixers.strided_attention.spec import StridedAttention, strided_blocks


class StridedAttentionModule(HeadedAttention):
    """See ``spec.StridedAttention``."""

    def __init__(self, spec: StridedAttention, context: MixerContext) -> None:
        super().__init__(spec, context)
        self.stride = spec.stride

    def core(self, q_BHLE: Tensor, k_BHLE: Tensor, v_BHLE: Tensor) -> Tensor:
        length = q_BHLE.shape[2]
        stride = reach_at(self.stride, length)
        if stride >= length:
            return F.scaled_dot_product_attention(q_BHLE, k_BHLE, v_BHLE, is_causal=True)
        position = torch.arange(length, device=q_BHLE.device)
        blocks = strided_blocks(stride, length)
        if blocks is None:
            mask = self.allowed(position[:, None], position, length) & (
                position <= position[:, None]
            )
            return F.scaled_dot_product_attention(q_BHLE, k_BHLE, v_BHLE, attn_mask=mask)
        q, k, v = blocked(q_BHLE, k_BHLE, v_BHLE, blocks)
        k, v = (
            torch.cat((near, _columns(x, stride, blocks.num_blocks)), dim=2)
            for near, x in ((k, k_BHLE), (v, v_BHLE))
        )
        query_KQ = torch.arange(blocks.num_blocks * blocks.size, device=q.device)
        distance_KQC = query_KQ.view(-1, blocks.size, 1) - position[stride - 1 :: stride]
        # those within the window are among its keys already
        mask = torch.cat((block_mask(stride, blocks, q.device), distance_KQC >= stride), dim=2)
        y_ZKQE = softmax_attention(q, k, v, mask[None])
        return y_ZKQE.flatten(1, 2)[:, :length].reshape(q_BHLE.shape)

    def allowed(self, query: Tensor, key: Tensor, length: int) -> Tensor:
        stride = reach_at(self.stride, length)
        return in_window(query - key, stride) | (key % stride == stride - 1)

    def held(self, count: int, length: int) -> Tensor:
        stride = reach_at(self.stride, length)
        position = torch.arange(count)
        near = position >= count - stride
        return position[near | (position % stride == stride - 1)]


def _columns(x_BHLE: Tensor, stride: int, num_blocks: int) -> Tensor:
    """The column positions (Z, K, C, E), the same for every block."""
    column_ZCE = x_BHLE[:, :, stride - 1 :: stride].flatten(0, 1)
    return column_ZCE[:, None].expand(-1, num_blocks, -1, -1)


MODULE = StridedAttentionModule

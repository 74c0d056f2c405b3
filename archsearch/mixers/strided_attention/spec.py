"""Strided attention (Child et al. 2019): a window, and every stride-th position."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from archsearch.architecture import Component
from archsearch.mixers._heads import HeadedSpec
from archsearch.mixers._window import WindowBlocks, pairs_form, window_blocks
from archsearch.mixers.base import (
    Citation,
    CostForm,
    MixerCost,
    Reach,
    causal_pairs,
    reach_at,
    reach_term,
)

# Narrower blocks would gather the columns too often.
_NARROWEST_BLOCK = 64


class StridedAttention(HeadedSpec):
    """Every position reads the last s positions, self included, and the column s-1, 2s-1, ...

    One softmax over both; a column position within the window counts once. The published pattern
    with both parts in every head (its fixed columns, its window of s in place of its blocks:
    reading).

    Attributes:
        stride: s: a number, or a policy of the length of the sequence. With a constant the columns
            are N/s of the positions, and the pairs a fraction 1/s of full attention's.
    """

    name: ClassVar[str] = "strided_attention"
    kind: ClassVar[Literal["sequence", "channel"]] = "sequence"
    family: ClassVar[str] = "sparse attention"
    formula: ClassVar[str] = (
        "y_i = W_o sum_j softmax_j(q_i . k_j / sqrt(d/H)) v_j, i-s < j <= i or j = s-1 mod s"
    )
    citation: ClassVar[Citation] = Citation(
        "Child et al. 2019 (Sparse Transformer)", "1904.10509", "section 4.3"
    )

    stride: Reach = "sqrt"

    def cost(self, d_model: int, length: int) -> MixerCost:
        """4Nd^2(1 + G/H) for the projections; 4d per pair.

        Useful: the pairs of the window, and floor((i+1)/s) - 1 columns before the window of each
        position i >= s-1. Executed: whole blocks, with all N/s columns for every query.
        """
        stride = min(reach_at(self.stride, length), length)
        projections = 2 * length * self.projection_params(d_model)
        pairs = causal_pairs(length, stride) + column_pairs(length, stride)
        blocks = strided_blocks(stride, length)
        executed = length**2
        if blocks is not None:
            executed = blocks.pairs + column_pairs_executed(blocks, stride, length)
        kept = stride + (length - stride) // stride
        return MixerCost(
            flops_useful=projections + 4 * pairs * d_model,
            flops_executed=projections + 4 * executed * d_model,
            flops_matmul=projections + 4 * executed * d_model,
            params=self.projection_params(d_model),
            state_floats=2 * kept * self.key_width(d_model),
        )

    def flops_form(self, d_model: int, n_max: int | None = None) -> CostForm:
        reach = reach_term(self.stride, n_max)
        share, power, _ = reach
        projections = CostForm.of((2 * self.projection_params(d_model), 1))
        window = pairs_form(reach, 4 * d_model)
        if power == 1:
            rows = math.floor(1 / share)  # columns of the whole sequence
            linear = share * rows * (rows - 1) / 2 + rows * (1 - share * rows) - (1 - share)
            columns = CostForm.of((4 * d_model * linear, 1))
        else:
            columns = CostForm.of(
                (4 * d_model / (2 * share), 2 - power), (-4 * d_model * 1.5, 1)
            ) + CostForm.of((4 * d_model / share, 1 - power), (4 * d_model * share, power))
        return projections + window + columns

    def canonical(self) -> Component:
        everything = self.stride in (1, "N/1")
        return self.full_attention() if everything else super().canonical()

    def merged(self, n_max: int) -> Component:
        covers = reach_at(self.stride, n_max) >= n_max
        return self.full_attention() if covers else self.canonical()


def column_pairs(length: int, stride: int) -> int:
    """Pairs of a query and a column before its window: the sum of floor((i+1)/s) - 1, i >= s-1."""
    rows = length // stride
    passed = stride * rows * (rows - 1) // 2 + rows * (length - stride * rows + 1)
    return passed - (length - stride + 1)


def strided_blocks(stride: int, length: int) -> WindowBlocks | None:
    """The cut of the window; None where the dense matrix is no dearer."""
    blocks = window_blocks(stride, length)
    if stride < _NARROWEST_BLOCK:
        # wide enough for the local part to stay a fraction of the columns, which are gathered
        # for each block
        size = max(_NARROWEST_BLOCK, length // stride // 8)
        blocks = WindowBlocks(size, 1, -(-length // size))
    if blocks is None or blocks.pairs + column_pairs_executed(blocks, stride, length) >= length**2:
        return None
    return blocks


def column_pairs_executed(blocks: WindowBlocks, stride: int, length: int) -> int:
    """Pairs of a query and a column: all of them."""
    return blocks.num_blocks * blocks.size * (length // stride)


SPEC = StridedAttention

"""Landmark attention (Mohtashami & Jaggi 2023): a softmax over landmarks opens blocks."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from archsearch.architecture import Component
from archsearch.mixers._blocks_cost import (
    UNLIMITED,
    block_size,
    earlier_blocks,
    earlier_blocks_executed,
    earlier_form,
    most_blocks,
    num_earlier_form,
    picking,
    read_form,
    read_pairs,
)
from archsearch.mixers._heads import HeadedSpec
from archsearch.mixers.base import (
    Citation,
    CostForm,
    MixerCost,
    Reach,
    causal_pairs,
    reach_at,
)


class LandmarkAttention(HeadedSpec):
    """Grouped softmax: the own block's tokens compete with one landmark for each block before.

    What a landmark gets is dealt out among the tokens of its block by a softmax of their own, so
    that the weights of a query add up to 1. With ``top_k`` the landmarks that compete are the k of
    largest score, for each query and head, in training as in evaluation; the others open nothing.
    Scores are compared in steps of 2^-12 (in double precision 2^-26), so that round-off orders no
    equal ones; of these, the earliest are chosen.

    Readings: no tokens are inserted. A block's landmark is a linear map, one of its own, of the
    mean input of the block; it stands at the block's last position (rotary) and has no value.

    Attributes:
        block: l, positions of a block: a number, or a policy of the length of the sequence. With a
            constant every query scores N/l landmarks, so that the cost grows as N^2/l.
        top_k: k, blocks opened beside the own one. 0 opens all: the published form in training,
            which costs at least as much as full attention.
    """

    name: ClassVar[str] = "landmark_attention"
    kind: ClassVar[Literal["sequence", "channel"]] = "sequence"
    family: ClassVar[str] = "retrieval"
    formula: ClassVar[str] = (
        "y_i = W_o [sum_{j<=i, own} p_ij v_j + sum_{e before} p_ie Attn(q_i, block e)],"
        " p = softmax(q_i . (k_j own, W_l mean(x in e)) / sqrt(d/H))"
    )
    citation: ClassVar[Citation] = Citation(
        "Mohtashami & Jaggi 2023 (Landmark Attention)", "2305.16300", "section 3"
    )

    block: Reach = "sqrt"
    top_k: int = Field(2, ge=0, le=64)

    def cost(self, d_model: int, length: int) -> MixerCost:
        """4Nd^2(1 + G/H) for the projections, 2d^2 G/H for each landmark; 4d per pair.

        2d for each score of a landmark: the sum of floor(i/l) useful, all queries behind the first
        block with all landmarks executed. Pairs: N(N+1)/2 if all blocks are opened, else
        (min(b+1, k+1) - 1) l + i - bl + 1 of the query i in block b = floor(i/l). Executed: N^2, or
        (k+1)^2 l^2 of the first (k+1) l queries, and whole tiles of the others.
        """
        size, key_width = block_size(self.block, length), self.key_width(d_model)
        around = 2 * length * self.projection_params(d_model)
        around += 2 * ((length - 1) // size) * d_model * key_width
        useful, executed = causal_pairs(length), length**2
        if self.top_k:
            useful = read_pairs(size, self.top_k + 1, length)
            executed = picking(size, self.top_k + 1, length).pairs
        scored = around + 2 * earlier_blocks_executed(size, length) * d_model
        kept = 2 * length + -(-length // size)
        return MixerCost(
            flops_useful=around + 2 * (earlier_blocks(size, length) + 2 * useful) * d_model,
            flops_executed=scored + 4 * executed * d_model,
            flops_matmul=scored + 4 * executed * d_model,
            params=self.projection_params(d_model) + d_model * key_width,
            state_floats=kept * key_width,
        )

    def flops_form(self, d_model: int, n_max: int | None = None) -> CostForm:
        around = CostForm.of((2 * self.projection_params(d_model), 1))
        landmarks = num_earlier_form(self.block, n_max, 2 * d_model * self.key_width(d_model))
        scores = earlier_form(self.block, n_max, 2 * d_model)
        if not self.top_k:
            return around + landmarks + scores + CostForm.of((2 * d_model, 2), (2 * d_model, 1))
        return (
            around + landmarks + scores + read_form(self.block, self.top_k + 1, n_max, 4 * d_model)
        )

    def canonical(self) -> Component:
        spec = self.plainly_headed()
        update = {"top_k": 0} if spec._opens_all(UNLIMITED) else {}
        return spec.model_copy(update=update).component()

    def _opens_all(self, n_max: int) -> bool:
        return most_blocks(self.block, n_max) <= self.top_k + 1

    def merged(self, n_max: int) -> Component:
        update: dict[str, Any] = {}
        if reach_at(self.block, n_max) >= n_max:
            update["block"] = "N/1"
        if self._opens_all(n_max):
            update["top_k"] = 0
        return LandmarkAttention.canonical(self.model_copy(update=update))


SPEC = LandmarkAttention

"""Native sparse attention (Yuan et al. 2025): summaries, chosen blocks and a window, gated."""

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
    picking,
    read_form,
    read_pairs,
)
from archsearch.mixers._heads import HeadedSpec
from archsearch.mixers._window import executed_pairs, pairs_form
from archsearch.mixers.base import (
    Citation,
    CostForm,
    MixerCost,
    Reach,
    causal_pairs,
    reach_at,
    reach_term,
)


class NativeSparseAttention(HeadedSpec):
    """Three causal attentions with shared keys and values, mixed by gates made of the input.

    One reads a summary, the mean key and value, of each block before the query's own; in the first
    block there is none, and its output 0. One reads n blocks token by token: the query's own, the
    one before, the first, and those of the others with the largest weights in the summary
    attention, added up over the heads that share keys. One reads a window. Which blocks are chosen
    has no gradient; the summary attention, which they are chosen by, has. Logarithms of the
    added weights are compared, in steps of 2^-12 (in double precision 2^-26), so that round-off
    orders no equal blocks; of these, the earliest are chosen.

    Readings: blocks of the summaries do not overlap and are those that are chosen from, the mean
    is in place of a perceptron over the positions of a block (which would tie the weights to its
    size), summaries and their queries are not turned, and the gates begin at 1/2.

    Attributes:
        block: l, positions of a block: a number, or a policy of the length of the sequence. With a
            constant every query reads N/l summaries, so that the cost grows as N^2/l.
        num_selected: n, blocks read token by token, own, previous and first included.
        window: w, keys of the window, self included.
    """

    name: ClassVar[str] = "native_sparse_attention"
    kind: ClassVar[Literal["sequence", "channel"]] = "sequence"
    family: ClassVar[str] = "retrieval"
    formula: ClassVar[str] = (
        "y_i = W_o [g1 Attn(q, block means before i) + g2 Attn(q, n blocks of largest weight there)"
        " + g3 Attn(q, i-w < j <= i)], g = sigmoid(W_g x_i + b) per head"
    )
    citation: ClassVar[Citation] = Citation(
        "Yuan et al. 2025 (NSA)", "2502.11089", "section 3, eq. 5-12"
    )

    block: Reach = "sqrt"
    num_selected: int = Field(4, ge=3, le=64)
    window: Reach = 32

    def cost(self, d_model: int, length: int) -> MixerCost:
        """4Nd^2(1 + G/H) for the projections, 6NdH for the gates; 4d per pair in each branch.

        Pairs of summaries: the sum of floor(i/l). Chosen: (min(b+1, n) - 1) l + i - bl + 1 of the
        query i in block b = floor(i/l). Executed: every summary for every query behind the first
        block; n^2 l^2 pairs of the first nl queries, and whole tiles of the others; the blocks of
        the window.
        """
        size = block_size(self.block, length)
        window = min(reach_at(self.window, length), length)
        around = 2 * length * (self.projection_params(d_model) + 3 * self.num_heads * d_model)
        useful = earlier_blocks(size, length) + read_pairs(size, self.num_selected, length)
        useful += causal_pairs(length, window)
        executed = earlier_blocks_executed(size, length) + executed_pairs(window, length)
        executed += picking(size, self.num_selected, length).pairs
        kept = length + -(-length // size)
        return MixerCost(
            flops_useful=around + 4 * useful * d_model,
            flops_executed=around + 4 * executed * d_model,
            flops_matmul=around + 4 * executed * d_model,
            params=self.projection_params(d_model) + 3 * self.num_heads * (d_model + 1),
            state_floats=2 * kept * self.key_width(d_model),
        )

    def flops_form(self, d_model: int, n_max: int | None = None) -> CostForm:
        around = 2 * (self.projection_params(d_model) + 3 * self.num_heads * d_model)
        return (
            CostForm.of((around, 1))
            + earlier_form(self.block, n_max, 4 * d_model)
            + read_form(self.block, self.num_selected, n_max, 4 * d_model)
            + pairs_form(reach_term(self.window, n_max), 4 * d_model)
        )

    def canonical(self) -> Component:
        spec = self.plainly_headed()
        return spec.model_copy(update={"num_selected": spec._most_selected(UNLIMITED)}).component()

    def _most_selected(self, n_max: int) -> int:
        """No more blocks than there are; to ask for fewer than three is to ask for three."""
        return max(3, min(self.num_selected, most_blocks(self.block, n_max)))

    def merged(self, n_max: int) -> Component:
        update: dict[str, Any] = {
            key: "N/1"
            for key in ("block", "window")
            if reach_at(getattr(self, key), n_max) >= n_max
        }
        update["num_selected"] = self._most_selected(n_max)
        return NativeSparseAttention.canonical(self.model_copy(update=update))


SPEC = NativeSparseAttention

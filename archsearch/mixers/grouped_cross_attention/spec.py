"""Grouped cross-attention (Hu et al. 2024): chunks of the past, looked up chunk by chunk."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

from pydantic import Field

from archsearch.architecture import Component
from archsearch.mixers._blocks_cost import UNLIMITED, block_size, blocks_term, most_blocks
from archsearch.mixers._heads import HeadedSpec
from archsearch.mixers.base import (
    Citation,
    CostForm,
    MixerCost,
    Reach,
    reach_term,
)


class GroupedCrossAttention(HeadedSpec):
    """The end of chunk c decides which K chunks before c the tokens of chunk c+1 read.

    A chunk's score is the product of its landmark, the mean input of the chunk, and the normalised
    last input of chunk c. The tokens attend to each of the K chunks by itself; the K results are
    added up with the softmax of the chosen scores, the same for all heads, which is how the choice
    learns. Chunks c and c+1 are not among those read: chunks 0 and 1 get 0, and the nearest
    tokens are left to other mixers. Queries and keys are never turned. Scores are compared in steps
    of 2^-12 (in double precision 2^-26), so that round-off orders no equal chunks; of these, the
    earliest are chosen.

    Readings: no landmark tokens are inserted, and there is no encoder of chunks.

    Attributes:
        chunk: S, positions of a chunk: a number, or a policy of the length of the sequence. All
            pairs of chunks are scored, N^2/S^2 with a constant; ``cbrt`` gives N^(4/3) in all.
        top_k: K, chunks read. The choice learns by their weights: that of a single one is always 1.
        noise: Scale of the Gumbel noise added in training to the scores that the choice sees; the
            weights do not see it.
    """

    name: ClassVar[str] = "grouped_cross_attention"
    kind: ClassVar[Literal["sequence", "channel"]] = "sequence"
    family: ClassVar[str] = "retrieval"
    formula: ClassVar[str] = (
        "y_i = W_o sum_{e in topK(c)} w_ce Attn(q_i, chunk e), i in chunk c+1, w_c = softmax_e(r),"
        " r_ce = norm(x_{cS+S-1}) . mean(x in e) / sqrt(d), e < c"
    )
    citation: ClassVar[Citation] = Citation(
        "Hu et al. 2024 (Grouped Cross Attention)", "2410.01651", "section 3"
    )
    uses_rotary: ClassVar[bool] = False

    chunk: Reach = "cbrt"
    top_k: int = Field(8, ge=1, le=64)
    noise: float = Field(0.0, ge=0, le=100)

    @property
    def noisy(self) -> bool:
        return self.noise > 0

    def slots(self, length: int) -> int:
        """Chunks that a position reads: K, or as many as there are before the last two."""
        return min(self.top_k, self.readers(length)[0])

    def readers(self, length: int) -> tuple[int, int]:
        """Chunks that read others, and positions of each; one by itself may be incomplete."""
        size = block_size(self.chunk, length)
        return max(0, -(-length // size) - 2), min(size, max(0, length - 2 * size))

    def cost(self, d_model: int, length: int) -> MixerCost:
        """4Nd^2(1 + G/H) for the projections, 2d(N/S)^2 for all scores, 4(N - 2S)KSd for pairs.

        As published, K chunks are counted for every position from the third chunk on, though the
        first of them see fewer, and the whole matrix of scores. Executed: whole chunks of queries.
        """
        size, slots = block_size(self.chunk, length), self.slots(length)
        around = 2 * length * self.projection_params(d_model)
        around += 2 * (length // size) ** 2 * d_model
        per_query = 4 * slots * size * d_model
        served = math.prod(self.readers(length))
        key_width = self.key_width(d_model)
        return MixerCost(
            flops_useful=around + max(0, length - 2 * size) * per_query,
            flops_executed=around + served * per_query,
            flops_matmul=around + served * per_query,
            params=self.projection_params(d_model) + d_model,
            state_floats=2 * length * key_width + -(-length // size) * d_model + slots,
        )

    def flops_form(self, d_model: int, n_max: int | None = None) -> CostForm:
        width, width_power, _ = reach_term(self.chunk, n_max)
        # a policy of the form N/k has so many chunks at every length
        slots = self.slots(UNLIMITED if n_max is None else n_max)
        share, power, _ = blocks_term(self.chunk, slots, n_max)
        scored = math.floor(1 / width + 1e-9) if width_power == 1 else 1 / width
        pairs = (
            (4 * d_model * share, 1 + power),
            (-8 * d_model * share * width, power + width_power),
        )
        return CostForm.of(
            (2 * self.projection_params(d_model), 1),
            (2 * d_model * scored**2, 2 - 2 * width_power),
            *(pairs if slots else ()),
        )

    def canonical(self) -> Component:
        return self._plainest(UNLIMITED)

    def merged(self, n_max: int) -> Component:
        return self._plainest(n_max)

    def _plainest(self, n_max: int) -> Component:
        spec = self.plainly_headed()
        update: dict[str, Any] = {}
        readable = most_blocks(spec.chunk, n_max) - 2
        if readable <= 0:
            update["chunk"] = "N/1"
        if readable <= spec.top_k:
            # every chunk is read, whatever noise its score has
            update.update(top_k=max(1, readable), noise=0.0)
        return spec.model_copy(update=update).component()


SPEC = GroupedCrossAttention

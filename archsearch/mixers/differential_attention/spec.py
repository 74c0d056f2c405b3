"""Differential attention (Ye et al. 2024): the difference of two softmax maps."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from archsearch.mixers._heads import HeadedSpec
from archsearch.mixers._softmax_cost import block_pairs
from archsearch.mixers.base import Citation, CostForm, MixerCost, causal_pairs


class DifferentialAttention(HeadedSpec):
    """Each head subtracts a second attention map from its first, which cancels what both share.

    The maps are subtracted before they meet the values, so that the values are read once. The norm
    of each head has weights, shared by the heads.

    Attributes:
        num_heads: H, half the heads of plain attention at equal head width e = d/(2H); 2H must
            divide the width.
        num_kv_heads: G, heads of keys, two maps to each, and of values; each is read by H/G heads
            of queries. Must divide H; 0 stands for H.
    """

    name: ClassVar[str] = "differential_attention"
    kind: ClassVar[Literal["sequence", "channel"]] = "sequence"
    family: ClassVar[str] = "attention"
    formula: ClassVar[str] = (
        "y_i = W_o (1 - l0) RMSNorm_h(sum_{j<=i} (a1_ij - l a2_ij) v_j), a = softmax_j(q_i . k_j"
        " / sqrt(e)), l = exp(u1 . w1) - exp(u2 . w2) + l0"
    )
    citation: ClassVar[Citation] = Citation(
        "Ye et al. 2024 (Differential Transformer)", "2410.05258", "section 2.1"
    )
    num_heads: int = Field(1, ge=1, le=128)
    num_kv_heads: int = Field(0, ge=0, le=128)

    def cost(self, d_model: int, length: int) -> MixerCost:
        """4Nd^2(1 + G/H) for the projections; 4d per pair: N(N+1)/2 useful, whole blocks executed.

        Multiplying each map with the values by itself would make it 6d per pair.
        """
        projections = 2 * length * self.projection_params(d_model)
        executed = projections + 4 * block_pairs(length) * d_model
        return MixerCost(
            flops_useful=projections + 4 * causal_pairs(length) * d_model,
            flops_executed=executed,
            flops_matmul=executed,
            params=self.projection_params(d_model) + 6 * self.head_width(d_model),
            state_floats=2 * length * self.key_width(d_model),
        )

    def flops_form(self, d_model: int, n_max: int | None = None) -> CostForm:
        projections = 2 * self.projection_params(d_model)
        return CostForm.of((2 * d_model, 2), (projections + 2 * d_model, 1))

    def problems(self, d_model: int) -> list[str]:
        # at a width that the heads divide, only what keys and values lack is found
        found = super().problems(self.num_heads)
        if d_model % (2 * self.num_heads):
            found.append(f"twice num_heads={self.num_heads} must divide d_model={d_model}")
        return found

    def head_width(self, d_model: int) -> int:
        return d_model // (2 * self.num_heads)


SPEC = DifferentialAttention

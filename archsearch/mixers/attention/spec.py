"""Full causal softmax attention (Vaswani et al. 2017, section 3.2)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from archsearch.mixers.base import (
    Citation,
    CostForm,
    MixerCost,
    MixerSpec,
    causal_pairs,
    head_problems,
)


class Attention(MixerSpec):
    """Every position reads every earlier one and itself.

    Attributes:
        num_heads: H; must divide the width.
    """

    name: ClassVar[str] = "attention"
    kind: ClassVar[Literal["sequence", "channel"]] = "sequence"
    family: ClassVar[str] = "attention"
    formula: ClassVar[str] = "y_i = W_o sum_{j<=i} softmax_j(q_i . k_j / sqrt(d/H)) v_j"
    citation: ClassVar[Citation] = Citation("Vaswani et al. 2017", "1706.03762", "section 3.2")
    uses_rotary: ClassVar[bool] = True

    num_heads: int = Field(1, ge=1, le=256)

    def cost(self, d_model: int, length: int) -> MixerCost:
        """8Nd^2 for the projections; 4d per pair: N(N+1)/2 useful, N^2 executed."""
        projections = 8 * length * d_model**2
        dense = projections + 4 * length**2 * d_model
        return MixerCost(
            flops_useful=projections + 4 * causal_pairs(length) * d_model,
            flops_executed=dense,
            flops_matmul=dense,
            params=4 * d_model**2,
            state_floats=2 * length * d_model,
        )

    def flops_form(self, d_model: int, n_max: int | None = None) -> CostForm:
        return CostForm.of((2 * d_model, 2), (8 * d_model**2 + 2 * d_model, 1))

    def problems(self, d_model: int) -> list[str]:
        return head_problems(d_model, self.num_heads)


SPEC = Attention

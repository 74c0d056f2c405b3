"""Full causal softmax attention (Vaswani et al. 2017, section 3.2)."""

from __future__ import annotations

from typing import ClassVar, Literal

from archsearch.mixers._heads import HeadedSpec
from archsearch.mixers._softmax_cost import executed_causal_pairs
from archsearch.mixers.base import Citation, CostForm, MixerCost, causal_pairs


class Attention(HeadedSpec):
    """Every position reads every earlier one and itself; see ``HeadedSpec`` for the heads."""

    name: ClassVar[str] = "attention"
    kind: ClassVar[Literal["sequence", "channel"]] = "sequence"
    family: ClassVar[str] = "attention"
    formula: ClassVar[str] = "y_i = W_o sum_{j<=i} softmax_j(q_i . k_j / sqrt(d/H)) v_j"
    citation: ClassVar[Citation] = Citation("Vaswani et al. 2017", "1706.03762", "section 3.2")

    def cost(self, d_model: int, length: int) -> MixerCost:
        """4Nd^2(1 + G/H) for the projections; 4d per pair.

        Useful: N(N+1)/2 pairs. Executed: whole blocks of queries, as on a CPU in float32, while N
        times the heads is at most 4,096; all N^2 in longer sequences.
        """
        projections = 2 * length * self.projection_params(d_model)
        executed = projections + 4 * executed_causal_pairs(length, self.num_heads) * d_model
        return MixerCost(
            flops_useful=projections + 4 * causal_pairs(length) * d_model,
            flops_executed=executed,
            flops_matmul=executed,
            params=self.projection_params(d_model),
            state_floats=2 * length * self.key_width(d_model),
        )

    def flops_form(self, d_model: int, n_max: int | None = None) -> CostForm:
        projections = 2 * self.projection_params(d_model)
        return CostForm.of((2 * d_model, 2), (projections + 2 * d_model, 1))


SPEC = Attention

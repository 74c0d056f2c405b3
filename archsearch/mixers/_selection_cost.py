"""What mixers cost that attend for a capped number of positions only; torch-free."""

from __future__ import annotations

from archsearch.mixers._heads import HeadedSpec
from archsearch.mixers.base import (
    CostForm,
    CostTerm,
    MixerCost,
    Reach,
    causal_pairs,
    reach_at,
    reach_term,
)


class SelectingSpec(HeadedSpec):
    """Attention whose queries are at most ``cap`` positions; everything is priced at the cap.

    Attributes:
        cap: m, the most positions served: a number, or a policy of the length of the sequence.
    """

    cap: Reach = 64

    def served(self, length: int) -> int:
        """The most positions served in a sequence."""
        return min(reach_at(self.cap, length), length)

    def served_term(self, n_max: int | None) -> CostTerm:
        """``served`` as a term in N; see ``reach_term``."""
        return reach_term(self.cap, n_max)

    def attention_cost(self, d_model: int, length: int) -> MixerCost:
        """4Nd^2 G/H keys and values, 4md^2 queries and output, 4d per pair.

        Useful pairs: mN, never more than the N(N+1)/2 of full attention; executed: mN.
        """
        served = self.served(length)
        around = 4 * d_model * (length * self.key_width(d_model) + served * d_model)
        executed = around + 4 * served * length * d_model
        return MixerCost(
            flops_useful=around + 4 * min(served * length, causal_pairs(length)) * d_model,
            flops_executed=executed,
            flops_matmul=executed,
            params=self.projection_params(d_model),
            state_floats=2 * length * self.key_width(d_model),
        )

    def attention_form(self, d_model: int, n_max: int | None) -> CostForm:
        """The useful part of ``attention_cost`` as a function of N."""
        share, power, _ = self.served_term(n_max)
        around = CostForm.of(
            (4 * d_model * self.key_width(d_model), 1), (4 * d_model**2 * share, power)
        )
        if power == 1 and share > 0.5:
            return around + CostForm.of((2 * d_model, 2), (2 * d_model, 1))
        return around + CostForm.of((4 * d_model * share, 1 + power))

"""Causal sliding-window attention (Beltagy et al. 2020, section 3.1, one-sided)."""

from __future__ import annotations

from typing import ClassVar, Literal

from archsearch.architecture import Component
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


class SlidingWindow(HeadedSpec):
    """Every position reads itself and the ``window`` - 1 positions before it.

    Attributes:
        window: w, keys including self: a number, or a policy of the length of the sequence.
    """

    name: ClassVar[str] = "sliding_window"
    kind: ClassVar[Literal["sequence", "channel"]] = "sequence"
    family: ClassVar[str] = "sparse attention"
    formula: ClassVar[str] = "y_i = W_o sum_{i-w<j<=i} softmax_j(q_i . k_j / sqrt(d/H)) v_j"
    citation: ClassVar[Citation] = Citation(
        "Beltagy et al. 2020 (Longformer)", "2004.05150", "section 3.1"
    )

    window: Reach = 64

    def cost(self, d_model: int, length: int) -> MixerCost:
        """4Nd^2(1 + G/H) for the projections; 4d per pair.

        Useful are wN - w(w-1)/2 pairs, executed whole blocks.
        """
        window = min(reach_at(self.window, length), length)
        projections = 2 * length * self.projection_params(d_model)
        executed = projections + 4 * executed_pairs(window, length) * d_model
        return MixerCost(
            flops_useful=projections + 4 * causal_pairs(length, window) * d_model,
            flops_executed=executed,
            flops_matmul=executed,
            params=self.projection_params(d_model),
            state_floats=2 * window * self.key_width(d_model),
        )

    def flops_form(self, d_model: int, n_max: int | None = None) -> CostForm:
        pairs = pairs_form(reach_term(self.window, n_max), 4 * d_model)
        return CostForm.of((2 * self.projection_params(d_model), 1)) + pairs

    def canonical(self) -> Component:
        return self.full_attention() if self.window == "N/1" else super().canonical()

    def merged(self, n_max: int) -> Component:
        covers = reach_at(self.window, n_max) >= n_max
        return self.full_attention() if covers else self.canonical()


SPEC = SlidingWindow

"""Causal sliding-window attention (Beltagy et al. 2020, section 3.1, one-sided)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from archsearch.architecture import Component
from archsearch.mixers._window import executed_pairs, pairs_form
from archsearch.mixers.base import (
    Citation,
    CostForm,
    MixerCost,
    MixerSpec,
    Reach,
    causal_pairs,
    head_problems,
    reach_at,
    reach_term,
)


class SlidingWindow(MixerSpec):
    """Every position reads itself and the ``window`` - 1 positions before it.

    Attributes:
        num_heads: H; must divide the width.
        window: w, keys including self: a number, or a policy of the length of the sequence.
    """

    name: ClassVar[str] = "sliding_window"
    kind: ClassVar[Literal["sequence", "channel"]] = "sequence"
    family: ClassVar[str] = "sparse attention"
    formula: ClassVar[str] = "y_i = W_o sum_{i-w<j<=i} softmax_j(q_i . k_j / sqrt(d/H)) v_j"
    citation: ClassVar[Citation] = Citation(
        "Beltagy et al. 2020 (Longformer)", "2004.05150", "section 3.1"
    )
    uses_rotary: ClassVar[bool] = True

    num_heads: int = Field(1, ge=1, le=256)
    window: Reach = 64

    def cost(self, d_model: int, length: int) -> MixerCost:
        """8Nd^2 for the projections; 4d per pair: wN - w(w-1)/2 useful, whole blocks executed."""
        window = min(reach_at(self.window, length), length)
        projections = 8 * length * d_model**2
        executed = projections + 4 * executed_pairs(window, length) * d_model
        return MixerCost(
            flops_useful=projections + 4 * causal_pairs(length, window) * d_model,
            flops_executed=executed,
            flops_matmul=executed,
            params=4 * d_model**2,
            state_floats=2 * window * d_model,
        )

    def flops_form(self, d_model: int, n_max: int | None = None) -> CostForm:
        pairs = pairs_form(reach_term(self.window, n_max), 4 * d_model)
        return CostForm.of((8 * d_model**2, 1)) + pairs

    def problems(self, d_model: int) -> list[str]:
        return head_problems(d_model, self.num_heads)

    def canonical(self) -> Component:
        return self._attention() if self.window == "N/1" else self.component()

    def merged(self, n_max: int) -> Component:
        covers = reach_at(self.window, n_max) >= n_max
        return self._attention() if covers else self.canonical()

    def _attention(self) -> Component:
        return Component(name="attention", options={"num_heads": self.num_heads})


SPEC = SlidingWindow

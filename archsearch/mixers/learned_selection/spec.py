"""Attention for the positions that a learned gate picks (Arora et al. 2023, section 5)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from archsearch.architecture import Component
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


class LearnedSelection(MixerSpec):
    """A position whose score passes 1/2 is served, as long as fewer than ``cap`` were before it.

    The rule reads scores up to its own position only and is the same in training and evaluation;
    selecting the best of the whole sequence, as published code does, lets later tokens decide
    whether an earlier one is served. Positions that are not served get 0. Everything is priced at
    the cap, whatever number the gate picks.

    Attributes:
        num_heads: H; must divide the width.
        cap: m, the most positions served: a number, or a policy of the length of the sequence.
        penalty: Weight of the auxiliary loss that closes gates where more than ``cap`` are open.
            At 0 nothing frees the slots that useless early positions take. A larger weight frees
            them sooner, and costs useful gates where a sequence needs just as many as there are.
    """

    name: ClassVar[str] = "learned_selection"
    kind: ClassVar[Literal["sequence", "channel"]] = "sequence"
    family: ClassVar[str] = "sparse attention"
    formula: ClassVar[str] = (
        "y_i = z_i s_i Attn_i, s_i = sigmoid(w . x_i + b),"
        " z_i = [s_i > 1/2] [sum_{j<i} [s_j > 1/2] < m]"
    )
    citation: ClassVar[Citation] = Citation(
        "Arora et al. 2023 (Zoology)", "2312.04927", "section 5"
    )
    uses_rotary: ClassVar[bool] = True

    num_heads: int = Field(1, ge=1, le=256)
    cap: Reach = 64
    penalty: float = Field(1.0, ge=0, le=100)

    def cost(self, d_model: int, length: int) -> MixerCost:
        """4Nd^2 keys and values, 4md^2 queries and output, 2Nd gate, 4d per pair.

        Useful pairs: mN, never more than the N(N+1)/2 of full attention; executed: mN.
        """
        served = min(reach_at(self.cap, length), length)
        around = 4 * (length + served) * d_model**2 + 2 * length * d_model
        pairs = served * length
        executed = around + 4 * pairs * d_model
        return MixerCost(
            flops_useful=around + 4 * min(pairs, causal_pairs(length)) * d_model,
            flops_executed=executed,
            flops_matmul=executed,
            params=4 * d_model**2 + d_model + 1,
            state_floats=2 * length * d_model,
        )

    def flops_form(self, d_model: int, n_max: int | None = None) -> CostForm:
        share, power, _ = reach_term(self.cap, n_max)
        around = CostForm.of(
            (4 * d_model**2 + 2 * d_model, 1),
            (4 * d_model**2 * share, power),
        )
        if power == 1 and share > 0.5:
            return around + CostForm.of((2 * d_model, 2), (2 * d_model, 1))
        return around + CostForm.of((4 * d_model * share, 1 + power))

    def problems(self, d_model: int) -> list[str]:
        return head_problems(d_model, self.num_heads)

    def merged(self, n_max: int) -> Component:
        # every cap that never binds is the same; the gate stays, so this is not full attention
        cap = "N/1" if reach_at(self.cap, n_max) >= n_max else self.cap
        return Component(name=self.name, options={**self.component().options, "cap": cap})


SPEC = LearnedSelection

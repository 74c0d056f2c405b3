"""Attention for tokens that occurred before: a rule that is told to the model (Arora et al. 2023).

On associative recall such tokens are the queries, so that no design with this mixer finds out by
itself what the task asks for.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from archsearch.architecture import Component
from archsearch.mixers._selection_cost import SelectingSpec
from archsearch.mixers.base import Citation, CostForm, MixerCost, reach_at, reach_term


class ProgrammaticSelection(SelectingSpec):
    """A position whose token occurred earlier is served, as long as fewer than ``cap`` were so far.

    Positions that are not served get 0. Everything is priced at the cap. Decoding keeps the N token
    ids too: they are whole numbers and not in the price of the state, which counts floats.

    Attributes:
        filler: A token that is never served, however often it occurs; recall tasks fill unused
            positions with token 0. -1: there is none.
        lookup: ``attention``, over all positions up to the served one. ``pointer``, the position
            behind the last earlier occurrence and no other, W x_p: heads mean nothing. On recall
            that is the answer by construction, an upper bound (our own form, not the published
            one).
    """

    name: ClassVar[str] = "programmatic_selection"
    kind: ClassVar[Literal["sequence", "channel"]] = "sequence"
    family: ClassVar[str] = "sparse attention"
    formula: ClassVar[str] = (
        "y_i = z_i Attn_i, z_i = p_i [sum_{j<i} p_j < m], p_i = [t_i = t_j for a j < i]"
        " [t_i is no filler]"
    )
    citation: ClassVar[Citation] = Citation(
        "Arora et al. 2023 (Zoology)", "2312.04927", "section 5, programmatic selection"
    )
    reads_tokens: ClassVar[bool] = True
    oracle_bias: ClassVar[bool] = True

    filler: int = Field(0, ge=-1, le=2**31 - 1)
    lookup: Literal["attention", "pointer"] = "attention"

    def cost(self, d_model: int, length: int) -> MixerCost:
        """``attention_cost``; with pointers 2md^2, and all inputs kept. Finding tokens is free."""
        if self.lookup == "attention":
            return self.attention_cost(d_model, length)
        product = 2 * self.served(length) * d_model**2
        return MixerCost(
            flops_useful=product,
            flops_executed=product,
            flops_matmul=product,
            params=d_model**2,
            state_floats=length * d_model,
        )

    def flops_form(self, d_model: int, n_max: int | None = None) -> CostForm:
        if self.lookup == "attention":
            return self.attention_form(d_model, n_max)
        share, power, _ = reach_term(self.cap, n_max)
        return CostForm.of((2 * d_model**2 * share, power))

    def canonical(self) -> Component:
        spec = self.plainly_headed()
        if spec.lookup == "pointer":
            spec = spec.model_copy(update={"num_heads": 1, "num_kv_heads": 0})
        return spec.component()

    def merged(self, n_max: int) -> Component:
        never_binds = reach_at(self.cap, n_max) >= n_max
        update: dict[str, Any] = {"cap": "N/1"} if never_binds else {}
        return ProgrammaticSelection.canonical(self.model_copy(update=update))


SPEC = ProgrammaticSelection

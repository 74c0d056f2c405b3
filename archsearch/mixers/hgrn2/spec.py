"""HGRN2: a gated recurrence whose input gate is the key (Qin et al. 2024)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from archsearch.mixers._linear_cost import channel_core, core_slope
from archsearch.mixers.base import Citation, CostForm, MixerCost, MixerSpec


class HGRN2(MixerSpec):
    """What a channel of the keys forgets, f, decides what it takes in, 1 - f.

    f = b + (1 - b) sigmoid(W_f x). The lower bounds b are learned, one per channel: b is
    (l/L)^exp(p) in layer l of L, from 0, with p = 0 at first, so that they begin at l/L as
    published. (There they come from a softmax over all layers; here each layer has its own p: a
    reading.) Layer 0 has none: b = 0, and its p does nothing. Heads are normed one by one to root
    mean square 1.

    Attributes:
        expand_ratio: e, width of a head's keys and values; must divide the width.
    """

    name: ClassVar[str] = "hgrn2"
    kind: ClassVar[Literal["sequence", "channel"]] = "sequence"
    family: ClassVar[str] = "recurrence"
    formula: ClassVar[str] = (
        "S_i = Diag(f_i) S_{i-1} + (1 - f_i) v_i^T, y_i = W_o norm(S_i^T silu(W_q x_i)),"
        " f_i = b + (1 - b) sigmoid(W_f x_i)"
    )
    citation: ClassVar[Citation] = Citation("Qin et al. 2024 (HGRN2)", "2404.07904", "section 3")

    expand_ratio: int = Field(16, ge=4, le=128)

    def cost(self, d_model: int, length: int) -> MixerCost:
        """8Nd^2 for the maps, and d/e heads of 4NCe + 4Ne^2."""
        maps = 8 * length * d_model**2
        core = channel_core(length, *self.shape(d_model))
        return MixerCost(
            flops_useful=maps + core.useful,
            flops_executed=maps + core.executed,
            flops_matmul=maps + core.matmul,
            params=4 * d_model**2 + d_model,
            state_floats=d_model * self.expand_ratio,
        )

    def flops_form(self, d_model: int, n_max: int | None = None) -> CostForm:
        return CostForm.of((8 * d_model**2 + core_slope(*self.shape(d_model)), 1))

    def shape(self, d_model: int) -> tuple[int, int, int]:
        """H, E and V: heads, widths of their keys and values."""
        return d_model // self.expand_ratio, self.expand_ratio, self.expand_ratio

    def head_width(self, d_model: int) -> int:
        return self.expand_ratio

    def problems(self, d_model: int) -> list[str]:
        if d_model % self.expand_ratio:
            return [f"expand_ratio={self.expand_ratio} must divide d_model={d_model}"]
        return []


SPEC = HGRN2

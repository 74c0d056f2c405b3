"""cosFormer: linear attention that looks less at what lies farther back (Qin et al. 2022)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from archsearch.mixers._linear_cost import core_slope, plain_core
from archsearch.mixers.base import Citation, CostForm, MixerCost, MixerSpec, head_problems


class CosFormer(MixerSpec):
    """Weights relu(q_i) . relu(k_j) cos(pi/2 (i-j)/M), divided by their sum.

    The cosine of a difference splits into products, which doubles the width of queries and keys.
    M is the longest sequence of the model, not the length of the sequence at hand: with that, every
    output would depend on how many tokens follow.

    Attributes:
        num_heads: H; must divide the width.
    """

    name: ClassVar[str] = "cosformer"
    kind: ClassVar[Literal["sequence", "channel"]] = "sequence"
    family: ClassVar[str] = "linear attention"
    formula: ClassVar[str] = (
        "y_i = W_o sum_{j<=i} a_ij v_j / sum_{j<=i} a_ij,"
        " a_ij = (relu(q_i) . relu(k_j)) cos(pi/2 (i-j)/M)"
    )
    citation: ClassVar[Citation] = Citation(
        "Qin et al. 2022 (cosFormer)", "2202.08791", "section 3.2; M fixed for causality"
    )

    num_heads: int = Field(1, ge=1, le=256)

    def cost(self, d_model: int, length: int) -> MixerCost:
        """8Nd^2 for the maps, and H(2NC(2E + E) + 8NE^2), E = d/H.

        The sum of weights rides along as one more value; as a norm it is executed, not useful.
        """
        maps = 8 * length * d_model**2
        heads, width = self.num_heads, d_model // self.num_heads
        run = plain_core(length, heads, 2 * width, width + 1).matmul
        return MixerCost(
            flops_useful=maps + plain_core(length, heads, 2 * width, width).useful,
            flops_executed=maps + run,
            flops_matmul=maps + run,
            params=4 * d_model**2,
            state_floats=2 * d_model * (width + 1),
        )

    def flops_form(self, d_model: int, n_max: int | None = None) -> CostForm:
        width = d_model // self.num_heads
        return CostForm.of((8 * d_model**2 + core_slope(self.num_heads, 2 * width, width), 1))

    def problems(self, d_model: int) -> list[str]:
        return head_problems(d_model, self.num_heads)


SPEC = CosFormer

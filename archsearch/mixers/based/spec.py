"""Based: linear attention with the Taylor features of the exponential (Arora et al. 2024)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from archsearch.mixers._linear_cost import CHUNK, linear_attention_flops, padded
from archsearch.mixers.base import Citation, CostForm, MixerCost, MixerSpec, head_problems


class Based(MixerSpec):
    """Attention weights 1 + s + s^2/2 in place of exp(s), summed up in a state of fixed size.

    The features are the compressed ones: each pair of coordinates once, so that their width is
    F = 1 + f + f(f+1)/2 and not 1 + f + f^2; inner products are the same.

    Attributes:
        num_heads: H; must divide the width.
        feature_dim: f, width of a head's queries and keys before the features are made.
    """

    name: ClassVar[str] = "based"
    kind: ClassVar[Literal["sequence", "channel"]] = "sequence"
    family: ClassVar[str] = "linear attention"
    formula: ClassVar[str] = (
        "y_i = W_o sum_{j<=i} a_ij v_j / sum_{j<=i} a_ij,"
        " a_ij = 1 + s + s^2/2, s = q_i . k_j / sqrt(f)"
    )
    citation: ClassVar[Citation] = Citation(
        "Arora et al. 2024 (Based)", "2402.18668", "section 4.1"
    )

    num_heads: int = Field(1, ge=1, le=256)
    feature_dim: int = Field(16, ge=4, le=64)

    @property
    def features(self) -> int:
        """F, width of the feature map."""
        f = self.feature_dim
        return 1 + f + f * (f + 1) // 2

    def cost(self, d_model: int, length: int) -> MixerCost:
        """2Nd(2fH + d) + 2Nd^2 + H(2NC(F + d/H) + 4NF d/H), in chunks of C = 64 positions.

        The normaliser rides along as one more value channel and is executed, but as a norm it is
        not in the useful count; neither are the products of the feature map.
        """
        heads, width = self.num_heads, d_model // self.num_heads
        projections = 4 * length * d_model * (self.feature_dim * heads + d_model)
        core = linear_attention_flops(length, self.features, width)
        run = linear_attention_flops(min(length, CHUNK), self.features, width + 1)
        executed = projections + heads * run * padded(length) // min(length, CHUNK)
        return MixerCost(
            flops_useful=projections + heads * core,
            flops_executed=executed,
            flops_matmul=executed,
            params=2 * d_model * self.feature_dim * heads + 2 * d_model**2,
            state_floats=self.features * (d_model + heads),
        )

    def flops_form(self, d_model: int, n_max: int | None = None) -> CostForm:
        heads, width = self.num_heads, d_model // self.num_heads
        projections = 4 * d_model * (self.feature_dim * heads + d_model)
        core = linear_attention_flops(CHUNK, self.features, width) / CHUNK
        return CostForm.of((projections + heads * core, 1))

    def problems(self, d_model: int) -> list[str]:
        return head_problems(d_model, self.num_heads)


SPEC = Based

"""Gated linear unit with GELU (Shazeer 2020, equation 6, with biases)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from archsearch.mixers.base import Citation, CostForm, MixerCost, MixerSpec


class GLU(MixerSpec):
    """Two widened copies of each position, one gating the other, narrowed again; with biases.

    Attributes:
        expansion: Hidden width as a multiple of d; the whole part of the product is taken. The
            default 8/3 has about the parameters of a plain perceptron of expansion 4.
    """

    name: ClassVar[str] = "glu"
    kind: ClassVar[Literal["sequence", "channel"]] = "channel"
    family: ClassVar[str] = "channel"
    formula: ClassVar[str] = "y = W3 ((W1 x + b1) * gelu(W2 x + b2)) + b3"
    citation: ClassVar[Citation] = Citation("Shazeer 2020", "2002.05202", "equation 6 (GEGLU)")

    expansion: float = Field(8 / 3, ge=1, le=8)

    def hidden(self, d_model: int) -> int:
        """m, the hidden width."""
        return int(self.expansion * d_model)

    def cost(self, d_model: int, length: int) -> MixerCost:
        """6Ndm."""
        hidden = self.hidden(d_model)
        flops = 6 * length * d_model * hidden
        return MixerCost(
            flops_useful=flops,
            flops_executed=flops,
            flops_matmul=flops,
            params=3 * d_model * hidden + 2 * hidden + d_model,
            state_floats=0,
        )

    def flops_form(self, d_model: int, n_max: int | None = None) -> CostForm:
        return CostForm.of((6 * d_model * self.hidden(d_model), 1))


SPEC = GLU

"""Two-layer perceptron with GELU (Vaswani et al. 2017, section 3.3; Hendrycks and Gimpel 2016)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from archsearch.mixers.base import Citation, CostForm, MixerCost, MixerSpec


class MLP(MixerSpec):
    """Widens each position, bends it and narrows it again.

    Attributes:
        expansion: Hidden width as a multiple of d; the whole part of the product is taken.
    """

    name: ClassVar[str] = "mlp"
    kind: ClassVar[Literal["sequence", "channel"]] = "channel"
    family: ClassVar[str] = "channel"
    formula: ClassVar[str] = "y = W2 gelu(W1 x + b1) + b2"
    citation: ClassVar[Citation] = Citation("Vaswani et al. 2017", "1706.03762", "section 3.3")

    expansion: float = Field(4.0, ge=1, le=8)

    def hidden(self, d_model: int) -> int:
        """m, the hidden width."""
        return int(self.expansion * d_model)

    def cost(self, d_model: int, length: int) -> MixerCost:
        """4Ndm."""
        hidden = self.hidden(d_model)
        flops = 4 * length * d_model * hidden
        return MixerCost(
            flops_useful=flops,
            flops_executed=flops,
            flops_matmul=flops,
            params=2 * d_model * hidden + d_model + hidden,
            state_floats=0,
        )

    def flops_form(self, d_model: int, n_max: int | None = None) -> CostForm:
        return CostForm.of((4 * d_model * self.hidden(d_model), 1))


SPEC = MLP

"""Short depthwise causal convolution: the shift that binds a key to the value behind it."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from archsearch.mixers.base import Citation, CostForm, MixerCost, MixerSpec, reach_term


class ShortConv(MixerSpec):
    """Each channel is filtered on its own over the last ``kernel_size`` positions.

    Attributes:
        kernel_size: k, taps including the current position.
    """

    name: ClassVar[str] = "short_conv"
    kind: ClassVar[Literal["sequence", "channel"]] = "sequence"
    family: ClassVar[str] = "convolution"
    formula: ClassVar[str] = "y_i = b + sum_{j<k} h_j * x_{i-j}, channel by channel"
    citation: ClassVar[Citation] = Citation(
        "Arora et al. 2023 (Zoology)", "2312.04927", "section 4"
    )

    kernel_size: int = Field(3, ge=2, le=128)

    def cost(self, d_model: int, length: int) -> MixerCost:
        """2kNd; torch also computes (and we trim) k-1 positions behind the end."""
        taps = self.kernel_size
        executed = 2 * taps * d_model * (length + taps - 1)
        return MixerCost(
            flops_useful=2 * taps * length * d_model,
            flops_executed=executed,
            flops_matmul=executed,
            params=taps * d_model + d_model,
            state_floats=(taps - 1) * d_model,
        )

    def flops_form(self, d_model: int, n_max: int | None = None) -> CostForm:
        taps, power, _ = reach_term(self.kernel_size, n_max)
        return CostForm.of((2 * taps * d_model, 1 + power))


SPEC = ShortConv

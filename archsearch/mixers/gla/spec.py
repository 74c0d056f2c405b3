"""Gated linear attention: every channel of the keys forgets at a pace made of the input."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from archsearch.mixers._linear_cost import channel_core, core_slope
from archsearch.mixers.base import Citation, CostForm, MixerCost, MixerSpec

RANK = 16
"""Of the map that makes the decays, as published."""


class GatedLinearAttention(MixerSpec):
    """A state per head whose rows decay by a gate a_i in (0, 1) for each of the key's channels.

    Keys and queries are half as wide as the values; the gate is a map of rank 16 with a bias. What
    a head reads is normed to root mean square 1, weighed by a swish gate and projected.

    Attributes:
        num_heads: H; twice that must divide the width.
        gate_divisor: The root that is taken of the sigmoid: the larger, the slower the forgetting.
    """

    name: ClassVar[str] = "gla"
    kind: ClassVar[Literal["sequence", "channel"]] = "sequence"
    family: ClassVar[str] = "linear attention"
    formula: ClassVar[str] = (
        "S_i = Diag(a_i) S_{i-1} + k_i v_i^T, y_i = W_o (silu(W_g x_i) * norm(S_i^T q_i)),"
        " a_i = sigmoid(W_2 W_1 x_i + b)^(1/t)"
    )
    citation: ClassVar[Citation] = Citation("Yang et al. 2023 (GLA)", "2312.06635", "section 4")

    num_heads: int = Field(2, ge=1, le=256)
    gate_divisor: int = Field(16, ge=1, le=64)

    def cost(self, d_model: int, length: int) -> MixerCost:
        """6Nd^2 + 2Nd^2 + 48Nd for the maps, and H(2NC(E + V) + 4NEV), E = d/2H, V = d/H."""
        maps = length * self._map_flops(d_model)
        core = channel_core(length, self.num_heads, *self.widths(d_model))
        return MixerCost(
            flops_useful=maps + core.useful,
            flops_executed=maps + core.executed,
            flops_matmul=maps + core.matmul,
            params=4 * d_model**2 + RANK * d_model + (RANK + 1) * d_model // 2,
            state_floats=d_model**2 // (2 * self.num_heads),
        )

    def flops_form(self, d_model: int, n_max: int | None = None) -> CostForm:
        core = core_slope(self.num_heads, *self.widths(d_model))
        return CostForm.of((self._map_flops(d_model) + core, 1))

    def widths(self, d_model: int) -> tuple[int, int]:
        """E and V, widths of a head's keys and values."""
        return d_model // (2 * self.num_heads), d_model // self.num_heads

    def _map_flops(self, d_model: int) -> int:
        return 8 * d_model**2 + 3 * RANK * d_model

    def problems(self, d_model: int) -> list[str]:
        if d_model % (2 * self.num_heads):
            return [f"twice num_heads={self.num_heads} must divide d_model={d_model}"]
        return []


SPEC = GatedLinearAttention

"""Retention: linear attention with a fixed decay per head (Sun et al. 2023)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from archsearch.mixers._linear_cost import core_slope, scalar_core
from archsearch.mixers.base import Citation, CostForm, MixerCost, MixerSpec, head_problems


class RetNet(MixerSpec):
    """Weights (q_i . k_j) gamma^(i-j) with gamma_h = 1 - 2^(-5-h), so head h remembers 2^(5+h).

    Queries and keys are turned by their position whatever the model's positions are (rotary turns;
    the decay of xPos is the gamma here). What a head reads is normed to root mean square 1, weighed
    by a swish gate and projected.

    Attributes:
        num_heads: H; must divide the width, into even parts.
        expand_value: Width of all values (and of the gate) over the width of the stream.
    """

    name: ClassVar[str] = "retnet"
    kind: ClassVar[Literal["sequence", "channel"]] = "sequence"
    family: ClassVar[str] = "linear attention"
    formula: ClassVar[str] = (
        "y_i = W_o (silu(W_g x_i) * norm(sum_{j<=i} gamma_h^(i-j) (R_i q_i . R_j k_j) v_j)),"
        " gamma_h = 1 - 2^(-5-h)"
    )
    citation: ClassVar[Citation] = Citation("Sun et al. 2023 (RetNet)", "2307.08621", "section 2.1")

    num_heads: int = Field(2, ge=1, le=256)
    expand_value: int = Field(2, ge=1, le=4)

    def cost(self, d_model: int, length: int) -> MixerCost:
        """4Nd^2 + 6eNd^2 for the maps, and H(2NC(E + V) + 4NEV), E = d/H, V = ed/H."""
        maps = length * self._map_weights(d_model) * 2
        core = scalar_core(length, self.num_heads, *self.widths(d_model))
        return MixerCost(
            flops_useful=maps + core.useful,
            flops_executed=maps + core.executed,
            flops_matmul=maps + core.matmul,
            params=self._map_weights(d_model),
            state_floats=self.expand_value * d_model**2 // self.num_heads,
        )

    def flops_form(self, d_model: int, n_max: int | None = None) -> CostForm:
        core = core_slope(self.num_heads, *self.widths(d_model))
        return CostForm.of((2 * self._map_weights(d_model) + core, 1))

    def widths(self, d_model: int) -> tuple[int, int]:
        """E and V, widths of a head's keys and values."""
        return d_model // self.num_heads, self.expand_value * d_model // self.num_heads

    def _map_weights(self, d_model: int) -> int:
        return (2 + 3 * self.expand_value) * d_model**2

    def problems(self, d_model: int) -> list[str]:
        found = head_problems(d_model, self.num_heads)
        if not found and (d_model // self.num_heads) % 2:
            found.append(
                f"num_heads={self.num_heads} must divide d_model={d_model} into heads of even width"
            )
        return found


SPEC = RetNet

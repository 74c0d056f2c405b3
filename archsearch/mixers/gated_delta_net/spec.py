"""Gated DeltaNet: the delta rule on a state that also decays (Yang et al. 2024)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from archsearch.mixers._linear_cost import CHUNK, delta_core
from archsearch.mixers.base import Citation, CostForm, MixerCost, MixerSpec, head_problems

TAPS = 4


class GatedDeltaNet(MixerSpec):
    """The state decays first; then a part b of what it holds under the key is replaced.

    Queries, keys and values pass a depthwise causal convolution of 4 taps and SiLU; queries and
    keys are then made vectors of length 1. What a head reads is normed to root mean square 1 and
    weighed by a swish gate.

    Attributes:
        num_heads: H; must divide the width.
        expand_value: Width of all values (and of the gate) over the width of the stream.
        negative_eigenvalues: b between 0 and 2 and not 1, so that a state may also change sign.
    """

    name: ClassVar[str] = "gated_delta_net"
    kind: ClassVar[Literal["sequence", "channel"]] = "sequence"
    family: ClassVar[str] = "linear attention"
    formula: ClassVar[str] = (
        "S_i = a_i S_{i-1} + b_i k_i (v_i - a_i S_{i-1}^T k_i)^T,"
        " y_i = W_o (silu(W_g x_i) * norm(S_i^T q_i)), a_i = exp(-e^A softplus(W_a x_i + c))"
    )
    citation: ClassVar[Citation] = Citation(
        "Yang et al. 2024 (Gated DeltaNet)", "2412.06464", "section 3"
    )

    num_heads: int = Field(2, ge=1, le=256)
    expand_value: int = Field(2, ge=1, le=4)
    negative_eigenvalues: bool = False

    def cost(self, d_model: int, length: int) -> MixerCost:
        """4Nd^2 + 6eNd^2 + 4NdH for the maps, 8N(2 + e)d for the taps, H(6NEV + NC(5E + 3V)).

        E = d/H, V = ed/H. torch also computes 3 positions of the convolution behind the end.
        """
        weights, channels = self._map_weights(d_model), (2 + self.expand_value) * d_model
        core = delta_core(length, *self.shape(d_model))
        useful = 2 * length * (weights + TAPS * channels)
        run = useful + 2 * (TAPS - 1) * TAPS * channels
        heads, keys, values = self.shape(d_model)
        return MixerCost(
            flops_useful=useful + core.useful,
            flops_executed=run + core.executed,
            flops_matmul=run + core.matmul,
            params=weights + TAPS * channels + 2 * self.num_heads,
            state_floats=heads * keys * values + (TAPS - 1) * channels,
        )

    def flops_form(self, d_model: int, n_max: int | None = None) -> CostForm:
        core = delta_core(CHUNK, *self.shape(d_model)).useful / CHUNK
        channels = (2 + self.expand_value) * d_model
        return CostForm.of((2 * (self._map_weights(d_model) + TAPS * channels) + core, 1))

    def shape(self, d_model: int) -> tuple[int, int, int]:
        """H, E and V: heads, widths of their keys and values."""
        width = d_model // self.num_heads
        return self.num_heads, width, self.expand_value * width

    def _map_weights(self, d_model: int) -> int:
        return (2 + 3 * self.expand_value) * d_model**2 + 2 * d_model * self.num_heads

    def problems(self, d_model: int) -> list[str]:
        return head_problems(d_model, self.num_heads)


SPEC = GatedDeltaNet

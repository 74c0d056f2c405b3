"""Mamba-2: one decay per head, made of the input; keys and queries shared by the heads."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from archsearch.mixers._linear_cost import (
    CHUNK,
    carry_flops,
    linear_attention_flops,
    padded,
)
from archsearch.mixers.base import Citation, CostForm, MixerCost, MixerSpec

TAPS = 4
EXPAND = 2


class Mamba2(MixerSpec):
    """The state space layer as linear attention: q = C, k = B, v = dt x, decay exp(-dt exp(A)).

    x, B and C pass a depthwise causal convolution of 4 taps and SiLU. The inner width is twice the
    stream's. Each head adds D x to what it reads; all of it is weighed by silu(z), normed to root
    mean square 1 and projected.

    Attributes:
        state_size: s, width of B and C, which all heads share.
        head_dim: P, values per head; must divide twice the width.
    """

    name: ClassVar[str] = "mamba2"
    kind: ClassVar[Literal["sequence", "channel"]] = "sequence"
    family: ClassVar[str] = "recurrence"
    formula: ClassVar[str] = (
        "S_i = exp(-dt_i e^A) S_{i-1} + B_i (dt_i x_i)^T,"
        " y_i = W_o norm(silu(z_i) * (S_i^T C_i + D x_i)); x, B, C = silu(conv4(W u))"
    )
    citation: ClassVar[Citation] = Citation(
        "Dao and Gu 2024 (Mamba-2)", "2405.21060", "sections 6 and 7.1"
    )

    state_size: int = Field(16, ge=4, le=256)
    head_dim: int = Field(32, ge=4, le=256)

    def cost(self, d_model: int, length: int) -> MixerCost:
        """2Nd(2E + 2s + h) + 2NdE, convolution 8N(E + 2s), 2NC(s + E) + 4NsE; E = 2d, h = E/P.

        The scores of a chunk are made once for all heads. torch also computes 3 positions of the
        convolution behind the end.
        """
        heads, inner = self.num_heads(d_model), EXPAND * d_model
        weights = self._map_weights(d_model)
        taps = 2 * TAPS * (inner + 2 * self.state_size)
        useful = 2 * length * weights + taps * length + self._core_flops(d_model, length)
        core = self._core_flops(d_model, min(length, CHUNK)) * padded(length) // min(length, CHUNK)
        matmul = 2 * length * weights + taps * (length + TAPS - 1) + core
        return MixerCost(
            flops_useful=useful,
            flops_executed=matmul + heads * carry_flops(length, self.state_size, self.head_dim),
            flops_matmul=matmul,
            params=weights + (TAPS + 1) * (inner + 2 * self.state_size) + 3 * heads,
            state_floats=inner * self.state_size + (TAPS - 1) * (inner + 2 * self.state_size),
        )

    def flops_form(self, d_model: int, n_max: int | None = None) -> CostForm:
        taps = 2 * TAPS * (EXPAND * d_model + 2 * self.state_size)
        core = self._core_flops(d_model, CHUNK) / CHUNK
        return CostForm.of((2 * self._map_weights(d_model) + taps + core, 1))

    def num_heads(self, d_model: int) -> int:
        """Heads h."""
        return EXPAND * d_model // self.head_dim

    def _map_weights(self, d_model: int) -> int:
        inner = EXPAND * d_model
        return d_model * (2 * inner + 2 * self.state_size + self.num_heads(d_model) + inner)

    def _core_flops(self, d_model: int, length: int) -> int:
        return linear_attention_flops(length, self.state_size, EXPAND * d_model)

    def head_width(self, d_model: int) -> int:
        return self.state_size

    def problems(self, d_model: int) -> list[str]:
        if EXPAND * d_model % self.head_dim:
            return [f"head_dim={self.head_dim} must divide twice d_model={d_model}"]
        return []


SPEC = Mamba2

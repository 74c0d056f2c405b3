"""DeltaNet: a linear attention that corrects what it wrote under a key (Yang et al. 2024)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from archsearch.mixers._linear_cost import CHUNK, delta_core
from archsearch.mixers.base import Citation, CostForm, MixerCost, MixerSpec, head_problems

TAPS = 4


class DeltaNet(MixerSpec):
    """Each position replaces a part b of what the state holds under its key by its value.

    Queries, keys and values pass a depthwise causal convolution of 4 taps and SiLU; queries and
    keys are then made vectors of length 1. What a head reads is normed to root mean square 1.

    Attributes:
        num_heads: H; must divide the width.
        negative_eigenvalues: b between 0 and 2 and not 1, so that a state may also change sign.
    """

    name: ClassVar[str] = "delta_net"
    kind: ClassVar[Literal["sequence", "channel"]] = "sequence"
    family: ClassVar[str] = "linear attention"
    formula: ClassVar[str] = (
        "S_i = S_{i-1} + b_i k_i (v_i - S_{i-1}^T k_i)^T, y_i = W_o norm(S_i^T q_i);"
        " q, k, v = silu(conv4(W x)), |q| = |k| = 1, b_i = sigmoid(W_b x_i)"
    )
    citation: ClassVar[Citation] = Citation(
        "Yang et al. 2024 (DeltaNet)",
        "2406.06484",
        "section 3; short convolutions as in section 3.4",
    )

    num_heads: int = Field(2, ge=1, le=256)
    negative_eigenvalues: bool = False

    def cost(self, d_model: int, length: int) -> MixerCost:
        """8Nd^2 + 2NdH for the maps, 24Nd for the taps, H(6NE^2 + 8NCE), E = d/H.

        torch also computes 3 positions of the convolution behind the end.
        """
        weights, taps = self._map_weights(d_model), 3 * TAPS * d_model
        core = delta_core(length, *self.shape(d_model))
        useful = 2 * length * (weights + taps)
        run = useful + 2 * (TAPS - 1) * taps
        return MixerCost(
            flops_useful=useful + core.useful,
            flops_executed=run + core.executed,
            flops_matmul=run + core.matmul,
            params=weights + taps,
            state_floats=d_model**2 // self.num_heads + 3 * (TAPS - 1) * d_model,
        )

    def flops_form(self, d_model: int, n_max: int | None = None) -> CostForm:
        core = delta_core(CHUNK, *self.shape(d_model)).useful / CHUNK
        return CostForm.of((2 * (self._map_weights(d_model) + 3 * TAPS * d_model) + core, 1))

    def shape(self, d_model: int) -> tuple[int, int, int]:
        """H, E and V: heads, widths of their keys and values."""
        width = d_model // self.num_heads
        return self.num_heads, width, width

    def _map_weights(self, d_model: int) -> int:
        return 4 * d_model**2 + d_model * self.num_heads

    def problems(self, d_model: int) -> list[str]:
        return head_problems(d_model, self.num_heads)


SPEC = DeltaNet

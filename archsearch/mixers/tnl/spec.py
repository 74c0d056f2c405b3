"""TransNormerLLM, lightning attention: decay fixed per head and layer (Qin et al. 2023, 2024)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from archsearch.mixers._linear_cost import core_slope, scalar_core
from archsearch.mixers.base import Citation, CostForm, MixerCost, MixerSpec, head_problems


class TransNormer(MixerSpec):
    """Weights (q_i . k_j) lambda^(i-j), with q, k, v passed through SiLU and no scale.

    What a head reads is normed to root mean square 1 and weighed by the sigmoid of a map of rank
    d/H. The norm of each head by itself is a reading, that of xmixers, a later library of the first
    author; the authors' code has a LayerNorm over all heads together. The turns of the paper's
    first layer are left out (reading).

    Attributes:
        num_heads: H; must divide the width.
        decay: Which of two incompatible rules, for head h of H in layer l of L, from 0.
            ``alibi``: exp(-2^(-8(h+1)/H) (1 - l/(L-1) + 1e-5)), the authors' code;
            ``exponential``: exp(-(8h/H) (1 - l/L)), the paper's text, which leaves most heads
            blind beyond a few tokens and head 0 without decay.
            In the only layer of a model l/(L-1) is 0.
    """

    name: ClassVar[str] = "tnl"
    kind: ClassVar[Literal["sequence", "channel"]] = "sequence"
    family: ClassVar[str] = "linear attention"
    formula: ClassVar[str] = (
        "y_i = W_o (sigmoid(W_2 W_1 x_i) * norm(sum_{j<=i} lambda_h^(i-j) (q_i . k_j) v_j)),"
        " q, k, v = silu(W x)"
    )
    citation: ClassVar[Citation] = Citation(
        "Qin et al. 2023 (TransNormerLLM)", "2307.14995", "section 3; code of 2405.17381 (reading)"
    )

    num_heads: int = Field(2, ge=1, le=256)
    decay: Literal["alibi", "exponential"] = "alibi"

    def cost(self, d_model: int, length: int) -> MixerCost:
        """8Nd^2 + 4Nd^2/H for the maps, and H(4NCE + 4NE^2), E = d/H."""
        weights = self._map_weights(d_model)
        core = scalar_core(length, *self.shape(d_model))
        return MixerCost(
            flops_useful=2 * length * weights + core.useful,
            flops_executed=2 * length * weights + core.executed,
            flops_matmul=2 * length * weights + core.matmul,
            params=weights,
            state_floats=d_model**2 // self.num_heads,
        )

    def flops_form(self, d_model: int, n_max: int | None = None) -> CostForm:
        return CostForm.of((2 * self._map_weights(d_model) + core_slope(*self.shape(d_model)), 1))

    def shape(self, d_model: int) -> tuple[int, int, int]:
        """H, E and V: heads, widths of their keys and values."""
        width = d_model // self.num_heads
        return self.num_heads, width, width

    def _map_weights(self, d_model: int) -> int:
        return 4 * d_model**2 + 2 * d_model**2 // self.num_heads

    def problems(self, d_model: int) -> list[str]:
        return head_problems(d_model, self.num_heads)


SPEC = TransNormer

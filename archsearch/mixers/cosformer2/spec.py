"""cosFormer2 as its first author's library has it: cosines at many frequencies, no denominator."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from archsearch.mixers._linear_cost import core_slope, plain_core
from archsearch.mixers.base import Citation, CostForm, MixerCost, MixerSpec, head_problems


class CosFormer2(MixerSpec):
    """Weights sum_e q_ie k_je cos(theta_e (i-j)), with q and k passed through SiLU; no decay.

    theta_e is 10000^(-2e/E) for the first half of a head's channels and 0 for the second, where
    the sine vanishes and is left out, so that keys become 1.5 times as wide. What a head reads is
    weighed by the sigmoid of a map of rank d/H, then normed to root mean square 1.

    The paper that compares cosFormer2 gives no formula. This is the linear attention that the
    xmixers library of its first author builds under that name, which is younger than the paper and
    may differ from it (reading); its positional recurrence at the input (TPE) is left out.

    Attributes:
        num_heads: H; must divide the width, into even parts.
    """

    name: ClassVar[str] = "cosformer2"
    kind: ClassVar[Literal["sequence", "channel"]] = "sequence"
    family: ClassVar[str] = "linear attention"
    formula: ClassVar[str] = (
        "y_i = W_o norm(sigmoid(W_2 W_1 x_i) * sum_{j<=i} a_ij v_j),"
        " a_ij = sum_e silu(q_ie) silu(k_je) cos(theta_e (i-j))"
    )
    citation: ClassVar[Citation] = Citation(
        "Shen et al. 2024 (scaling laws of linear models)",
        "2406.16690",
        "compared there; formula from the xmixers library (reading)",
    )

    num_heads: int = Field(2, ge=1, le=256)

    def cost(self, d_model: int, length: int) -> MixerCost:
        """8Nd^2 + 4Nd^2/H for the maps, and H(2NC(1.5E + E) + 6NE^2), E = d/H."""
        weights = self._map_weights(d_model)
        core = plain_core(length, *self.shape(d_model))
        heads, keys, values = self.shape(d_model)
        return MixerCost(
            flops_useful=2 * length * weights + core.useful,
            flops_executed=2 * length * weights + core.executed,
            flops_matmul=2 * length * weights + core.matmul,
            params=weights,
            state_floats=heads * keys * values,
        )

    def flops_form(self, d_model: int, n_max: int | None = None) -> CostForm:
        return CostForm.of((2 * self._map_weights(d_model) + core_slope(*self.shape(d_model)), 1))

    def shape(self, d_model: int) -> tuple[int, int, int]:
        """H, width of the keys as the state knows them, and width of the values."""
        width = d_model // self.num_heads
        return self.num_heads, width + width // 2, width

    def _map_weights(self, d_model: int) -> int:
        return 4 * d_model**2 + 2 * d_model**2 // self.num_heads

    def problems(self, d_model: int) -> list[str]:
        found = head_problems(d_model, self.num_heads)
        if not found and (d_model // self.num_heads) % 2:
            found.append(
                f"num_heads={self.num_heads} must divide d_model={d_model} into heads of even width"
            )
        return found


SPEC = CosFormer2

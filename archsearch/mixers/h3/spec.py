"""H3: a shift and a diagonal state space model with products between them (Fu et al. 2022)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from archsearch.mixers._convolution_cost import fft_flops, fft_length, fft_terms
from archsearch.mixers.base import Citation, CostForm, MixerCost, MixerSpec


class H3(MixerSpec):
    """Shifted keys times values, summed up by decaying oscillators, read out by queries.

    The shift is a filter of s learned taps per key channel. The sum is a diagonal state space model
    of s/2 complex states per head (S4D-Lin, bilinear discretisation), applied to the p x p products
    of a head's p keys and p values. Both add a learned multiple D of their input. Sequences go
    through FFTs, token by token through the states.

    The state space kernel is made once per batch, at about 2 (d/p) s N FLOPs: linear in N for a
    fixed s, quadratic only if s is made to grow with N. Kernels and their transforms are shared by
    the whole batch and not in the price of a sequence. Readings: the sum over a head's p keys is
    divided by sqrt(p), and what B scales is left to C. Published code trains the state space model
    at a lower rate than the rest; here all parameters share one. In a stack of 8 over 2,048 tokens
    the steps of the discretisation start with half of the norm of the gradient that clipping sees;
    behind a short convolution on recall over 256 tokens it is a tenth or less throughout.

    Attributes:
        head_dim: p, keys and values of a head; must divide the width.
        d_state: s, taps of the shift and twice the complex states; even.
    """

    name: ClassVar[str] = "h3"
    kind: ClassVar[Literal["sequence", "channel"]] = "sequence"
    family: ClassVar[str] = "gated convolution"
    formula: ClassVar[str] = "y = W_o (q * SSM_diag(SSM_shift(k) * v)), heads of p: q . SSM(k v^T)"
    citation: ClassVar[Citation] = Citation("Fu et al. 2022 (H3)", "2212.14052", "section 3")

    head_dim: int = Field(1, ge=1, le=8)
    d_state: int = Field(64, ge=2, le=256)

    def cost(self, d_model: int, length: int) -> MixerCost:
        """8Nd^2 projections; FFTs of d channels for the shift and pd for the state space model.

        Executed: FFTs of the next power of two from 2N, and 2Npd for the sum over a head's keys.
        State: s - 1 keys before the last, and s/2 complex numbers for each of pd channels.
        """
        p, s = self.head_dim, self.d_state
        projections = 8 * length * d_model**2
        channels = (p + 1) * d_model
        return MixerCost(
            flops_useful=projections + fft_flops(2 * length, channels),
            flops_executed=projections
            + fft_flops(fft_length(length), channels)
            + 2 * length * p * d_model,
            flops_matmul=projections,
            params=4 * d_model**2 + 4 * d_model + (s + 1) * d_model + (2 * s + 2) * (d_model // p),
            state_floats=(s - 1) * d_model + s * p * d_model,
        )

    def flops_form(self, d_model: int, n_max: int | None = None) -> CostForm:
        channels = (self.head_dim + 1) * d_model
        return CostForm.of((8 * d_model**2, 1), *fft_terms(channels))

    def problems(self, d_model: int) -> list[str]:
        found = []
        if d_model % self.head_dim:
            found.append(f"head_dim={self.head_dim} must divide d_model={d_model}")
        if self.d_state % 2:
            found.append(f"d_state={self.d_state} must be even")
        return found


SPEC = H3

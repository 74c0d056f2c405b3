"""Mamba: a diagonal state space whose step, input and output maps are made of the input."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from archsearch.mixers.base import Citation, CostForm, MixerCost, MixerSpec

TAPS = 4
EXPAND = 2
RUN = 256
"""Positions that are worked off one after the other; longer sequences are cut into runs of this
size, side by side. A constant of the algorithm."""


class Mamba(MixerSpec):
    """Each inner channel keeps s numbers that decay at paces of their own, set by its step dt.

    The inner width E is twice the stream's. x passes a depthwise causal convolution of 4 taps and
    SiLU; B, C and dt are maps of it, dt by way of rank d/16. The output is weighed by silu(z).

    Attributes:
        state_size: s, numbers that each inner channel keeps.
    """

    name: ClassVar[str] = "mamba"
    kind: ClassVar[Literal["sequence", "channel"]] = "sequence"
    family: ClassVar[str] = "recurrence"
    formula: ClassVar[str] = (
        "h_i = exp(-dt_i e^A) * h_{i-1} + (dt_i x_i) B_i^T,"
        " y_i = W_o (silu(z_i) * (h_i C_i + D x_i)); x = silu(conv4(W u)),"
        " dt = softplus(W_2 W_1 x + b)"
    )
    citation: ClassVar[Citation] = Citation(
        "Gu and Dao 2023 (Mamba)", "2312.00752", "sections 3.2 to 3.4"
    )

    state_size: int = Field(16, ge=4, le=64)

    def cost(self, d_model: int, length: int) -> MixerCost:
        """4NdE + 8NE + 2NE(R + 2s) + 2NRE + 2NEd for the maps, 7NEs for the recurrence.

        Sequences beyond one run of 256 positions need all but the read-outs a second time, for what
        stands before each run. Read-outs C h are matrix products. torch also computes 3 positions
        of the convolution behind the end.
        """
        inner, weights = EXPAND * d_model, self._map_weights(d_model)
        count, covered = runs(length)
        state = inner * self.state_size
        maps = 2 * length * (weights + TAPS * inner)
        run = maps + 2 * (TAPS - 1) * TAPS * inner
        again = (5 * covered + 4 * count) * state if count > 1 else 0
        return MixerCost(
            flops_useful=maps + 7 * length * state,
            flops_executed=run + 7 * covered * state + again,
            flops_matmul=run + 2 * covered * state,
            params=weights + inner * (TAPS + 1 + self.state_size + 2),
            state_floats=state + (TAPS - 1) * inner,
        )

    def flops_form(self, d_model: int, n_max: int | None = None) -> CostForm:
        inner = EXPAND * d_model
        maps = 2 * (self._map_weights(d_model) + TAPS * inner)
        return CostForm.of((maps + 7 * inner * self.state_size, 1))

    @staticmethod
    def rank(d_model: int) -> int:
        """R, of the map that makes dt."""
        return -(-d_model // 16)

    def _map_weights(self, d_model: int) -> int:
        rank, inner = self.rank(d_model), EXPAND * d_model
        return inner * (2 * d_model + rank + 2 * self.state_size + rank + d_model)

    def head_width(self, d_model: int) -> int:
        return self.state_size


def runs(length: int) -> tuple[int, int]:
    """Runs of a sequence, and the positions that they cover."""
    size = min(RUN, length)
    count = -(-length // size)
    return count, count * size


SPEC = Mamba

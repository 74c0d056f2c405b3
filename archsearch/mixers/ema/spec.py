"""Exponential moving average of each channel, with decays that are learned."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from pydantic import Field

from archsearch.mixers.base import Citation, CostForm, MixerCost, MixerSpec


class MovingAverage(MixerSpec):
    """Each channel remembers its past at a pace of its own; a linear map mixes the channels.

    Attributes:
        span: Tokens that the slowest channel looks back at the start of training.
    """

    name: ClassVar[str] = "ema"
    kind: ClassVar[Literal["sequence", "channel"]] = "sequence"
    family: ClassVar[str] = "recurrence"
    formula: ClassVar[str] = "y_i = W h_i, h_i = a * h_{i-1} + (1 - a) * x_i, channel by channel"
    citation: ClassVar[Citation] = Citation("exponential smoothing, worked example")

    span: int = Field(64, ge=2, le=4096)

    def cost(self, d_model: int, length: int) -> MixerCost:
        """2Nd^2 for the map; 4Nd for the recurrence, 6d per padded position as we compute it."""
        size, count = blocks(length)
        projection = 2 * length * d_model**2
        return MixerCost(
            flops_useful=projection + 4 * length * d_model,
            flops_executed=projection + (6 * size * count + 4 * count) * d_model,
            flops_matmul=projection,
            params=d_model**2 + d_model,
            state_floats=d_model,
        )

    def flops_form(self, d_model: int, n_max: int | None = None) -> CostForm:
        return CostForm.of((2 * d_model**2 + 4 * d_model, 1))


def blocks(length: int) -> tuple[int, int]:
    """Positions of a block and number of blocks: about sqrt(N) of both, covering the sequence."""
    size = math.isqrt(length - 1) + 1
    return size, -(-length // size)


SPEC = MovingAverage

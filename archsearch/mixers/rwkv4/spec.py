"""RWKV-4 time mixing: an average with exponential weights and a decay per channel (Peng et al.)."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from archsearch.mixers.base import Citation, CostForm, MixerCost, MixerSpec


class RWKV4(MixerSpec):
    """Per channel, a softmax over the past of key plus distance times decay; gated by a receptance.

    Each of keys, values and receptances sees a learned mix of its position and the one before it.
    Decay, bonus and mixes start as published, by channel and depth, with a depth of 0 in a model of
    one block; the published zeros of key, receptance and output maps are not taken over. No
    exponential is taken without the running maximum of the exponents.
    """

    name: ClassVar[str] = "rwkv4"
    kind: ClassVar[Literal["sequence", "channel"]] = "sequence"
    family: ClassVar[str] = "recurrence"
    formula: ClassVar[str] = (
        "y_i = W_o (sigmoid(r_i) * sum_{j<=i} p_ij v_j / sum_{j<=i} p_ij),"
        " p_ij = exp(k_j - (i-1-j) e^w), p_ii = exp(k_i + u)"
    )
    citation: ClassVar[Citation] = Citation(
        "Peng et al. 2023 (RWKV)", "2305.13048", "time-mixing block"
    )

    def cost(self, d_model: int, length: int) -> MixerCost:
        """8Nd^2 projections and 14Nd for the average; the token shift is elementwise.

        Executed: the recurrence runs in about sqrt(N) blocks of sqrt(N) positions at once, which
        adds the products of decays and what each block is handed, 5d per padded position and 4d
        per block. State: numerator, denominator, maximum, and the last input.
        """
        size, count = blocks(length)
        useful = length * (8 * d_model**2 + 14 * d_model)
        return MixerCost(
            flops_useful=useful,
            flops_executed=useful + (5 * size + 4) * count * d_model,
            flops_matmul=8 * length * d_model**2,
            params=4 * d_model**2 + 5 * d_model,
            state_floats=4 * d_model,
        )

    def flops_form(self, d_model: int, n_max: int | None = None) -> CostForm:
        return CostForm.of((8 * d_model**2 + 14 * d_model, 1))


def blocks(length: int) -> tuple[int, int]:
    """Positions of a block and number of blocks: about sqrt(N) of both, covering the sequence."""
    size = math.isqrt(length - 1) + 1
    return size, -(-length // size)


SPEC = RWKV4

"""Causal dilated window attention (Beltagy et al. 2020, section 3.1, one-sided)."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from pydantic import Field

from archsearch.architecture import Component
from archsearch.mixers._heads import HeadedSpec
from archsearch.mixers._window import executed_pairs, pairs_form
from archsearch.mixers.base import (
    Citation,
    CostForm,
    MixerCost,
    Reach,
    causal_pairs,
    reach_at,
    reach_term,
)
from archsearch.mixers.sliding_window.spec import SlidingWindow


class DilatedWindow(HeadedSpec):
    """Every position reads itself and every ``dilation``-th position before it, w keys in all.

    Positions of different residues modulo the dilation never meet: on its own the mixer cannot bind
    a key to the value behind it; a short convolution or another layer has to.

    Attributes:
        window: w, keys including self: a number, or a policy of the length of the sequence.
        dilation: r, distance between neighbouring keys.
    """

    name: ClassVar[str] = "dilated_window"
    kind: ClassVar[Literal["sequence", "channel"]] = "sequence"
    family: ClassVar[str] = "sparse attention"
    formula: ClassVar[str] = (
        "y_i = W_o sum_j softmax_j(q_i . k_j / sqrt(d/H)) v_j, j = i, i-r, ..., i-(w-1)r"
    )
    citation: ClassVar[Citation] = Citation(
        "Beltagy et al. 2020 (Longformer)", "2004.05150", "section 3.1"
    )

    window: Reach = 64
    dilation: int = Field(2, ge=1, le=1024)

    def cost(self, d_model: int, length: int) -> MixerCost:
        """4Nd^2(1 + G/H) for projections; 4d per pair: a window of w within each residue class.

        The cache keeps everything up to the furthest key: 2 ((w-1)r + 1) d G/H floats.
        """
        window = reach_at(self.window, length)
        classes = min(self.dilation, length)
        shorter, num_longer = divmod(length, classes)
        pairs = num_longer * causal_pairs(shorter + 1, window)
        pairs += (classes - num_longer) * causal_pairs(shorter, window)
        executed = classes * executed_pairs(window, -(-length // classes))
        projections = 2 * length * self.projection_params(d_model)
        kept = min((window - 1) * self.dilation + 1, length)
        return MixerCost(
            flops_useful=projections + 4 * pairs * d_model,
            flops_executed=projections + 4 * executed * d_model,
            flops_matmul=projections + 4 * executed * d_model,
            params=self.projection_params(d_model),
            state_floats=2 * kept * self.key_width(d_model),
        )

    def flops_form(self, d_model: int, n_max: int | None = None) -> CostForm:
        span = (self.window - 1) * self.dilation + 1 if isinstance(self.window, int) else None
        reach = reach_term(self.window, n_max, span)
        projections = CostForm.of((2 * self.projection_params(d_model), 1))
        return projections + pairs_form(reach, 4 * d_model, self.dilation)

    def canonical(self) -> Component:
        if self.dilation == 1 or self.window == 1:
            return self._plain(self.window).canonical()
        if isinstance(self.window, str) and self.window.startswith("N/"):
            covers = int(self.window.removeprefix("N/")) <= self.dilation
            return self._whole_classes() if covers else super().canonical()
        return super().canonical()

    def merged(self, n_max: int) -> Component:
        if self.dilation == 1:
            return self._plain(self.window).merged(n_max)
        if self.dilation >= n_max:
            return self._plain(1).merged(n_max)
        # A policy that is rounded up may cover n_max and not some shorter length: the root is
        # rounded down here, and a share of N is left to what holds at every length.
        window = math.isqrt(n_max) if self.window == "sqrt" else self.window
        covers = isinstance(window, int) and window * self.dilation >= n_max
        return self._whole_classes() if covers else self.canonical()

    def _plain(self, window: int | str) -> SlidingWindow:
        return SlidingWindow(
            num_heads=self.num_heads, num_kv_heads=self.num_kv_heads, window=window
        )

    def _whole_classes(self) -> Component:
        """Every earlier position of the same residue; the smallest window that says so."""
        whole = self.plainly_headed().model_copy(update={"window": f"N/{self.dilation}"})
        return whole.component()


SPEC = DilatedWindow

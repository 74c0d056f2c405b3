"""Hyena of order 2: a long convolution between two gates (Poli et al. 2023)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from archsearch.mixers._convolution_cost import FILTER_FEATURES, fft_flops, fft_length, fft_terms
from archsearch.mixers.base import Citation, CostForm, MixerCost, MixerSpec

SHORT_TAPS = 3


class Hyena(MixerSpec):
    """Three short-filtered projections: one gates the input of a long convolution, one its output.

    The long filter is a network with sine activations, of a learned table of features of the
    position, under an exponential window whose pace differs by channel. The table has a row for
    each position up to the longest length L that the model is built for, and window and features
    are tied to L. Reading: the window of each channel is scaled to an L2 norm of one. Noise then
    gives outputs of order one at every L, and one token again and again outputs that grow like
    sqrt(L); as published, without a scale, they grow like sqrt(L) and L.

    Made once per batch, the filter (2N(3f + 2f^2 + fd) FLOPs, and 5N log2(2N) d for its transform)
    is shared by the whole batch and not in the price of a sequence.

    Attributes:
        filter_width: f, hidden width of the filter's network.
    """

    name: ClassVar[str] = "hyena"
    kind: ClassVar[Literal["sequence", "channel"]] = "sequence"
    family: ClassVar[str] = "gated convolution"
    formula: ClassVar[str] = (
        "y = W_o (a * (h conv (b * v) + D * b * v)), (a, b, v) = short_conv(W_i u)"
    )
    citation: ClassVar[Citation] = Citation(
        "Poli et al. 2023 (Hyena)", "2302.10866", "section 3, order 2"
    )

    filter_width: int = Field(64, ge=4, le=256)

    def cost(self, d_model: int, length: int) -> MixerCost:
        """8Nd^2 projections, 18Nd short filters, two real FFTs and their product.

        Executed: k-1 = 2 more positions of the short filters, and FFTs of the next power of two
        from 2N. State: all inputs of the long filter, the last two of the short ones.
        """
        width = self.filter_width
        projections = 8 * length * d_model**2
        matmul = projections + 6 * SHORT_TAPS * d_model * (length + SHORT_TAPS - 1)
        network = (FILTER_FEATURES + 1) * width + 2 * (width + 1) * width + width * d_model
        around = 4 * d_model**2 + (3 * SHORT_TAPS + 7) * d_model
        return MixerCost(
            flops_useful=projections
            + 6 * SHORT_TAPS * d_model * length
            + fft_flops(2 * length, d_model),
            flops_executed=matmul + fft_flops(fft_length(length), d_model),
            flops_matmul=matmul,
            params=around + network + d_model + width + FILTER_FEATURES * length,
            state_floats=length * d_model + 3 * (SHORT_TAPS - 1) * d_model,
        )

    def flops_form(self, d_model: int, n_max: int | None = None) -> CostForm:
        return CostForm.of((8 * d_model**2 + 6 * SHORT_TAPS * d_model, 1), *fft_terms(d_model))


SPEC = Hyena

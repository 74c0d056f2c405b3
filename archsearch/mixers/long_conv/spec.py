"""A filter over the whole sequence for each channel, applied through the FFT."""

from __future__ import annotations

from typing import ClassVar, Literal

from archsearch.mixers._convolution_cost import (
    fft_flops,
    fft_length,
    fft_terms,
    long_filter_params,
)
from archsearch.mixers.base import Citation, CostForm, MixerCost, MixerSpec


class LongConv(MixerSpec):
    """Each channel is filtered on its own over everything before it, and skipped around.

    Filters are tied to the longest length L that a model is built for, and so is the number of
    explicit taps. They are scaled so that neither noise nor one token again and again makes outputs
    grow with L: N(0, 1) taps by 1/sqrt(L), the smooth network by 1/L. The network's taps have one
    sign over long stretches and no window: at 1/sqrt(L), one token again and again would start at
    outputs of 40 to 120 at L = 1024. At 1/L noise passes mostly by the skip until taps are learned.
    Made once per batch, they and their transform (5N log2(2N) d, and 2N(48 + 16d) for the network)
    are shared by the whole batch and not in the price of a sequence.

    Attributes:
        filter: ``explicit`` learns each tap; ``implicit`` a small network of the position.
    """

    name: ClassVar[str] = "long_conv"
    kind: ClassVar[Literal["sequence", "channel"]] = "sequence"
    family: ClassVar[str] = "convolution"
    formula: ClassVar[str] = "y_i = D * u_i + sum_{j<=i} h_j * u_{i-j}, channel by channel"
    citation: ClassVar[Citation] = Citation(
        "Arora et al. 2023 (Zoology)", "2312.04927", "published code, long convolutions"
    )

    filter: Literal["explicit", "implicit"] = "explicit"

    def cost(self, d_model: int, length: int) -> MixerCost:
        """Two real FFTs and their product, at n = 2N in the useful count.

        The executed length is the next power of two. Explicit taps are counted for ``length``.
        """
        explicit = self.filter == "explicit"
        filter_params = length * d_model if explicit else long_filter_params(d_model)
        return MixerCost(
            flops_useful=fft_flops(2 * length, d_model),
            flops_executed=fft_flops(fft_length(length), d_model),
            flops_matmul=0,
            params=filter_params + d_model,
            state_floats=length * d_model,
        )

    def flops_form(self, d_model: int, n_max: int | None = None) -> CostForm:
        return CostForm.of(*fft_terms(d_model))


SPEC = LongConv

"""BaseConv: a projection gated by a convolution (Arora et al. 2023, section 4)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from archsearch.mixers._convolution_cost import (
    fft_flops,
    fft_length,
    fft_terms,
    long_filter_params,
)
from archsearch.mixers.base import Citation, CostForm, MixerCost, MixerSpec, reach_term


class BaseConv(MixerSpec):
    """A linear map of each position times a causal depthwise convolution of the sequence.

    The long filter is a small network of the position (``_convolution.LongFilter``), made once per
    batch: 2N(48 + 16d) FLOPs for it and 5N log2(2N) d for its transform are shared by the whole
    batch and not in the price of a sequence. The published code adds the input to the product; here
    the residual is the block's.

    Attributes:
        kernel_size: Taps including the current position, or ``long`` for a filter over everything.
    """

    name: ClassVar[str] = "base_conv"
    kind: ClassVar[Literal["sequence", "channel"]] = "sequence"
    family: ClassVar[str] = "gated convolution"
    formula: ClassVar[str] = "y = (W u + b1) * (h conv u + b2); long: (W u + b1) * (h conv u + u)"
    citation: ClassVar[Citation] = Citation(
        "Arora et al. 2023 (Zoology)", "2312.04927", "section 4"
    )

    kernel_size: Annotated[int, Field(ge=2, le=128)] | Literal["long"] = 3

    def cost(self, d_model: int, length: int) -> MixerCost:
        """2Nd^2 for the projection; 2kNd, or two real FFTs of length n >= 2N and their product.

        A real FFT of length n counts 2.5 n log2 n, the product 6 (n/2 + 1), both per channel: n is
        2N in the useful count, the next power of two in the executed one.
        """
        projection = 2 * length * d_model**2
        if self.kernel_size == "long":
            return MixerCost(
                flops_useful=projection + fft_flops(2 * length, d_model),
                flops_executed=projection + fft_flops(fft_length(length), d_model),
                flops_matmul=projection,
                params=d_model**2 + d_model + long_filter_params(d_model),
                state_floats=length * d_model,
            )
        taps = self.kernel_size
        executed = projection + 2 * taps * d_model * (length + taps - 1)
        return MixerCost(
            flops_useful=projection + 2 * taps * length * d_model,
            flops_executed=executed,
            flops_matmul=executed,
            params=d_model**2 + d_model + (taps + 1) * d_model,
            state_floats=(taps - 1) * d_model,
        )

    def flops_form(self, d_model: int, n_max: int | None = None) -> CostForm:
        if self.kernel_size == "long":
            return CostForm.of((2 * d_model**2, 1), *fft_terms(d_model))
        taps, power, _ = reach_term(self.kernel_size, n_max)
        return CostForm.of((2 * d_model**2, 1), (2 * taps * d_model, 1 + power))


SPEC = BaseConv

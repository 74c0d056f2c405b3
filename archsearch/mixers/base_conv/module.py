"""A projection gated by a convolution. Axes: B batch, L length, D width, F frequency."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from archsearch.mixers._module import SequenceMixer
from archsearch.mixers.base import MixerContext
from archsearch.mixers.base_conv.spec import FILTER_FEATURES, FILTER_HIDDEN, BaseConv, fft_length
from archsearch.mixers.short_conv.module import CausalDepthwiseConv

# The one frequency of the published filter: over a sequence, the cosine is 1 and the sine 0.
_BAND = 1e-4


class LongFilter(nn.Module):
    """h_t = MLP(t/L, cos(2 pi f t/L), sin(2 pi f t/L)) / L, tied to the longest length L."""

    def __init__(self, d_model: int, max_length: int) -> None:
        super().__init__()
        self.max_length = max_length
        self.hidden = nn.Linear(FILTER_FEATURES, FILTER_HIDDEN)
        self.taps = nn.Linear(FILTER_HIDDEN, d_model)

    def initialise(self, generator: torch.Generator) -> None:
        """Taps of order 1/L: whatever the input, the output is of the order of its largest entry.

        A smooth filter adds up a run of equal tokens coherently, so that the usual 1/sqrt(L) would
        make outputs grow with the length. The factor 1/L stands outside the network, for an
        optimiser whose steps do not scale with its weights.
        """
        nn.init.normal_(self.hidden.weight, generator=generator)
        nn.init.normal_(self.taps.weight, std=FILTER_HIDDEN**-0.5, generator=generator)

    def forward(self, length: int) -> Tensor:
        """The first ``length`` taps, (L, D)."""
        weight = self.hidden.weight
        t = torch.arange(length, device=weight.device, dtype=torch.float64) / self.max_length
        turn = 2 * math.pi * _BAND * t
        features = torch.stack((t, turn.cos(), turn.sin()), dim=-1).to(weight.dtype)
        return self.taps(self.hidden(features).relu()) / self.max_length


class LongConvolution(nn.Module):
    """h conv u + u, causal, through an FFT long enough not to wrap around."""

    def __init__(self, d_model: int, max_length: int) -> None:
        super().__init__()
        self.filter = LongFilter(d_model, max_length)

    def forward(self, u_BLD: Tensor) -> Tensor:
        length = u_BLD.shape[1]
        n = fft_length(length)
        # half precision has no FFT
        wide = torch.promote_types(u_BLD.dtype, torch.float32)
        h_FD = torch.fft.rfft(self.filter(length).to(wide), n=n, dim=0)
        u_BFD = torch.fft.rfft(u_BLD.to(wide), n=n, dim=1)
        y_BLD = torch.fft.irfft(u_BFD * h_FD, n=n, dim=1)[:, :length]
        return y_BLD.to(u_BLD.dtype) + u_BLD

    def taps(self, u_BLD: Tensor) -> Tensor:
        """The same, tap by tap."""
        length = u_BLD.shape[1]
        h_LD = self.filter(length)
        y = u_BLD
        for j in range(length):
            y = y + h_LD[j] * nn.functional.pad(u_BLD[:, : length - j], (0, 0, j, 0))
        return y


class BaseConvModule(SequenceMixer):
    """See ``spec.BaseConv``."""

    def __init__(self, spec: BaseConv, context: MixerContext) -> None:
        super().__init__(spec, context)
        self.projection = nn.Linear(context.d_model, context.d_model)
        self.convolution: LongConvolution | CausalDepthwiseConv = (
            LongConvolution(context.d_model, context.max_length)
            if spec.kernel_size == "long"
            else CausalDepthwiseConv(context.d_model, spec.kernel_size)
        )

    def initialise(self, generator: torch.Generator) -> None:
        if isinstance(self.convolution, LongConvolution):
            self.convolution.filter.initialise(generator)

    def forward(self, x_BLD: Tensor) -> Tensor:
        return self.projection(x_BLD) * self.convolution(x_BLD)

    def reference(self, x_BLD: Tensor) -> Tensor:
        return self.projection(x_BLD) * self.convolution.taps(x_BLD)


MODULE = BaseConvModule

"""Causal convolution through the FFT, and a filter for it that is a network of the position.

Axes: B batch, L length, D width, T taps, F frequency.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from archsearch.mixers._convolution_cost import FILTER_FEATURES, FILTER_HIDDEN, fft_length

# The one frequency of the published filter: over a sequence, the cosine is 1 and the sine 0.
_BAND = 1e-4


class _FFTConvolution(torch.autograd.Function):
    """The derivatives of a convolution are two correlations; torch's own take complex FFTs."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, taps: Tensor) -> Tensor:
        n = fft_length(u.shape[-1])
        u_F, taps_F = torch.fft.rfft(u, n=n), torch.fft.rfft(taps, n=n)
        product_F = u_F * taps_F
        # a correlation multiplies by the conjugate
        ctx.save_for_backward(u_F.conj_physical_(), taps_F.conj_physical_())
        ctx.lengths = n, u.shape[-1], taps.shape[-1]
        return torch.fft.irfft(product_F, n=n)[..., : u.shape[-1]]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        u_F, taps_F = ctx.saved_tensors
        n, length, num_taps = ctx.lengths
        grad_F = torch.fft.rfft(grad, n=n)
        by_u = by_taps = None
        if ctx.needs_input_grad[0]:
            by_u_F = _summed(grad_F * taps_F, u_F.shape)
            by_u = torch.fft.irfft(by_u_F, n=n)[..., :length]
        if ctx.needs_input_grad[1]:
            by_taps_F = _summed(grad_F * u_F, taps_F.shape)
            by_taps = torch.fft.irfft(by_taps_F, n=n)[..., :num_taps]
        return by_u, by_taps


def _summed(x: Tensor, shape: torch.Size) -> Tensor:
    """Summed over the axes that were broadcast; a copy less than torch's where none was."""
    return x.reshape(shape) if x.numel() == shape.numel() else x.sum_to_size(shape)


def fft_convolution(u: Tensor, taps: Tensor) -> Tensor:
    """y_i = sum_{j<=i} h_j u_{i-j} along the last axis; the axes before it are broadcast.

    Taps that end early are followed by zeros. The FFT is long enough not to wrap around, and of
    single precision at least, since half precision has none.
    """
    wide = torch.promote_types(torch.promote_types(u.dtype, taps.dtype), torch.float32)
    taps = taps[..., : u.shape[-1]]
    y: Tensor = _FFTConvolution.apply(u.to(wide), taps.to(wide))  # type: ignore[no-untyped-call]
    return y.to(u.dtype)


def channelwise_convolution(u_BLD: Tensor, taps_LD: Tensor) -> Tensor:
    """The same along the middle axis, channel by channel."""
    return fft_convolution(u_BLD.transpose(1, 2), taps_LD.T).transpose(1, 2)


def tap_by_tap(u_BLD: Tensor, taps_LD: Tensor) -> Tensor:
    """The same as a sum of shifted inputs."""
    y = torch.zeros_like(u_BLD)
    for j in range(min(u_BLD.shape[1], taps_LD.shape[0])):
        shifted = nn.functional.pad(u_BLD[:, : u_BLD.shape[1] - j], (0, 0, j, 0))
        y = y + taps_LD[j] * shifted
    return y


def next_output(inputs_BLD: Tensor, taps_LD: Tensor) -> Tensor:
    """The output (B, D) at the last of the inputs."""
    num_taps = min(inputs_BLD.shape[1], taps_LD.shape[0])
    return (inputs_BLD[:, -num_taps:].flip(1) * taps_LD[:num_taps]).sum(1)


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
        """The first ``length`` taps, (L, D), each channel's side by side in memory."""
        features = position_features(length, self.max_length, self.hidden.weight)
        hidden = self.hidden(features).relu()
        # dividing the weights is cheaper than dividing what they make
        weight, bias = self.taps.weight / self.max_length, self.taps.bias / self.max_length
        return (weight @ hidden.T + bias[:, None]).T


def position_features(length: int, max_length: int, like: Tensor) -> Tensor:
    """t/L and the cosine and sine of 2 pi f t/L for t < ``length``, (T, 3), typed as ``like``."""
    t = torch.arange(length, device=like.device, dtype=torch.float64) / max_length
    turn = 2 * math.pi * _BAND * t
    return torch.stack((t, turn.cos(), turn.sin()), dim=-1).to(like.dtype)

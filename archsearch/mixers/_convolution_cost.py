"""The price of a convolution through the FFT, and of the filter network; torch-free."""

from __future__ import annotations

import math

FILTER_FEATURES = 3
FILTER_HIDDEN = 16


def fft_length(length: int) -> int:
    """Smallest power of two that holds the linear convolution of two sequences of this length."""
    return 1 << (2 * length - 1).bit_length()


def fft_flops(n: int, channels: int) -> int:
    """Two real FFTs of length n at 2.5 n log2 n and their product, 6 (n/2 + 1), per channel."""
    return round((5 * n * math.log2(n) + 6 * (n // 2 + 1)) * channels)


def long_filter_params(d_model: int) -> int:
    """Parameters of ``_convolution.LongFilter``."""
    return (FILTER_FEATURES + 1) * FILTER_HIDDEN + (FILTER_HIDDEN + 1) * d_model


def fft_terms(channels: int) -> tuple[tuple[float, int, int], ...]:
    """``fft_flops`` at n = 2N as terms in N: 10 N log2 N + 16 N + 6 per channel."""
    return ((10 * channels, 1, 1), (16 * channels, 1, 0), (6 * channels, 0, 0))

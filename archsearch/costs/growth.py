"""How the price grows with the length: exact from cost terms, with figures to check it by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import compress

import numpy as np

from archsearch.architecture import Architecture
from archsearch.costs._mixers import active_mixers, sequence_mixers
from archsearch.costs.flops import flops_at
from archsearch.mixers import specs
from archsearch.mixers.base import CostForm, MixerSpec

LONGEST = 2**24
"""Tokens beyond which no crossover is looked for."""

_GRID: tuple[int, ...] = (*range(1, 129), *(n << k for k in range(6, 23) for n in (3, 4)))
"""Lengths at which designs are compared: each up to 128, then two an octave up to the longest."""

_EXACT = 1024
"""Lengths of the grid up to which each about the last turn is looked at."""


def cost_form(architecture: Architecture, n_max: int | None = None) -> CostForm:
    """Useful FLOPs as a sum of terms c N^a (log2 N)^b; ``growth`` of it is the certificate.

    Args:
        architecture: The design.
        n_max: The longest tested length. A constant reach above a quarter of it is priced as that
            fraction of N, for nothing is known of it at greater lengths. None: the design as built.
    """
    return CostForm.merged(
        term._replace(coefficient=count * term.coefficient)
        for spec, count in active_mixers(architecture).items()
        for term in spec.flops_form(architecture.d_model, n_max).terms
    )


def local_exponent(architecture: Architecture, length: int) -> float:
    """log2 F(2N)/F(N): what a measurement at N would show; never a certificate.

    Full attention itself shows 1.74 at N = 512, d = 64, for its projections still weigh in.
    """
    return math.log2(flops_at(architecture, 2 * length) / flops_at(architecture, length))


def crossover_length(architecture: Architecture) -> int | None:
    """The length from which on the design is cheaper than full attention.

    Compared in useful FLOPs with the same design, the sequence mixers of each block replaced by
    full attention; channel mixers and norms cancel. A design may be cheaper at few tokens, dearer
    at some more, and cheaper again: the last turn counts. Looked at are each length up to 128, then
    two an octave; about the last that is dearer, each of the octaves from its own to that of twice
    the next, where the next is at most 1,024 (the price of blocks jumps), else halves between. What
    is dearer only between two that are looked at is not seen.

    Returns:
        A length from 1 to ``LONGEST``, or None if it is not cheaper at ``LONGEST``.
    """
    d_model, attention = architecture.d_model, specs.get("attention")()
    counts = sequence_mixers(architecture)
    counts[attention] -= len(architecture.blocks)

    def dearer(lengths: Sequence[int]) -> list[int]:
        lead = sum(n * _useful_flops(spec, d_model, lengths) for spec, n in counts.items())
        return list(compress(lengths, np.greater_equal(lead, 0)))

    low = max(dearer(_GRID), default=None)
    if low is None:
        return 1
    if low == LONGEST:
        return None
    high = _GRID[_GRID.index(low) + 1]
    if high <= _EXACT:
        # Whole octaves, so that few different stretches are asked for, and most are kept.
        return 1 + max(dearer(range(_octave(low), 2 * _octave(2 * high - 1))))
    while high - low > 1:
        middle = (low + high) // 2
        lead = sum(n * spec.cost(d_model, middle).flops_useful for spec, n in counts.items())
        low, high = (middle, high) if lead >= 0 else (low, middle)
    return high


def _octave(length: int) -> int:
    """The greatest power of two up to a length."""
    return 1 << (length.bit_length() - 1)


@lru_cache(maxsize=4096)
def _useful_flops(spec: MixerSpec, d_model: int, lengths: Sequence[int]) -> np.ndarray:
    """At some lengths, as whole numbers of any size."""
    return np.array([spec.cost(d_model, n).flops_useful for n in lengths], dtype=object)

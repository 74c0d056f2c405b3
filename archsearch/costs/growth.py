"""How the price grows with the length: exact from cost terms, with figures to check it by."""

from __future__ import annotations

import math
from functools import lru_cache

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
    two an octave; about the last that is dearer, each up to twice the next where that is at most
    1,024 (the price of blocks jumps), else halves between. What is dearer only between two that
    are looked at is not seen.

    Returns:
        A length from 1 to ``LONGEST``, or None if it is not cheaper at ``LONGEST``.
    """
    d_model, attention = architecture.d_model, specs.get("attention")()
    counts = sequence_mixers(architecture)
    counts[attention] -= len(architecture.blocks)
    lead = sum(n * _useful_flops(spec, d_model) for spec, n in counts.items())
    dearer = np.flatnonzero(lead >= 0)
    if not len(dearer):
        return 1
    last = int(dearer[-1])
    if last == len(_GRID) - 1:
        return None

    def is_dearer(length: int) -> bool:
        lead = sum(n * spec.cost(d_model, length).flops_useful for spec, n in counts.items())
        return lead >= 0

    low, high = _GRID[last], _GRID[last + 1]
    if high <= _EXACT:
        return 1 + next(n for n in range(2 * high, 0, -1) if n == low or is_dearer(n))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if is_dearer(middle) else (low, middle)
    return high


@lru_cache(maxsize=4096)
def _useful_flops(spec: MixerSpec, d_model: int) -> np.ndarray:
    """At the lengths of the grid, as whole numbers of any size."""
    return np.array([spec.cost(d_model, n).flops_useful for n in _GRID], dtype=object)

"""How the price grows with the length: exact from cost terms, with figures to check it by."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from archsearch.architecture import Architecture
from archsearch.costs._mixers import active_mixers, sequence_mixers
from archsearch.costs.flops import flops_at
from archsearch.mixers import specs
from archsearch.mixers.base import CostForm, MixerSpec

LONGEST = 2**24
"""Tokens beyond which no crossover is looked for."""

_EXACT = 512
"""Lengths between two of the grid that are looked at one by one."""

_GRID = tuple(
    sorted({*range(1, 129), *(n << k for k in range(24) for n in (2, 3) if n << k <= LONGEST)})
)
"""Lengths at which designs are compared: each of a few, then two an octave."""


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
    at some more, and cheaper again: the last turn counts. It is exact where it lies below 2,048;
    greater lengths are looked at two an octave, and halved between them.

    Returns:
        A length from 1 to ``LONGEST``, or None if it is not cheaper at ``LONGEST``.
    """
    d_model = architecture.d_model
    mixers = sequence_mixers(architecture)
    attention, depth = specs.get("attention")(), len(architecture.blocks)
    ours = sum(n * _useful_on_grid(spec, d_model) for spec, n in mixers.items())
    dearer = np.flatnonzero(ours >= depth * _useful_on_grid(attention, d_model))
    if not len(dearer):
        return 1
    last = int(dearer[-1])
    if last == len(_GRID) - 1:
        return None

    def is_cheaper(length: int) -> bool:
        useful = sum(n * _useful(spec, d_model, length) for spec, n in mixers.items())
        return useful < depth * _useful(attention, d_model, length)

    return _last_turn(is_cheaper, _GRID[last], _GRID[last + 1])


@lru_cache(maxsize=4096)
def _useful_on_grid(spec: MixerSpec, d_model: int) -> np.ndarray:
    """FLOPs at the lengths of the grid, as whole numbers of any size."""
    return np.array([_useful(spec, d_model, length) for length in _GRID], dtype=object)


@lru_cache(maxsize=2**16)
def _useful(spec: MixerSpec, d_model: int, length: int) -> int:
    return spec.cost(d_model, length).flops_useful


def _last_turn(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The length from which on it holds, of those above ``low``, where it does not, to ``high``."""
    if high - low <= _EXACT:
        return 1 + next(n for n in range(high - 1, low - 1, -1) if n == low or not holds(n))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high

"""How the price grows with the length: exact from cost terms, with figures to check it by."""

from __future__ import annotations

import math
from collections.abc import Callable

from archsearch.architecture import Architecture
from archsearch.costs._mixers import active_mixers, sequence_mixers
from archsearch.costs.flops import flops_at
from archsearch.mixers import specs
from archsearch.mixers.base import CostForm

LONGEST = 2**24
"""Tokens beyond which no crossover is looked for."""


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
    """The first length at which the design is cheaper than full attention.

    Compared in useful FLOPs with the same design, the sequence mixers of each block replaced by
    full attention; channel mixers and norms cancel. Lengths are doubled until the design is
    cheaper, then bisected: a design that turns cheaper, dearer and cheaper again between two powers
    of two may be given the later turn.

    Returns:
        A length from 1 to ``LONGEST``, or None.
    """
    d_model = architecture.d_model
    mixers = sequence_mixers(architecture)
    attention = specs.get("attention")()

    def is_cheaper(length: int) -> bool:
        ours = sum(n * spec.cost(d_model, length).flops_useful for spec, n in mixers.items())
        theirs = len(architecture.blocks) * attention.cost(d_model, length).flops_useful
        return ours < theirs

    return _first(is_cheaper)


def _first(holds: Callable[[int], bool]) -> int | None:
    high = 1
    while not holds(high):
        high *= 2
        if high > LONGEST:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high

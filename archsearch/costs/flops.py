"""FLOPs: forward, per sequence, a multiply-add counted as two; embedding and head left out.

The head is left out because it is the same for every design of a width and would drown the rest:
2NdV at all positions is 268 MFLOP at N = 256, d = 64, V = 8192, against 17 for an attention layer.
What else is not counted stands in ``mixers.base``.
"""

from __future__ import annotations

from archsearch.architecture import Architecture
from archsearch.costs._mixers import active_mixers


def flops_at(architecture: Architecture, length: int) -> int:
    """Useful FLOPs at a length: only (query, key) pairs that the patterns allow."""
    return sum(
        count * spec.cost(architecture.d_model, length).flops_useful
        for spec, count in active_mixers(architecture).items()
    )


def executed_flops_at(architecture: Architecture, length: int) -> int:
    """FLOPs that our algorithms compute at a length, masked pairs and padding included."""
    return sum(
        count * spec.cost(architecture.d_model, length).flops_executed
        for spec, count in active_mixers(architecture).items()
    )

"""State: floats that a model keeps in order to read the next token of one sequence."""

from __future__ import annotations

from archsearch.architecture import Architecture
from archsearch.costs._mixers import active_mixers


def state_floats(architecture: Architecture, length: int) -> int:
    """Floats kept behind ``length`` tokens."""
    return sum(
        count * spec.cost(architecture.d_model, length).state_floats
        for spec, count in active_mixers(architecture).items()
    )

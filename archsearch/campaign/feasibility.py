"""Whether a design may be trained: it can be built, and its price satisfies the constraints."""

from __future__ import annotations

from archsearch.architecture import Architecture
from archsearch.canonical import canonicalise
from archsearch.costs import Price, price
from archsearch.errors import InputError
from archsearch.mixers.base import Growth
from archsearch.space import CampaignFile

INVALID = "valid"
"""Stands for the constraint that every design is under: that it can be built."""


Priced = tuple[Architecture | None, Price | None, dict[str, float]]
"""A design in canonical form, its price, and its violations by constraint."""


def constraint_values(architecture: Architecture, price: Price) -> dict[str, float | Growth]:
    """The value of every metric that a constraint may name."""
    return {
        "growth": price.growth_class,
        "params": price.params,
        "flops": price.flops,
        "flops_executed": price.flops_executed,
        "state": price.state_floats,
        "depth": len(architecture.blocks),
        "d_model": architecture.d_model,
    }


def priced(file: CampaignFile, architecture: Architecture) -> Price:
    """The price of a buildable design under a campaign's task."""
    task = file.task
    return price(
        architecture,
        task.longest_test_length,
        vocab_size=task.vocab_size,
        max_length=task.longest_length,
    )


def violations(file: CampaignFile, architecture: Architecture) -> Priced:
    """The canonical design, its price, and how far it is from satisfying each constraint.

    Returns:
        The violations are by the constraint's text, at most 0 where it is satisfied. A design that
        cannot be built has neither form nor price, and violates ``INVALID`` alone.
    """
    try:
        canonical = canonicalise(architecture)
    except InputError:
        return None, None, {INVALID: 1.0}
    cost = priced(file, canonical)
    values = constraint_values(canonical, cost)
    return canonical, cost, {str(c): c.violation(values) for c in file.constraints}

"""What a design costs, from the closed forms of its mixers: no torch, no tensor, no measurement."""

from __future__ import annotations

from archsearch.costs.flops import executed_flops_at, flops_at
from archsearch.costs.growth import cost_form, crossover_length, local_exponent
from archsearch.costs.params import embedding_params, num_params
from archsearch.costs.price import Price, price
from archsearch.costs.state import state_floats

__all__ = [
    "Price",
    "cost_form",
    "crossover_length",
    "embedding_params",
    "executed_flops_at",
    "flops_at",
    "local_exponent",
    "num_params",
    "price",
    "state_floats",
]

"""Independent uniform draws: the baseline that any other method has to beat."""

from __future__ import annotations

from optuna.samplers import RandomSampler

from archsearch.samplers.base import Look


def create(seed: int, look: Look | None = None) -> RandomSampler:
    """A random sampler."""
    return RandomSampler(seed=seed)


SAMPLER = create

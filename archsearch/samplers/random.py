"""Independent uniform draws: the baseline that any other method has to beat."""

from __future__ import annotations

from optuna.samplers import RandomSampler


def create(seed: int) -> RandomSampler:
    """A random sampler."""
    return RandomSampler(seed=seed)


SAMPLER = create

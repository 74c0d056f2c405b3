"""NSGA-II (Deb et al. 2002): cheap proposals for campaigns of thousands of trials."""

from __future__ import annotations

from optuna.samplers import NSGAIISampler

_POPULATION = 24
"""Smaller than Optuna's 50, which campaigns of a few hundred trials would leave only twice."""


def create(seed: int) -> NSGAIISampler:
    """An NSGA-II sampler; its generations live in the study."""
    return NSGAIISampler(seed=seed, population_size=_POPULATION)


SAMPLER = create

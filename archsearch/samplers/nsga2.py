"""NSGA-II (Deb et al. 2002): cheap proposals for campaigns of thousands of trials."""

from __future__ import annotations

from optuna import Study
from optuna.samplers import NSGAIISampler
from optuna.trial import FrozenTrial

from archsearch.samplers.base import Look

_POPULATION = 24
"""Smaller than Optuna's 50, which campaigns of a few hundred trials would leave only twice."""


class _Repeatable(NSGAIISampler):
    """Parents in the order of their numbers, as they come back from the study.

    Optuna uses them as sorted by rank once, when a generation begins, and stores only who they are:
    a trial killed just then would be drawn otherwise when it is drawn again.
    """

    def select_parent(self, study: Study, generation: int) -> list[FrozenTrial]:
        return sorted(super().select_parent(study, generation), key=lambda trial: trial.number)


def create(seed: int, look: Look | None = None) -> NSGAIISampler:
    """An NSGA-II sampler; its generations live in the study."""
    return _Repeatable(seed=seed, population_size=_POPULATION)


SAMPLER = create

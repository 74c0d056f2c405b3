"""Multi-objective tree-structured Parzen estimator (Ozaki et al. 2022), as Optuna has it."""

from __future__ import annotations

import warnings

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import TPESampler

from archsearch.samplers.base import Look


def create(seed: int, look: Look | None = None) -> TPESampler:
    """TPE over joint distributions, one for each group of parameters that occur together.

    Optuna's own default draws each parameter on its own, which cannot learn that two choices belong
    together; a space of conditional layers is made of such choices.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return TPESampler(
            seed=seed,
            multivariate=True,
            group=True,
            constant_liar=True,
        )


SAMPLER = create

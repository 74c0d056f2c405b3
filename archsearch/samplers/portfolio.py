"""Several samplers in turn: a campaign that depends on no single one of them.

Which trial is whose follows from its number alone, so that all of its parameters, and the same
trial drawn again after an interruption, are drawn by the same member. All learn from all trials.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from archsearch.samplers import random, structural, tpe
from archsearch.samplers.base import Look, SamplerFactory

TURNS: Final[tuple[SamplerFactory, ...]] = (
    structural.create,
    tpe.create,
    structural.create,
    random.create,
)
"""Half of all trials are bred, a quarter modelled, a quarter drawn: trial k by ``TURNS[k % 4]``."""

MODELLED: Final = 2000
"""Trials from which on those to be modelled are bred as well: TPE's time grows with what it has
seen, to half a second and more by then."""


def turn_of(number: int) -> SamplerFactory:
    """Whose turn a trial is."""
    turn = TURNS[number % len(TURNS)]
    return structural.create if turn is tpe.create and number >= MODELLED else turn


class PortfolioSampler(BaseSampler):
    """Leaves each trial to the sampler whose turn it is.

    Args:
        seed: Of every member.
        look: For members that look at designs.
    """

    def __init__(self, seed: int, look: Look | None) -> None:
        self._seed = seed
        self._look = look
        self._members: dict[SamplerFactory, BaseSampler] = {}

    def _member(self, trial: FrozenTrial) -> BaseSampler:
        turn = turn_of(trial.number)
        if turn not in self._members:
            self._members[turn] = turn(self._seed, self._look)
        return self._members[turn]

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._member(trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        return self._member(trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        return self._member(trial).sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self._member(trial).before_trial(study, trial)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        self._member(trial).after_trial(study, trial, state, values)


def create(seed: int, look: Look | None = None) -> PortfolioSampler:
    """A portfolio of fresh samplers, each made when its turn comes."""
    return PortfolioSampler(seed, look)


SAMPLER = create

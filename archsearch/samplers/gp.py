"""Gaussian processes, as Optuna has them, for short campaigns of long evaluations.

With two objectives the next design is the one with the greatest expected gain of hypervolume
(Daulton et al. 2020, arXiv 2006.05078, in the logarithmic form of Ament et al. 2023, arXiv
2310.20708), times the probability that it is feasible (Gardner et al. 2014), given the designs
that are being trained.

How far that reaches:

- *Conditional parameters.* Optuna's sampler models the parameters that all complete trials have
  in common, its intersection search space: width, depth, rule of placement, and what each layer
  is asked for whatever the others say. Options of a mixer, and layers that only some depths have,
  are left to a second sampler; here that is TPE, which learns each of them on its own. In spaces
  where most parameters are conditional ``structural`` is the better choice.
- *Constraints.* It wants the same ones from every trial, which a design that cannot be built does
  not have, so that it is told one: the worst violation.
- *Time.* An ask grows with the cube of the number of complete trials. Beyond ``REACH`` of them
  ``structural`` takes over.

scipy and torch, which Optuna's sampler needs, are imported when something is first modelled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler
from optuna.search_space import intersection_search_space
from optuna.trial import FrozenTrial, TrialState

from archsearch.samplers import structural, tpe
from archsearch.samplers.base import Look

REACH: Final = 500
"""Complete trials that are modelled, infeasible ones included."""
_WORST: Final = 1.0
"""Where violations are cut off: a price of five times the limit says no more than one of twice."""
_NO_CONSTRAINT: Final = -1.0
"""Violation of a trial that was under none."""


class ReachingGPSampler(BaseSampler):
    """Optuna's ``GPSampler`` until ``REACH`` trials are complete, then a structural sampler.

    Only trials with lower numbers are looked at.

    Args:
        seed: Of all that is drawn; below 2^32.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._beyond = structural.create(seed)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        complete = _earlier(study, trial, TrialState.COMPLETE)
        if len(complete) > REACH:
            return self._beyond.infer_relative_search_space(study, trial)
        common = intersection_search_space(complete)
        return {name: common[name] for name in sorted(common) if not common[name].single()}

    def sample_relative(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        complete = _earlier(study, trial, TrialState.COMPLETE)
        if len(complete) > REACH:
            return self._beyond.sample_relative(study, trial, search_space)
        # a study of its own: what is told here is not what the campaign has stored
        view = optuna.create_study(directions=study.directions, sampler=GPSampler(seed=self._seed))
        view.add_trials(_tidied(complete))
        view.add_trials(
            optuna.trial.create_trial(
                state=other.state, params=other.params, distributions=other.distributions
            )
            for other in _earlier(study, trial, TrialState.RUNNING)
        )
        asked = view.ask()
        return view.sampler.sample_relative(
            view, view.get_trials(deepcopy=False)[asked.number], search_space
        )

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        beyond = len(_earlier(study, trial, TrialState.COMPLETE)) > REACH
        sampler = self._beyond if beyond else tpe.create(self._seed)
        return sampler.sample_independent(study, trial, param_name, param_distribution)


def _earlier(study: optuna.Study, trial: FrozenTrial, state: TrialState) -> list[FrozenTrial]:
    return [
        other
        for other in study.get_trials(deepcopy=False, states=(state,))
        if other.number < trial.number and (state is TrialState.RUNNING or _is_finite(other))
    ]


def _is_finite(trial: FrozenTrial) -> bool:
    return all(map(math.isfinite, trial.values))


def _tidied(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials with one constraint, if there are any, and no values but possible ones.

    What is told for a design that cannot be built would dwarf all differences between the others:
    values of infeasible trials are moved into the range of the feasible ones.
    """
    constrained = any(trial.constraints for trial in trials)
    worst = [max(trial.constraints.values(), default=_NO_CONSTRAINT) for trial in trials]
    feasible = [trial.values for trial, excess in zip(trials, worst, strict=True) if excess <= 0]
    tidied = []
    for trial, excess in zip(trials, worst, strict=True):
        values = np.array(trial.values)
        if feasible and excess > 0:
            values = values.clip(np.min(feasible, axis=0), np.max(feasible, axis=0))
        tidied.append(
            optuna.trial.create_trial(
                values=values.tolist(),
                params=trial.params,
                distributions=trial.distributions,
                constraints={"worst": min(excess, _WORST)} if constrained else None,
            )
        )
    return tidied


def create(seed: int, look: Look | None = None) -> ReachingGPSampler:
    """A sampler that models a few hundred trials; it keeps nothing between draws."""
    return ReachingGPSampler(seed)


SAMPLER = create

"""Evolution with a designer's mutations: what lies on the front or near it is changed a little.

A parent wins a tournament among the foremost designs, as in regularised evolution (Real et al.
2019, arXiv 1802.01548), here ranked by dominance (Deb et al. 2002). It is read as a stack of
layers and changed as one would change it by hand: another mixer, a layer moved, added or left out,
the neighbouring window, cap, state or width. What a changed design has no value for, and no other
layer of its parent either, is drawn uniformly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from archsearch import pareto
from archsearch.samplers._draft import Draft, Params, Space

RANDOM_TRIALS: Final = 16
"""Drawn uniformly before anything is bred."""
RANDOM_SHARE: Final = 0.1
"""Of later trials, so that nothing in the space is out of reach."""
CROSSED_SHARE: Final = 0.15
"""Of children, with layers of a second parent."""
MORE_SHARE: Final = 0.4
"""Chance of one more mutation, again after each."""
NEAR_FRONT: Final = 8
"""Fronts are peeled off until there are so many possible parents."""
FOREMOST: Final = 64
"""Trials among which fronts are looked for; equal ones need as many fronts as they are."""
TOURNAMENT: Final = 3
"""Of so many possible parents, the one of least rank breeds."""
REDRAWS: Final = 32
"""Children that may turn out to be known before a random draw takes their place."""
REMEMBERED: Final = 1000
"""Latest trials whose names may be drawn jointly: parents bred some of them, and share theirs."""
CELLS: Final = 50
"""Less than 1/50 of an objective's range is no advantage: accuracies are noisy."""


class StructuralSampler(BaseSampler):
    """Proposes mutants of the designs on and near the front.

    Parents are complete and feasible: finite values, no constraint above 0. Every trial with a
    lower number is known, whatever its state, and a child that would equal one is drawn again;
    trials with higher numbers are not looked at. A name has the same distribution throughout a
    study.

    Args:
        seed: Of all that is drawn; below 2^32.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._random = RandomSampler(seed=seed)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        seen: dict[str, BaseDistribution] = {}
        for other in _earlier(study, trial)[-REMEMBERED:]:
            seen.update(other.distributions)
        # storages may return names in any order, and draws are made name by name
        return {name: seen[name] for name in sorted(seen) if not seen[name].single()}

    def sample_relative(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        search_space: dict[str, BaseDistribution],
    ) -> Params:
        rng = np.random.default_rng(self._seed)
        if trial.number < RANDOM_TRIALS or rng.random() < RANDOM_SHARE:
            return {}
        earlier = _earlier(study, trial)
        parents, ranks = near_front(study.directions, earlier)
        if not parents:
            return {}
        known = [other.params.items() for other in earlier if other.params]
        for _ in range(REDRAWS):
            child = _child(parents, ranks, search_space, rng).params(search_space, rng)
            # the child holds answers to more than it will be asked: if all of a trial's are among
            # them, it will be asked the same and give the same
            if not any(answers <= child.items() for answers in known):
                return child
        return {}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        return self._random.sample_independent(study, trial, param_name, param_distribution)


def _earlier(study: optuna.Study, trial: FrozenTrial) -> list[FrozenTrial]:
    """What there was before the trial, which is in the list itself."""
    return study.get_trials(deepcopy=False)[: trial.number]


def near_front(
    directions: Sequence[StudyDirection], trials: Sequence[FrozenTrial]
) -> tuple[list[FrozenTrial], NDArray[np.int64]]:
    """Possible parents and their ranks: whole fronts until there are ``NEAR_FRONT`` of them.

    Args:
        directions: Of the two objectives.
        trials: Of any state.

    Returns:
        Feasible complete trials in the order in which they were given, and 0 for those on the
        front, 1 for those on the front without these, and so on. Of more than ``FOREMOST`` trials
        only the foremost are ranked, all on a grid of ``CELLS`` cells a range.
    """
    signs = np.array([1.0 if way is StudyDirection.MINIMIZE else -1.0 for way in directions])
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    losses = np.array([trial.values for trial in complete]).reshape(-1, 2) * signs
    chosen = np.array(_foremost(losses, complete), dtype=np.int64)
    if not chosen.size:
        return [], chosen
    losses = losses[chosen]
    spread = np.ptp(losses, axis=0)
    grid = np.round((losses - losses.min(axis=0)) / np.where(spread > 0, spread, 1.0) * CELLS)
    ranks = pareto.ranks(grid)
    last = np.sort(ranks)[min(NEAR_FRONT, len(ranks)) - 1]
    near = np.flatnonzero(ranks <= last)
    return [complete[i] for i in chosen[near]], ranks[near]


def _foremost(losses: NDArray[np.float64], trials: Sequence[FrozenTrial]) -> list[int]:
    """Indices, in order, of feasible trials: fronts until there are ``FOREMOST`` of them.

    Constraints are read of those only that would be on a front: reading all would take longer than
    everything else that an ask does.
    """
    second = losses[:, 1].tolist()
    # whatever dominates a trial stands before it
    order = np.lexsort((losses[:, 1], losses[:, 0]))
    left = order[np.isfinite(losses[order]).all(axis=1)].tolist()
    found: list[int] = []
    while left and len(found) < FOREMOST:
        best = math.inf
        dominated = []
        for i in left:
            if second[i] >= best:
                dominated.append(i)
            elif all(excess <= 0 for excess in trials[i].constraints.values()):
                best = second[i]
                found.append(i)
        left = dominated
    return sorted(found)


def _child(
    parents: Sequence[FrozenTrial],
    ranks: NDArray[np.int64],
    space: Space,
    rng: np.random.Generator,
) -> Draft:
    def parent() -> Draft:
        rivals = rng.integers(len(parents), size=TOURNAMENT)
        return Draft.read(parents[rivals[np.argmin(ranks[rivals])]].params)

    child = parent()
    mutations = int(rng.geometric(1 - MORE_SHARE))
    if rng.random() < CROSSED_SHARE:
        child.cross(parent(), rng)
        mutations -= 1
    for _ in range(mutations):
        child.mutate(space, rng)
    return child


def create(seed: int) -> StructuralSampler:
    """A structural sampler; it keeps nothing between draws."""
    return StructuralSampler(seed)


SAMPLER = create

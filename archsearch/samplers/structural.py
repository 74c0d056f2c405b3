"""Evolution with a designer's mutations: what lies on the front or near it is changed a little.

A parent wins a tournament among the foremost designs, as in regularised evolution (Real et al.
2019, arXiv 1802.01548), here ranked by dominance (Deb et al. 2002). It is read as a stack of
layers and changed as one would change it by hand: another mixer, a layer moved, added or left out,
the neighbouring window, cap, state or width. What a changed design has no value for, and no other
layer of its parent either, is drawn uniformly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial

from archsearch import pareto
from archsearch.samplers._draft import Draft, Params, Space
from archsearch.samplers._seen import seen
from archsearch.samplers.base import Look

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

    Attributes:
        random_trials: Drawn uniformly before anything is bred.
    """

    random_trials: ClassVar[int] = RANDOM_TRIALS

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._random: RandomSampler | None = None

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        space = seen(study).space(trial.number)
        return {name: space[name] for name in space if not space[name].single()}

    def sample_relative(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        search_space: dict[str, BaseDistribution],
    ) -> Params:
        rng = np.random.default_rng(self._seed)
        if trial.number < self.random_trials or rng.random() < RANDOM_SHARE:
            return {}
        past = seen(study)
        parents, ranks = near_front(past.losses(trial.number), past.trials)
        if not parents:
            return {}

        def breed() -> Params:
            return _child(parents, ranks, search_space, rng).params(search_space, rng)

        chosen = self._chosen(study, trial, parents, breed, rng)
        return {name: value for name, value in chosen.items() if name in search_space}

    def _chosen(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        parents: Sequence[FrozenTrial],
        breed: Callable[[], Params],
        rng: np.random.Generator,
    ) -> Params:
        """The first child that is not known.

        Args:
            study: What is known.
            trial: That is drawn.
            parents: Possible ones.
            breed: Makes a child.
            rng: The only source of randomness.
        """
        known = [answers for answers in seen(study).answers(trial.number) if answers]
        for _ in range(REDRAWS):
            answers = breed()
            # the child holds answers to more than it will be asked: if all of a trial's are among
            # them, it will be asked the same and give the same
            if not any(those <= answers.items() for those in known):
                return answers
        return {}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        # a campaign seeds each parameter's draw by a sampler of its own, which is rarely asked
        self._random = self._random or RandomSampler(seed=self._seed)
        return self._random.sample_independent(study, trial, param_name, param_distribution)


def near_front(
    losses: NDArray[np.float64], trials: Sequence[FrozenTrial]
) -> tuple[list[FrozenTrial], NDArray[np.int64]]:
    """Possible parents and their ranks: whole fronts until there are ``NEAR_FRONT`` of them.

    Args:
        losses: (n, objectives); NaN for trials that are not complete.
        trials: Of any state; the first n are looked at.

    Returns:
        Feasible complete trials in the order in which they were given, and 0 for those on the
        front, 1 for those on the front without these, and so on. Of more than ``FOREMOST`` trials
        only the foremost are ranked, all on a grid of ``CELLS`` cells a range.
    """
    chosen = _foremost(losses, trials)
    if not chosen.size:
        return [], chosen
    losses = losses[chosen]
    spread = np.ptp(losses, axis=0)
    grid = np.round((losses - losses.min(axis=0)) / np.where(spread > 0, spread, 1.0) * CELLS)
    ranks = pareto.ranks(grid)
    last = np.sort(ranks)[min(NEAR_FRONT, len(ranks)) - 1]
    near = np.flatnonzero(ranks <= last)
    return [trials[i] for i in chosen[near]], ranks[near]


def _foremost(losses: NDArray[np.float64], trials: Sequence[FrozenTrial]) -> NDArray[np.int64]:
    """Indices, in order, of feasible trials: fronts until there are ``FOREMOST`` of them.

    Constraints are read of those only that would be on a front: reading all would take longer than
    everything else that an ask does.
    """
    order = np.lexsort(losses.T[::-1])
    left = order[np.isfinite(losses[order]).all(axis=1)]
    found = np.zeros(0, dtype=np.int64)
    while left.size and found.size < FOREMOST:
        front = pareto.sorted_front(losses[left])
        feasible = [max(trials[i].constraints.values(), default=0.0) <= 0 for i in left[front]]
        if all(feasible):
            found = np.append(found, left[front])
            left = left[~front]
        else:  # what they hid may be on this front
            front[front] = ~np.array(feasible)
            left = left[~front]
    return np.sort(found)


def _child(
    parents: Sequence[FrozenTrial],
    ranks: NDArray[np.int64],
    space: Space,
    rng: np.random.Generator,
) -> Draft:
    """A mutant of a parent, or of two.

    Args:
        parents: Possible ones.
        ranks: (parents,), the less the better.
        space: What may be changed.
        rng: The only source of randomness.
    """

    def parent() -> Draft:
        rivals = rng.integers(len(parents), size=TOURNAMENT)
        return Draft.read(parents[rivals[np.argmin(ranks[rivals])]].params)

    draft = parent()
    mutations = int(rng.geometric(1 - MORE_SHARE))
    if rng.random() < CROSSED_SHARE:
        draft.cross(parent(), rng)
        mutations -= 1
    for _ in range(mutations):
        draft.mutate(space, rng)
    return draft


def create(seed: int, look: Look | None = None) -> StructuralSampler:
    """A structural sampler; it keeps nothing between draws and looks at no design."""
    return StructuralSampler(seed)


SAMPLER = create

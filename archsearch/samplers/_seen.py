"""What a sampler has read of a study: each trial once, when it has ended.

Samplers are made anew for every draw, and reading ten thousand trials takes longer than anything
else that an ask does. What an ended trial says does not change any more, so it is kept by study.
"""

from __future__ import annotations

from collections.abc import ItemsView, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

_FIRST_ROWS = 256


class Seen:
    """The trials of a study by number; those of higher numbers are never looked at.

    Args:
        num_objectives: Of the study.

    Attributes:
        trials: All, as the storage has them.
    """

    def __init__(self, num_objectives: int) -> None:
        self.trials: list[FrozenTrial] = []
        self._open: dict[int, int] = {}  # numbers of trials that have not ended: answers so far
        self._losses = np.full((_FIRST_ROWS, num_objectives), np.nan)
        self._answers: list[ItemsView[str, Any]] = []
        self._names: dict[str, tuple[int, BaseDistribution]] = {}

    def update(self, study: optuna.Study) -> None:
        """Reads what is new."""
        before, self.trials = len(self.trials), study.get_trials(deepcopy=False)
        while len(self._losses) < len(self.trials):
            self._losses = np.concatenate([self._losses, np.full_like(self._losses, np.nan)])
        self._open |= dict.fromkeys(range(before, len(self.trials)), -1)
        self._answers += [{}.items()] * (len(self.trials) - before)
        for number, answered in list(self._open.items()):
            trial = self.trials[number]
            if trial.state is not TrialState.RUNNING or len(trial.params) != answered:
                self._read(study.directions, trial)

    def _read(self, directions: Sequence[StudyDirection], trial: FrozenTrial) -> None:
        number, params = trial.number, trial.params
        self._open[number] = len(params)
        self._answers[number] = params.items()
        for name, distribution in trial.distributions.items():
            if number < self._names.get(name, (number + 1,))[0]:
                self._names[name] = number, distribution
        if trial.state.is_finished():
            del self._open[number]
            self._losses[number] = losses_of(directions, [trial])[0]

    def unfinished(self, number: int) -> list[int]:
        """Those of the trials before that one that are under way, rising."""
        return sorted(i for i in self._open if i < number)

    def losses(self, number: int) -> NDArray[np.float64]:
        """(number, objectives), of the trials before that one; see ``losses_of``."""
        return self._losses[:number]

    def answers(self, number: int) -> list[ItemsView[str, Any]]:
        """What the trials before that one were asked, and answered."""
        return self._answers[:number]

    def space(self, number: int) -> dict[str, BaseDistribution]:
        """What the trials before that one were asked, sorted: storages may not keep the order."""
        return {
            name: distribution
            for name, (first, distribution) in sorted(self._names.items())
            if first < number
        }


_by_study: WeakKeyDictionary[optuna.Study, Seen] = WeakKeyDictionary()


def seen(study: optuna.Study) -> Seen:
    """What is known of a study by now."""
    found = _by_study.setdefault(study, Seen(len(study.directions)))
    found.update(study)
    return found


def losses_of(
    directions: Sequence[StudyDirection], trials: Sequence[FrozenTrial]
) -> NDArray[np.float64]:
    """Values as numbers to minimise, (n, objectives); NaN for trials that are not complete."""
    signs = np.array([1.0 if way is StudyDirection.MINIMIZE else -1.0 for way in directions])
    nothing = [np.nan] * len(signs)
    values = [t.values if t.state is TrialState.COMPLETE else nothing for t in trials]
    losses: NDArray[np.float64] = np.array(values, dtype=np.float64).reshape(-1, len(signs)) * signs
    return losses

"""Which parameters of a space decide whether a design comes near the front, by Optuna."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from archsearch.errors import StoreError
from archsearch.storage.read import copy_study
from archsearch.storage.urls import redacted

if TYPE_CHECKING:
    from optuna.study import StudyDirection
    from optuna.trial import FrozenTrial

LEAST_TRIALS: Final = 20
"""Below so many nothing can be said."""

_NEAR: Final = 0.25
"""Share of the trials that count as near the front: a tenth, as is usual, tells little of 60."""
_LEAST_NEAR: Final = 8


_RESAMPLES: Final = 100


class Share(NamedTuple):
    """A parameter's share in what decides about the front.

    Attributes:
        share: By all trials.
        low: Lower end of the 95 % interval, by a bootstrap over the trials.
    """

    share: float
    low: float
    high: float


def read_importances(
    url: str, name: str, numbers: Collection[int], seed: int = 0
) -> dict[str, Share]:
    """The share of each parameter in what decides about the front, the greatest first.

    Conditional PED-ANOVA (arXiv 2304.10255, 2601.20800): how differently the trials nearest to the
    front and all trials are distributed over a parameter's values, where it is asked for at all.
    Nothing is written: Optuna opens a copy.

    Args:
        url: Of the store.
        name: The study's.
        numbers: Trials that count: those that were trained.
        seed: Of the bootstrap.

    Returns:
        Shares sum to 1; empty with fewer than ``LEAST_TRIALS`` trials, or where nothing differs.

    Raises:
        StoreError: The store is missing or damaged.
    """
    if len(numbers) < LEAST_TRIALS:
        return {}
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "study.db"
        copy_study(url, name, copy)
        try:
            stored = optuna.load_study(storage=f"sqlite:///{copy}", study_name=name)
        except KeyError:
            raise StoreError(f"{redacted(url)}: holds no study called '{name}'") from None
        complete = (optuna.trial.TrialState.COMPLETE,)
        trials = [t for t in stored.get_trials(states=complete) if t.number in numbers]
        directions = stored.directions
    if len(trials) < LEAST_TRIALS:
        return {}
    found = _shares(directions, trials)
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    drawn = [
        _shares(directions, [trials[i] for i in rng.integers(len(trials), size=len(trials))])
        for _ in range(_RESAMPLES)
    ]
    ends = {
        key: np.quantile([shares.get(key, 0.0) for shares in drawn], (0.025, 0.975))
        for key in found
    }
    return {key: Share(value, *map(float, ends[key])) for key, value in found.items()}


def _shares(
    directions: Sequence[StudyDirection], trials: Sequence[FrozenTrial]
) -> dict[str, float]:
    """By these trials, each as often as it is there."""
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    study = optuna.create_study(directions=directions)
    study.add_trials(trials)
    quantile = max(_NEAR, _LEAST_NEAR / len(trials))
    with warnings.catch_warnings():
        # experimental, and regimes of a conditional parameter with a single trial
        warnings.simplefilter("ignore")
        evaluator = PedAnovaImportanceEvaluator(target_quantile=quantile)
        found = get_param_importances(study, evaluator=evaluator, normalize=False)
    total = sum(found.values())
    return {key: value / total for key, value in found.items()} if total > 0 else {}

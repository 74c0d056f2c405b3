"""Which parameters of a space decide whether a design comes near the front, by Optuna."""

from __future__ import annotations

import math
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

_SUBSETS: Final = 100
_LEFT_OUT: Final = 0.25
"""Share of the trials that a subset is without."""
_ERRORS: Final = 2.0


class Share(NamedTuple):
    """A parameter's share in what decides about the front.

    Attributes:
        share: By all trials.
        low: Two standard errors less, by a jackknife over the trials; not below 0.
        high: Two standard errors more, not above 1.
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

    The errors are those of a delete-d jackknife (Shao & Wu 1989), which draws without replacement:
    trials drawn twice count as evidence to PED-ANOVA, so that a bootstrap's shares lie elsewhere
    than the share itself. They tell how much hangs on which trials were drawn, and not that few
    trials make shares too even: see ``docs/design.md``.

    Args:
        url: Of the store.
        name: The study's.
        numbers: Trials that count: those that were trained.
        seed: Of the subsets.

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
    near = max(_NEAR, _LEAST_NEAR / len(trials))
    found = _shares(directions, trials, near)
    error = _errors(directions, trials, near, list(found), seed)
    return {
        key: Share(share, max(0.0, share - _ERRORS * e), min(1.0, share + _ERRORS * e))
        for (key, share), e in zip(found.items(), error, strict=True)
    }


def _errors(
    directions: Sequence[StudyDirection],
    trials: Sequence[FrozenTrial],
    near: float,
    keys: Sequence[str],
    seed: int,
) -> list[float]:
    """Standard errors of the shares: the spread over subsets, scaled by how alike these are."""
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    left_out = round(_LEFT_OUT * len(trials))
    kept = len(trials) - left_out
    drawn = []
    for _ in range(_SUBSETS):
        some = rng.choice(len(trials), kept, replace=False)
        shares = _shares(directions, [trials[i] for i in some], near)
        drawn.append([shares.get(key, 0.0) for key in keys])
    alike = math.sqrt(kept / left_out)
    return [alike * float(spread) for spread in np.std(drawn, axis=0)]


def _shares(
    directions: Sequence[StudyDirection], trials: Sequence[FrozenTrial], near: float
) -> dict[str, float]:
    """By these trials, of which this share counts as near the front."""
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    study = optuna.create_study(directions=directions)
    study.add_trials(trials)
    with warnings.catch_warnings():
        # experimental, and regimes of a conditional parameter with a single trial
        warnings.simplefilter("ignore")
        evaluator = PedAnovaImportanceEvaluator(target_quantile=near)
        found = get_param_importances(study, evaluator=evaluator, normalize=False)
    total = sum(found.values())
    return {key: value / total for key, value in found.items()} if total > 0 else {}

"""Which parameters of a space decide whether a design comes near the front, by Optuna."""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
import warnings
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from archsearch.errors import StoreError
from archsearch.storage.urls import sqlite_path

LEAST_TRIALS: Final = 20
"""Below so many nothing can be said."""

_NEAR: Final = 0.25
"""Share of the trials that count as near the front: a tenth, as is usual, tells little of 60."""
_LEAST_NEAR: Final = 8


def read_importances(url: str, name: str, numbers: Collection[int]) -> dict[str, float]:
    """The share of each parameter in what decides about the front, the greatest first.

    Conditional PED-ANOVA (arXiv 2304.10255, 2601.20800): how differently the trials nearest to the
    front and all trials are distributed over a parameter's values, where it is asked for at all.
    Nothing is written: SQLite's file is copied before Optuna opens it.

    Args:
        url: Of the store.
        name: The study's.
        numbers: Trials that count: those that were trained.

    Returns:
        Shares sum to 1; empty with fewer than ``LEAST_TRIALS`` trials, or where nothing differs.

    Raises:
        StoreError: The store is missing or damaged.
    """
    if len(numbers) < LEAST_TRIALS:
        return {}
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with _to_open(url) as opened, warnings.catch_warnings():
        # experimental, and regimes of a conditional parameter with a single trial
        warnings.simplefilter("ignore")
        try:
            stored = optuna.load_study(storage=opened, study_name=name)
        except KeyError:
            raise StoreError(f"{url}: holds no study called '{name}'") from None
        study = optuna.create_study(directions=stored.directions)
        complete = (optuna.trial.TrialState.COMPLETE,)
        trials = [t for t in stored.get_trials(states=complete) if t.number in numbers]
        if len(trials) < LEAST_TRIALS:
            return {}
        study.add_trials(trials)
        quantile = max(_NEAR, _LEAST_NEAR / len(trials))
        evaluator = PedAnovaImportanceEvaluator(target_quantile=quantile)
        found = get_param_importances(study, evaluator=evaluator, normalize=False)
    total = sum(found.values())
    return {key: value / total for key, value in found.items()} if total > 0 else {}


@contextlib.contextmanager
def _to_open(url: str) -> Iterator[str]:
    """A URL that may be opened by what writes as it opens."""
    path = sqlite_path(url)
    if path is None:
        yield url
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "study.db"
        try:
            source = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=10)
            with contextlib.closing(source), contextlib.closing(sqlite3.connect(copy)) as target:
                source.backup(target)
        except sqlite3.DatabaseError as error:
            raise StoreError(f"{path}: cannot be read ({error})") from None
        yield f"sqlite:///{copy}"

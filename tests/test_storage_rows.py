"""Trials that are written whole lie in the tables as Optuna itself would have written them."""

from __future__ import annotations

import sqlite3
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from archsearch.storage.rows import TrialRows

TABLES = (
    "studies",
    "trials",
    "trial_params",
    "trial_values",
    "trial_user_attributes",
    "trial_system_attributes",
)
BEGAN = datetime(2026, 3, 29, 1, 30)
DISTRIBUTIONS: dict[str, BaseDistribution] = {
    "rate": FloatDistribution(1e-4, 1.0, log=True),
    "depth": IntDistribution(1, 9),
    "mixer é": CategoricalDistribution(("attention", "based", None, True, 2)),
}


def trials() -> list[FrozenTrial]:
    """With and without parameters and attributes, infinite values, failed and running."""
    full = {
        "params": {"rate": 1e-3, "depth": 4, "mixer é": None},
        "distributions": DISTRIBUTIONS,
        "user_attrs": {"record": '{"a": "ü"}', "n": [1, None]},
        "system_attrs": {"constraints": [0.0, -1.5]},
    }
    first = {"distributions": {"depth": DISTRIBUTIONS["depth"]}, "params": {"depth": 9}}
    return [
        frozen(0, TrialState.RUNNING, None, **full),
        frozen(1, TrialState.COMPLETE, [0.25, float("inf")], **full),
        frozen(2, TrialState.COMPLETE, [float("-inf"), 1e15], **first),
        frozen(3, TrialState.FAIL, None),
    ]


def frozen(number: int, state: TrialState, values: list[float] | None, **more: Any) -> FrozenTrial:
    ended = BEGAN + timedelta(minutes=5) if state.is_finished() else None
    filled: dict[str, Any] = {
        "params": {},
        "distributions": {},
        "user_attrs": {},
        "system_attrs": {},
    }
    return FrozenTrial(
        number=number,
        state=state,
        value=None,
        values=values,
        datetime_start=BEGAN,
        datetime_complete=ended,
        intermediate_values={},
        trial_id=number,
        **filled | more,
    )


def rows(path: Path, table: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(path) as connection:
        return sorted(connection.execute(f"SELECT * FROM {table}"), key=repr)


@pytest.fixture
def both(tmp_path: Path) -> tuple[TrialRows, Any]:
    """Ours and Optuna's, a study in each with another before it: ids are not numbers."""
    ours = TrialRows(f"sqlite:///{tmp_path / 'ours'}")
    theirs = optuna.storages.RDBStorage(f"sqlite:///{tmp_path / 'theirs'}")
    for storage in (ours, theirs):
        directions = [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]
        other = storage.create_new_study(directions, "before")
        storage.create_new_trial(other)
        storage.create_new_study(directions, "s")
    return ours, theirs


def same(folder: Path, table: str) -> bool:
    ours, theirs = (rows(folder / name, table) for name in ("ours", "theirs"))
    if table == "trials":  # the other study's began when it was made
        ours, theirs = ours[1:], theirs[1:]
    return ours == theirs


def test_the_tables_are_those_that_optuna_writes(
    tmp_path: Path, both: tuple[TrialRows, Any]
) -> None:
    ours, theirs = both
    for trial in trials():
        assert ours.add_trial(2, trial) == theirs.create_new_trial(2, trial)
    ours.replace_user_attr(2, "record", {"later": 1.5})
    theirs.set_trial_user_attr(2, "record", {"later": 1.5})
    assert all(same(tmp_path, table) for table in TABLES)
    assert len(rows(tmp_path / "ours", "trial_params")) == 7


def test_a_trial_ends_as_optuna_ends_it(tmp_path: Path, both: tuple[TrialRows, Any]) -> None:
    ours, theirs = both
    (running, *_) = trials()
    before = datetime.now()
    for state, values in ((TrialState.COMPLETE, [0.5, float("inf")]), (TrialState.FAIL, None)):
        trial_id = ours.add_trial(2, running)
        ours.finish(trial_id, "record", "the end", state, values or ())
        theirs.create_new_trial(2, running)
        theirs.set_trial_user_attr(trial_id, "record", "the end")
        theirs.set_trial_state_values(trial_id, state, values)
    assert all(same(tmp_path, table) for table in TABLES if table != "trials")
    for mine, its in zip(ours.get_all_trials(2), theirs.get_all_trials(2), strict=True):
        assert mine.datetime_complete is not None
        assert its.datetime_complete is not None
        assert before <= mine.datetime_complete <= its.datetime_complete <= datetime.now()
        mine.number = its.number = 0  # Optuna counts, we are told
        mine.datetime_complete = its.datetime_complete
        assert mine == its


def test_nothing_of_a_trial_is_stored_unless_all_is(
    tmp_path: Path, both: tuple[TrialRows, Any]
) -> None:
    ours, _ = both
    with sqlite3.connect(tmp_path / "ours") as connection:
        connection.execute("DROP TABLE trial_system_attributes")
    with pytest.raises(optuna.exceptions.StorageInternalError):
        ours.add_trial(2, trials()[0])
    assert len(rows(tmp_path / "ours", "trials")) == 1  # the other study's
    assert not rows(tmp_path / "ours", "trial_params")

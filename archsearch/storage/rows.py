"""An Optuna storage that writes a trial whole.

Optuna's own looks each row of a trial up before it writes it, for there may be other writers: with
ten parameters that is some forty queries. A campaign has one writer, so the rows are written as
they are; what lies in the tables is the same, and Optuna reads it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from optuna.distributions import distribution_to_json
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import insert, update


class TrialRows(RDBStorage):
    """Optuna's storage with three quick ways of writing; see ``RDBStorage`` for its arguments."""

    def add_trial(self, study_id: int, trial: FrozenTrial) -> int:
        """Stores a trial under its own number; returns its id. The caller sees to the numbers."""
        with _create_scoped_session(self.scoped_session) as session:
            row = models.TrialModel(
                study_id=study_id,
                number=trial.number,
                state=trial.state,
                datetime_start=trial.datetime_start,
                datetime_complete=trial.datetime_complete,
            )
            session.add(row)
            session.flush()
            trial_id = int(row.trial_id)
            params = [
                {
                    "trial_id": trial_id,
                    "param_name": name,
                    "param_value": distribution.to_internal_repr(trial.params[name]),
                    "distribution_json": distribution_to_json(distribution),
                }
                for name, distribution in trial.distributions.items()
            ]
            for model, rows in (
                (models.TrialParamModel, params),
                (models.TrialValueModel, _value_rows(trial_id, trial.values or ())),
                (models.TrialUserAttributeModel, _attribute_rows(trial_id, trial.user_attrs)),
                (models.TrialSystemAttributeModel, _attribute_rows(trial_id, trial.system_attrs)),
            ):
                if rows:
                    session.execute(insert(model), rows)
        return trial_id

    def replace_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Writes an attribute anew that a trial has."""
        with _create_scoped_session(self.scoped_session) as session:
            session.execute(_replacement(trial_id, key, value))

    def finish(
        self, trial_id: int, key: str, value: Any, state: TrialState, values: Sequence[float]
    ) -> None:
        """Replaces an attribute of a running trial and ends the trial, in one transaction."""
        with _create_scoped_session(self.scoped_session) as session:
            session.execute(_replacement(trial_id, key, value))
            if values:
                session.execute(insert(models.TrialValueModel), _value_rows(trial_id, values))
            row = models.TrialModel.find_or_raise_by_id(trial_id, session)
            row.state, row.datetime_complete = state, datetime.now()


def _replacement(trial_id: int, key: str, value: Any) -> Any:
    table = models.TrialUserAttributeModel
    return (
        update(table)
        .where(table.trial_id == trial_id, table.key == key)
        .values(value_json=json.dumps(value))
        .execution_options(synchronize_session=False)
    )


def _value_rows(trial_id: int, values: Sequence[float]) -> list[dict[str, Any]]:
    rows = []
    for objective, value in enumerate(values):
        stored, kind = models.TrialValueModel.value_to_stored_repr(value)
        rows.append(
            {"trial_id": trial_id, "objective": objective, "value": stored, "value_type": kind}
        )
    return rows


def _attribute_rows(trial_id: int, attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
        for key, value in attributes.items()
    ]

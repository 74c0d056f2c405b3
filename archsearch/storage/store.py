"""The campaign's store: an Optuna study, its trials as records, and nothing else.

Two copies: the study of the store, which grows by whole trials, and a mirror in memory, in which
samplers work. In a database each parameter drawn takes a transaction and several queries; so a
trial is drawn in the mirror and stored at once, with all that is known of it.

One driver writes. With SQLite the file is ``study.db`` in the campaign's folder, in write-ahead
mode with full synchronisation while a driver runs, folded into one file at a clean end so that a
read-only copy opens. References are a second study of the same storage: never proposed, never
members. Confirmations are a third.
"""

from __future__ import annotations

import contextlib
import copy
import json
import sqlite3
import warnings
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from archsearch.errors import StoreError
from archsearch.objectives import Objective
from archsearch.records import Confirmation, TrialRecord, seal, unseal
from archsearch.storage.sqlite import BUSY_SECONDS, set_mode, synchronise_fully
from archsearch.storage.urls import MEMORY, redacted, sqlite_path

RECORD = "record"
"""The attribute of a trial that holds its sealed record."""

ELAPSED = "elapsed_seconds"
"""The attribute of a study that holds the time spent on it."""

_SAMPLER_ATTRS = "sampler_attrs"


def confirm_name(name: str) -> str:
    """The study that holds the confirmations of a campaign's study."""
    return f"{name}/confirm"


def references_name(name: str) -> str:
    """The study that holds the references of a campaign's study."""
    return f"{name}/references"


class Store:
    """A campaign's study, opened for writing. Only the holder of the campaign's lock may do so.

    Args:
        url: A SQLAlchemy URL.
        name: The study's name.
        objectives: In the order of the values told, which are scaled.
        create: Make what is not there yet; otherwise the study and its references must exist. The
            study of confirmations is made when the first one is stored: readers make nothing, and
            campaigns older than confirmations have none.

    Raises:
        StoreError: The store is missing, damaged, foreign or not reachable.
    """

    def __init__(
        self,
        url: str,
        name: str,
        *,
        objectives: Sequence[Objective],
        create: bool,
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._optuna = optuna
        self._url = url
        self._open: dict[int, optuna.Trial] = {}
        self._ids: dict[int, int] = {}
        self._sampler_attrs: dict[str, Any] = {}
        self._confirm_name = confirm_name(name)
        try:
            self._storage = storage = self._connect(url, create)
            self._directions = directions = [
                optuna.study.StudyDirection.MAXIMIZE
                if objective.maximise
                else optuna.study.StudyDirection.MINIMIZE
                for objective in objectives
            ]
            if create:
                self._disk = optuna.create_study(
                    storage=storage, study_name=name, directions=directions, load_if_exists=True
                )
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                    self._disk.set_metric_names([o.scaled_name for o in objectives])
                self._references = optuna.create_study(
                    storage=storage,
                    study_name=references_name(name),
                    directions=directions,
                    load_if_exists=True,
                )
            else:
                self._disk = optuna.load_study(storage=storage, study_name=name)
                self._references = optuna.load_study(
                    storage=storage, study_name=references_name(name)
                )
            # the samplers of the campaign are set before each draw; none is needed here
            self.study = optuna.create_study(directions=self._disk.directions)
            self._fill_mirror()
            self._confirm = self._load_confirm(storage)
        except (StoreError, KeyboardInterrupt):
            raise
        except KeyError as error:
            raise StoreError(f"{redacted(url)}: holds no study called '{name}'") from error
        except Exception as error:
            raise StoreError(
                f"{redacted(url)}: the study cannot be opened ({type(error).__name__}:"
                f" {' '.join(str(error).split())[:300]})"
            ) from error

    def _connect(self, url: str, create: bool) -> Any:
        from archsearch.storage.rows import TrialRows  # needs optuna

        if url == MEMORY:
            return self._optuna.storages.InMemoryStorage()
        path = sqlite_path(url)
        kwargs: dict[str, Any] = {"pool_pre_ping": True}
        if path is not None:
            if not create and not path.is_file():
                raise StoreError(f"{path}: there is no study")
            set_mode(path, "WAL")
            kwargs = {"connect_args": {"timeout": BUSY_SECONDS}}
        storage = TrialRows(url, engine_kwargs=kwargs)
        if path is not None:
            synchronise_fully(storage.engine)
        return storage

    def _load_confirm(self, storage: Any) -> Any:
        try:
            return self._optuna.load_study(storage=storage, study_name=self._confirm_name)
        except KeyError:
            return None

    def _made_confirm(self) -> Any:
        if self._confirm is None:
            self._confirm = self._optuna.create_study(
                storage=self._storage,
                study_name=self._confirm_name,
                directions=self._directions,
                load_if_exists=True,
            )
        return self._confirm

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """Turns what the database cannot do (full, read-only, gone) into a StoreError."""
        import sqlalchemy

        try:
            yield
        except (
            self._optuna.exceptions.StorageInternalError,
            sqlalchemy.exc.SQLAlchemyError,
            sqlite3.Error,
        ) as error:
            cause = " ".join(str(error.__cause__ or error).split())[:300]
            raise StoreError(
                f"{redacted(self._url)}: the study cannot be written ({cause});"
                " nothing told so far is lost: mend it, then 'archsearch resume'"
            ) from error

    def _fill_mirror(self) -> None:
        """Trials by number and what samplers keep in a study, without the records."""
        for frozen in self._disk.get_trials(deepcopy=True):
            self._ids[frozen.number] = frozen._trial_id
            frozen.user_attrs = {}
            mirrored = self._mirror.create_new_trial(self.study._study_id, frozen)
            if frozen.state is self._optuna.trial.TrialState.RUNNING:
                self._open[frozen.number] = self._optuna.Trial(self.study, mirrored)
        self._sampler_attrs = json.loads(self._disk.user_attrs.get(_SAMPLER_ATTRS, "{}"))
        for key, value in self._sampler_attrs.items():
            self._mirror.set_study_system_attr(self.study._study_id, key, value)

    @property
    def _mirror(self) -> Any:
        return self.study._storage

    @property
    def engine(self) -> Any:
        """SQLAlchemy's engine of the store."""
        return self._storage.engine

    def ask(self) -> int:
        """A new running trial, stored with its first record; returns its number."""
        trial = self.study.ask()
        self._open[trial.number] = trial
        return trial.number

    def trial(self, number: int) -> Any:
        """The live Optuna trial of a running number, for a sampler's suggestions."""
        return self._open[number]

    def running(self) -> list[int]:
        """Numbers of the trials that were asked and not told, here or by a dead driver."""
        return sorted(self._open)

    def note(self, record: TrialRecord) -> None:
        """Stores what is known of a running trial, replacing what was known before."""
        if self._url == MEMORY:
            return
        if record.number in self._ids:
            self._storage.replace_user_attr(self._ids[record.number], RECORD, seal(record))
        else:
            self._store_trial(record, self._optuna.trial.TrialState.RUNNING, None)

    def _store_trial(self, record: TrialRecord, state: Any, values: Sequence[float] | None) -> None:
        """A whole trial in one transaction, behind what its sampler has left in the study."""
        assert record.number == len(self._ids), "trials are stored in the order of their numbers"
        self._store_sampler_attrs()
        drawn = copy.copy(self._mirror.get_trial(self._open[record.number]._trial_id))
        drawn.user_attrs = {RECORD: seal(record)}
        drawn.state, drawn.values = state, None if values is None else list(values)
        if state is not self._optuna.trial.TrialState.RUNNING:
            drawn.datetime_complete = datetime.now()  # as Optuna's own
        self._ids[record.number] = self._storage.add_trial(self._disk._study_id, drawn)

    def _store_sampler_attrs(self) -> None:
        """NSGA-II keeps its parents there; trials are named by the mirror's ids, their numbers."""
        found = self._mirror.get_study_system_attrs(self.study._study_id)
        if found != self._sampler_attrs:
            self._sampler_attrs = dict(found)
            self._disk.set_user_attr(_SAMPLER_ATTRS, json.dumps(found))

    def constrain(self, number: int, violations: Mapping[str, float]) -> None:
        """States how far each constraint is violated; <= 0 is feasible. The first word counts."""
        trial = self._open[number]
        with warnings.catch_warnings():
            # an adopted trial may have been given some already
            warnings.simplefilter("ignore")
            for name, value in violations.items():
                trial.set_constraint(name, value)

    def tell(self, record: TrialRecord, values: Sequence[float] | None) -> None:
        """Finishes a trial for good: with values, or as failed when there are none."""
        states = self._optuna.trial.TrialState
        state = states.FAIL if values is None else states.COMPLETE
        if self._url != MEMORY:
            if record.number in self._ids:
                trial_id = self._ids[record.number]
                self._storage.finish(trial_id, RECORD, seal(record), state, values or ())
            else:
                self._store_trial(record, state, values)
        trial = self._open.pop(record.number)
        if values is None:
            self.study.tell(trial, state=state)
        else:
            self.study.tell(trial, list(values))

    def add_reference(self, record: TrialRecord, values: Sequence[float] | None) -> None:
        """Stores a finished reference."""
        states = self._optuna.trial.TrialState
        # in one transaction: there is nothing to adopt among references
        self._references.add_trial(
            self._optuna.trial.create_trial(
                state=states.FAIL if values is None else states.COMPLETE,
                values=None if values is None else list(values),
                user_attrs={RECORD: seal(record)},
            )
        )

    def add_confirmation(self, confirmation: Confirmation, values: Sequence[float]) -> None:
        """Stores a design that was trained again."""
        # in one transaction, as a reference: nothing is ever adopted here
        self._made_confirm().add_trial(
            self._optuna.trial.create_trial(
                state=self._optuna.trial.TrialState.COMPLETE,
                values=list(values),
                user_attrs={RECORD: seal(confirmation)},
            )
        )

    def confirmations(self) -> list[Confirmation]:
        """All confirmations, in the order in which they were stored.

        Raises:
            StoreError: A record is damaged.
        """
        if self._confirm is None:
            return []
        return [
            unseal(Confirmation, frozen.user_attrs[RECORD], f"confirmation {frozen.number}")
            for frozen in self._confirm.get_trials(deepcopy=False)
            if RECORD in frozen.user_attrs
        ]

    def confirm_seconds(self) -> float:
        """How long drivers have spent on confirmations, all sessions together."""
        attrs = {} if self._confirm is None else self._confirm.user_attrs
        return float(attrs.get(ELAPSED, 0.0))

    def set_confirm_seconds(self, seconds: float) -> None:
        """Keeps the time for the next session."""
        self._made_confirm().set_user_attr(ELAPSED, round(seconds, 3))

    def records(self) -> list[TrialRecord]:
        """All noted trials by number, references first.

        Raises:
            StoreError: A record is damaged.
        """
        found = []
        for kind, study in (("reference", self._references), ("trial", self._disk)):
            for frozen in study.get_trials(deepcopy=False):
                text = frozen.user_attrs.get(RECORD)
                if text is not None:
                    found.append(unseal(TrialRecord, text, f"{kind} {frozen.number}"))
        return found

    def elapsed_seconds(self) -> float:
        """How long drivers have worked on the campaign, all sessions together."""
        return float(self._disk.user_attrs.get(ELAPSED, 0.0))

    def set_elapsed_seconds(self, seconds: float) -> None:
        """Keeps the time for the next session."""
        self._disk.set_user_attr(ELAPSED, round(seconds, 3))

    def copy_to(self, url: str) -> None:
        """Copies the campaign's studies into another storage, which has none of them yet."""
        for study in (self._references, self._disk, self._confirm):
            if study is not None:
                self._optuna.copy_study(
                    from_study_name=study.study_name,
                    from_storage=self._storage,
                    to_storage=url,
                )

    def close(self) -> None:
        """Ends the connection and folds SQLite's log into its file."""
        if self._url == MEMORY:
            return
        self._storage.remove_session()
        self._storage.engine.dispose()
        path = sqlite_path(self._url)
        if path is not None and path.is_file():
            # another process may be reading: then the log stays, and a later end folds it
            with contextlib.suppress(sqlite3.OperationalError):
                set_mode(path, "DELETE")

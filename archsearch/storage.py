"""The campaign's store: an Optuna study, its trials as records, and nothing else.

One driver writes. With SQLite the file is ``study.db`` in the campaign's folder, in write-ahead
mode with full synchronisation while a driver runs, folded into one file at a clean end so that a
read-only copy opens. References are a second study of the same storage: never proposed, never
members.
"""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from archsearch.errors import InputError, StoreError
from archsearch.records import TrialRecord, seal, unseal

SQLITE_FILE = "study.db"
_RECORD = "record"
_ELAPSED = "elapsed_seconds"
_BUSY_SECONDS = 60
_FOLD_SECONDS = 2


def default_url(directory: Path) -> str:
    """The SQLite file of a campaign's folder.

    Raises:
        InputError: Its path cannot be written as a URL.
    """
    path = str((directory / SQLITE_FILE).resolve())
    # versions of SQLAlchemy differ about whether these may be, or have to be, escaped
    for character in "?%":
        if character in path:
            raise InputError(
                f"{path}: the study's path has a '{character}', which databases' URLs do not"
                " carry safely; choose another folder"
            )
    return f"sqlite:///{path}"


def _sqlite_path(url: str) -> Path | None:
    return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None


class Store:
    """A campaign's study, opened for writing. Only the holder of the campaign's lock may do so.

    Args:
        url: A SQLAlchemy URL.
        name: The study's name.
        objectives: Optuna's metric names, in the order of the values told.
        maximise: For each objective, whether more is better.
        create: Make what is not there yet; otherwise both studies must exist.

    Raises:
        StoreError: The store is missing, damaged, foreign or not reachable.
    """

    def __init__(
        self,
        url: str,
        name: str,
        *,
        objectives: Sequence[str],
        maximise: Sequence[bool],
        create: bool,
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._optuna = optuna
        self._url = url
        self._open: dict[int, optuna.Trial] = {}
        try:
            storage = self._connect(url, create)
            directions = [
                optuna.study.StudyDirection.MAXIMIZE if up else optuna.study.StudyDirection.MINIMIZE
                for up in maximise
            ]
            if create:
                self.study = optuna.create_study(
                    storage=storage, study_name=name, directions=directions, load_if_exists=True
                )
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                    self.study.set_metric_names(list(objectives))
                self._references = optuna.create_study(
                    storage=storage,
                    study_name=f"{name}/references",
                    directions=directions,
                    load_if_exists=True,
                )
            else:
                # the samplers of the campaign are set before each draw; none is needed here
                self.study = optuna.load_study(storage=storage, study_name=name)
                self._references = optuna.load_study(
                    storage=storage, study_name=f"{name}/references"
                )
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
        path = _sqlite_path(url)
        kwargs: dict[str, Any] = {"pool_pre_ping": True}
        if path is not None:
            if not create and not path.is_file():
                raise StoreError(f"{path}: there is no study")
            _sqlite_mode(path, "WAL")
            kwargs = {"connect_args": {"timeout": _BUSY_SECONDS}}
        storage = self._optuna.storages.RDBStorage(url, engine_kwargs=kwargs)
        if path is not None:
            _synchronise_fully(storage.engine)
        return storage

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

    def ask(self) -> int:
        """A new running trial; returns its number."""
        trial = self.study.ask()
        self._open[trial.number] = trial
        return trial.number

    def trial(self, number: int) -> Any:
        """The live Optuna trial of a running number, for a sampler's suggestions."""
        return self._open[number]

    def adopt(self) -> list[int]:
        """Takes over the trials that a dead driver left running; returns their numbers in order."""
        running = self.study.get_trials(
            deepcopy=False, states=(self._optuna.trial.TrialState.RUNNING,)
        )
        for frozen in running:
            self._open[frozen.number] = self._optuna.Trial(self.study, frozen._trial_id)
        return sorted(frozen.number for frozen in running)

    def note(self, record: TrialRecord) -> None:
        """Stores what is known of a running trial, replacing what was known before."""
        self._open[record.number].set_user_attr(_RECORD, seal(record))

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
        trial = self._open[record.number]
        trial.set_user_attr(_RECORD, seal(record))
        if values is None:
            self.study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
        else:
            self.study.tell(trial, list(values))
        del self._open[record.number]

    def add_reference(self, record: TrialRecord, values: Sequence[float] | None) -> None:
        """Stores a finished reference."""
        states = self._optuna.trial.TrialState
        # in one transaction: there is nothing to adopt among references
        self._references.add_trial(
            self._optuna.trial.create_trial(
                state=states.FAIL if values is None else states.COMPLETE,
                values=None if values is None else list(values),
                user_attrs={_RECORD: seal(record)},
            )
        )

    def running_record(self, number: int) -> TrialRecord | None:
        """What the dead driver had noted of an adopted trial."""
        text = self._open[number].user_attrs.get(_RECORD)
        return None if text is None else unseal(TrialRecord, text, f"trial {number}")

    def records(self) -> list[TrialRecord]:
        """All noted trials by number, references first.

        Raises:
            StoreError: A record is damaged.
        """
        found = []
        for kind, study in (("reference", self._references), ("trial", self.study)):
            for frozen in study.get_trials(deepcopy=False):
                text = frozen.user_attrs.get(_RECORD)
                if text is not None:
                    found.append(unseal(TrialRecord, text, f"{kind} {frozen.number}"))
        return found

    def elapsed_seconds(self) -> float:
        """How long drivers have worked on the campaign, all sessions together."""
        return float(self.study.user_attrs.get(_ELAPSED, 0.0))

    def set_elapsed_seconds(self, seconds: float) -> None:
        """Keeps the time for the next session."""
        self.study.set_user_attr(_ELAPSED, round(seconds, 3))

    def close(self) -> None:
        """Ends the connection and folds SQLite's log into its file."""
        storage: Any = self.study._storage
        backend = getattr(storage, "_backend", storage)
        backend.remove_session()
        backend.engine.dispose()
        path = _sqlite_path(self._url)
        if path is not None and path.is_file():
            # another process may be reading: then the log stays, and a later end folds it
            with contextlib.suppress(sqlite3.OperationalError):
                _sqlite_mode(path, "DELETE")


def _sqlite_mode(path: Path, mode: str) -> None:
    try:
        patience = _FOLD_SECONDS if mode == "DELETE" else _BUSY_SECONDS
        with contextlib.closing(sqlite3.connect(path, timeout=patience)) as connection:
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute(f"PRAGMA journal_mode={mode}")
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError) and mode == "DELETE":
            raise
        raise StoreError(f"{path}: not a usable SQLite file ({error})") from None


def _synchronise_fully(engine: Any) -> None:
    import sqlalchemy

    @sqlalchemy.event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA synchronous=FULL")

    engine.dispose()


def url_problems(url: str) -> list[str]:
    """What makes a storage URL unusable before anything is tried with it."""
    import sqlalchemy

    try:
        name = sqlalchemy.engine.make_url(url).get_dialect().name
    except (sqlalchemy.exc.ArgumentError, sqlalchemy.exc.NoSuchModuleError):
        return [
            f"got '{redacted(url)}'; must be a SQLAlchemy URL such as sqlite:////absolute/study.db"
            " or postgresql+psycopg://user@host/database"
        ]
    if name == "sqlite" and not re.fullmatch(r"sqlite:////[^?]+", url):
        # in memory it would be lost, and a relative path means another file from another folder
        return [
            f"got '{url}'; SQLite needs a file by its absolute path: sqlite:////absolute/study.db"
        ]
    return []


def redacted(url: str) -> str:
    """The URL without its password."""
    url = re.sub(r"(?<=[?&])(password=)[^&]*", r"\1***", url)
    return re.sub(r"^([^/]*//[^:@/]*):.*@", r"\1:***@", url)


def read_records(url: str, name: str) -> list[TrialRecord]:
    """All noted trials of a campaign, without writing and without waiting for its driver.

    SQLite is read directly: importing the ORM would take longer than answering.

    Raises:
        StoreError: The store is missing or damaged.
    """
    path = _sqlite_path(url)
    if path is None:
        with contextlib.closing(_reader(url, name)) as store:
            return store.records()
    rows = _select(path, _RECORDS_QUERY, (_RECORD, name, f"{name}/references"))
    return [
        unseal(TrialRecord, text, f"{path}: {'trial' if study == name else 'reference'} {number}")
        for study, number, text in rows
    ]


def read_elapsed_seconds(url: str, name: str) -> float:
    """How long drivers have worked on a campaign; read like ``read_records``."""
    path = _sqlite_path(url)
    if path is None:
        with contextlib.closing(_reader(url, name)) as store:
            return store.elapsed_seconds()
    rows = _select(path, _ELAPSED_QUERY, (_ELAPSED, name))
    return float(rows[0][0]) if rows else 0.0


def _reader(url: str, name: str) -> Store:
    return Store(url, name, objectives=(), maximise=(), create=False)


_RECORDS_QUERY = """
    SELECT studies.study_name, trials.number, trial_user_attributes.value_json
    FROM trial_user_attributes
    JOIN trials ON trials.trial_id = trial_user_attributes.trial_id
    JOIN studies ON studies.study_id = trials.study_id
    WHERE trial_user_attributes."key" = ? AND studies.study_name IN (?, ?)
    ORDER BY studies.study_name DESC, trials.number
"""

_ELAPSED_QUERY = """
    SELECT study_user_attributes.value_json
    FROM study_user_attributes
    JOIN studies ON studies.study_id = study_user_attributes.study_id
    WHERE study_user_attributes."key" = ? AND studies.study_name = ?
"""


def _select(path: Path, query: str, values: tuple[str, ...]) -> list[tuple[Any, ...]]:
    """Rows whose last column is JSON, decoded."""
    if not path.is_file():
        raise StoreError(f"{path}: there is no study")
    quoted = str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    last: Exception | None = None
    # a read-only folder cannot hold the shared-memory file: then the file is read as it lies
    for mode in ("mode=ro", "mode=ro&immutable=1"):
        try:
            uri = f"file:{quoted}?{mode}"
            with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=10)) as connection:
                rows = connection.execute(query, values).fetchall()
                return [(*row[:-1], json.loads(row[-1])) for row in rows]
        except (sqlite3.DatabaseError, ValueError) as error:
            last = error
    raise StoreError(f"{path}: the study cannot be read ({last})")

"""A study for Optuna's own dashboard: a copy of it, labelled for people.

The dashboard opens what it shows for writing, and a second writer has crashed studies: so it never
sees a campaign's own. In the copy a trial's sealed record gives place to short attributes and to
files, which are made when somebody asks for them.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeVar

from archsearch.errors import InputError, StoreError
from archsearch.records import Confirmation, TrialRecord, unseal
from archsearch.storage.sqlite import select
from archsearch.storage.store import RECORD, confirm_name, references_name

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

R = TypeVar("R", TrialRecord, Confirmation)

_METRIC_NAMES = "study:metric_names"
_ARTIFACT = "artifacts:"
_CONSTRAINTS = "constraints"
_REFUSAL = (
    b'{"reason": "This is a copy of the study to look at: what is changed here would be lost."}'
)

_SEALED_QUERY = """
    SELECT trials.trial_id, trials.number, trial_user_attributes.value_json
    FROM trial_user_attributes
    JOIN trials ON trials.trial_id = trial_user_attributes.trial_id
    JOIN studies ON studies.study_id = trials.study_id
    WHERE trial_user_attributes."key" = ? AND studies.study_name = ?
    ORDER BY trials.number
"""

_FORGET = 'DELETE FROM trial_user_attributes WHERE trial_id = ? AND "key" = ?'
_ADD = 'INSERT INTO trial_{}_attributes (trial_id, "key", value_json) VALUES (?, ?, ?)'

# the dashboard knows constraints without their names only, as Optuna kept them before 5.0
_CONSTRAIN = """
    INSERT INTO trial_system_attributes (trial_id, "key", value_json)
    SELECT trial_id, ?, '[' || group_concat(value_json, ', ') || ']'
    FROM trial_system_attributes
    WHERE trial_id = ? AND "key" LIKE ?
    HAVING count(*) > 0
"""

_NAME = """
    INSERT OR REPLACE INTO study_system_attributes (study_id, "key", value_json)
    SELECT study_id, ?, ? FROM studies WHERE study_name = ?
"""


class Label(NamedTuple):
    """What is shown of a trial beside its parameters, values and constraints.

    Attributes:
        attributes: Short ones, by name.
        files: What makes the content of each, by the file's name.
    """

    attributes: Mapping[str, str | int | float | bool]
    files: Mapping[str, Callable[[], str]]


class Files:
    """What the dashboard takes for a store of artifacts; each is made when it is opened."""

    def __init__(self) -> None:
        self._contents: dict[str, Callable[[], str]] = {}

    def put(self, trial_id: int, contents: Iterable[Callable[[], str]]) -> list[str]:
        """Takes the files of a trial; returns their ids."""
        # the dashboard's routes know hexadecimal digits and dashes
        found = {f"{trial_id:x}-{place:x}": content for place, content in enumerate(contents)}
        self._contents |= found
        return list(found)

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """The content of a file."""
        from optuna.artifacts.exceptions import ArtifactNotFound

        if artifact_id not in self._contents:
            raise ArtifactNotFound(artifact_id)
        return io.BytesIO(self._contents[artifact_id]().encode())

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Nothing is added."""
        raise io.UnsupportedOperation("artifacts are read only")

    def remove(self, artifact_id: str) -> None:
        """Nothing is removed."""
        raise io.UnsupportedOperation("artifacts are read only")


def check_installed() -> None:
    """Refuses to go on without the dashboard.

    Raises:
        InputError: Its package is not installed.
    """
    if importlib.util.find_spec("optuna_dashboard") is None:
        raise InputError(
            "optuna-dashboard is not installed; 'pip install archsearch[dashboard]',"
            " or use 'archsearch report'"
        )


def trials_of(path: Path, name: str) -> dict[int, TrialRecord]:
    """The records of a copy's references and trials, by their ids there.

    Raises:
        StoreError: A record is damaged.
    """
    studies = {references_name(name): "reference", name: "trial"}
    return {
        trial_id: record
        for study, kind in studies.items()
        for trial_id, record in _unsealed(path, study, TrialRecord, kind).items()
    }


def confirmations_of(path: Path, name: str) -> dict[int, Confirmation]:
    """The confirmations of a copy, by their ids there.

    Raises:
        StoreError: A record is damaged.
    """
    return _unsealed(path, confirm_name(name), Confirmation, "confirmation")


def _unsealed(path: Path, study: str, kind: type[R], what: str) -> dict[int, R]:
    rows = select(path, _SEALED_QUERY, (RECORD, study))
    return {key: unseal(kind, text, f"{what} {number}") for key, number, text in rows}


def label(path: Path, name: str, metrics: Sequence[str], labels: Mapping[int, Label]) -> Files:
    """Writes into a copy what people read, in the place of the records.

    By SQL: Optuna's own interface refuses to change a trial that has ended.

    Args:
        path: Of the copy.
        name: The study's.
        metrics: Names of its values; studies of references and confirmations carry none.
        labels: By the trial's id in the copy.

    Raises:
        StoreError: There is no room.
    """
    files = Files()
    attributes = [
        (trial_id, key, json.dumps(value))
        for trial_id, one in labels.items()
        for key, value in one.attributes.items()
    ]
    artifacts = [
        (trial_id, _ARTIFACT + key, json.dumps(_description(key, file_name)))
        for trial_id, one in labels.items()
        for key, file_name in zip(files.put(trial_id, one.files.values()), one.files, strict=True)
    ]
    studies = (name, references_name(name), confirm_name(name))
    names = json.dumps(list(metrics))
    _write(
        path,
        (_FORGET, [(trial_id, RECORD) for trial_id in labels]),
        (_ADD.format("user"), attributes),
        (_ADD.format("system"), artifacts),
        (_CONSTRAIN, [(_CONSTRAINTS, key, f"{_CONSTRAINTS}:%") for key in labels]),
        (_NAME, [(_METRIC_NAMES, names, study) for study in studies]),
    )
    return files


def _write(path: Path, *statements: tuple[str, Sequence[tuple[str | int, ...]]]) -> None:
    try:
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            for statement, rows in statements:
                connection.executemany(statement, rows)
    except sqlite3.Error as error:
        raise StoreError(
            f"{path}: the copy cannot be written ({error}); make room, or name a folder in TMPDIR"
        ) from None


def _description(key: str, file_name: str) -> str:
    """Of an artifact, as Optuna keeps it: JSON in a text."""
    kind = "text/csv" if file_name.endswith(".csv") else "text/plain"
    return json.dumps(
        {"artifact_id": key, "filename": file_name, "mimetype": kind, "encoding": None}
    )


def application(path: Path, files: Files) -> WSGIApplication:
    """The dashboard of a copy; it answers, and changes nothing."""
    import optuna
    from optuna_dashboard import wsgi

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    inner: Any = wsgi(f"sqlite:///{path}", artifact_store=files)

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            found: Iterable[bytes] = inner(environ, start_response)
            return found
        start_response("403 Forbidden", [("Content-Type", "application/json")])
        return [_REFUSAL]

    return answer

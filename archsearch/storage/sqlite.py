"""SQLite's file beside and below the ORM: its modes, and reading it without the ORM."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from archsearch.errors import StoreError

T = TypeVar("T")

BUSY_SECONDS = 60
_FOLD_SECONDS = 2


def set_mode(path: Path, mode: str) -> None:
    """Sets the journal's mode, such as ``WAL``; ``DELETE`` folds the log into the file.

    Raises:
        StoreError: The file is no database.
        sqlite3.OperationalError: Somebody reads it, so that the log cannot be folded.
    """
    try:
        patience = _FOLD_SECONDS if mode == "DELETE" else BUSY_SECONDS
        with contextlib.closing(sqlite3.connect(path, timeout=patience)) as connection:
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute(f"PRAGMA journal_mode={mode}")
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError) and mode == "DELETE":
            raise
        raise StoreError(f"{path}: not a usable SQLite file ({error})") from None


def synchronise_fully(engine: Any) -> None:
    """Has every connection of an engine wait for the disk."""
    import sqlalchemy

    @sqlalchemy.event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA synchronous=FULL")

    engine.dispose()


def select(path: Path, query: str, values: tuple[str, ...]) -> list[tuple[Any, ...]]:
    """Rows whose last column is JSON, decoded.

    Raises:
        StoreError: The file is missing or damaged.
    """

    def ask(connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
        rows = connection.execute(query, values).fetchall()
        return [(*row[:-1], json.loads(row[-1])) for row in rows]

    return _reading(path, ask)


def back_up(path: Path, target: Path) -> None:
    """Copies a database as it is now, whoever writes it; not a byte of it changes.

    Raises:
        StoreError: The file is missing or damaged, or there is no room for the copy.
    """

    def copy(connection: sqlite3.Connection) -> None:
        with contextlib.closing(sqlite3.connect(target)) as other:
            connection.backup(other)

    _reading(path, copy)


def _reading(path: Path, use: Callable[[sqlite3.Connection], T]) -> T:
    if not path.is_file():
        raise StoreError(f"{path}: there is no study")
    quoted = str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    last: Exception | None = None
    # a read-only folder cannot hold the shared-memory file: then the file is read as it lies
    for mode in ("mode=ro", "mode=ro&immutable=1"):
        try:
            uri = f"file:{quoted}?{mode}"
            with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=10)) as connection:
                return use(connection)
        except (sqlite3.DatabaseError, ValueError) as error:
            last = error
    raise StoreError(f"{path}: the study cannot be read ({last})")

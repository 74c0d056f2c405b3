"""Where a study is: SQLAlchemy URLs, checked before anything is tried with them."""

from __future__ import annotations

import re
from pathlib import Path

from archsearch.errors import InputError

SQLITE_FILE = "study.db"
MEMORY = "memory:"
"""Instead of a URL: a study that lasts as long as its process, for replays and simulations."""


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


def sqlite_path(url: str) -> Path | None:
    """The file of a SQLite URL; None for other databases."""
    return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None


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

"""Results of long work, one JSON object a line: appended durably as they come, never made twice."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from archsearch.errors import StoreError
from archsearch.files import sync

Row = TypeVar("Row")


def read(path: Path, parse: Callable[[dict[str, Any]], Row]) -> list[Row]:
    """The rows of a file, in the order in which they were written; none if there is no file.

    Args:
        path: JSON lines.
        parse: Makes a row of an object; raises ValueError, TypeError or KeyError if it is none.

    Raises:
        StoreError: A line is damaged.
    """
    try:
        text = path.read_text()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise StoreError(f"{path}: is no text; give another file") from None
    # a last line without its end was being written when the study was killed
    lines = text[: text.rfind("\n") + 1].splitlines()
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(parse(json.loads(line)))
        except (ValueError, TypeError, KeyError):
            raise StoreError(
                f"{path}:{number}: not a result of this study; remove the line to have it run again"
            ) from None
    return rows


def prepare(path: Path, *, ours: bool = False) -> None:
    """Makes the file, or cuts off a line that was not written to its end.

    Args:
        path: JSON lines.
        ours: Nobody else has named it, so that a single line without its end is a torn one, even
            where nothing but the end is missing.

    Raises:
        StoreError: The file cannot be written, or is something else.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            file.seek(0)
            text = file.read()
            if not ours and b"\n" not in text and not _is_torn(text):
                raise StoreError(f"{path}: is no study; give another file")
            file.truncate(text.rfind(b"\n") + 1)
            os.fsync(file.fileno())
        sync(path.parent)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror})") from None


def _is_torn(line: bytes) -> bool:
    """Whether it may be the beginning of a row, and no more than that."""
    try:
        json.loads(line)
    except ValueError:
        return line.startswith(b'{"') or b'{"'.startswith(line)
    return False


def append(path: Path, row: Mapping[str, Any]) -> None:
    """Adds a line, which is on the disk when this returns.

    Raises:
        StoreError: The file cannot be written.
    """
    try:
        with path.open("a") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror})") from None

"""One driver per campaign: a kernel lock that dies with its holder."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from archsearch.errors import CampaignHeldError, StoreError


class CampaignLock:
    """Held from ``with`` to the end of the block or of the process, whatever ends it.

    Raises:
        CampaignHeldError: Another driver holds it; the message says who and since when.
        StoreError: The folder is not writable.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / "lock"
        self._handle: Any = None

    def __enter__(self) -> CampaignLock:
        try:
            handle = self._path.open("a+")
        except OSError as error:
            raise StoreError(f"{self._path}: cannot be opened ({error.strerror})") from None
        try:
            _take(handle)
        except BlockingIOError:
            handle.seek(0)
            holder = _describe(handle.read())
            handle.close()
            raise CampaignHeldError(
                f"{self._path.parent}: held by {holder}; wait for it or end it"
            ) from None
        handle.seek(0)
        handle.truncate()
        since = datetime.now(UTC).isoformat(timespec="seconds")
        handle.write(json.dumps({"pid": os.getpid(), "host": platform.node(), "since": since}))
        handle.flush()
        self._handle = handle
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.truncate(0)
        self._handle.close()


def _take(handle: Any) -> None:
    # 'holder_of' looks by taking it for a moment: that is no driver
    for _ in range(10):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(0.02)
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _describe(text: str) -> str:
    try:
        holder = json.loads(text)
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (ValueError, KeyError, TypeError):
        return "another driver"


def holder_of(directory: Path) -> str | None:
    """Who drives the campaign now, or None; never waits and never takes the lock for long."""
    path = directory / "lock"
    try:
        with path.open("r") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _describe(path.read_text())
    except OSError:
        return None
    return None

"""The campaign's study: written by one driver, read by anybody."""

from __future__ import annotations

from archsearch.storage.importance import read_importances
from archsearch.storage.read import (
    read_confirm_seconds,
    read_confirmations,
    read_elapsed_seconds,
    read_records,
)
from archsearch.storage.store import Store, confirm_name
from archsearch.storage.urls import MEMORY, SQLITE_FILE, default_url, redacted, url_problems

__all__ = [
    "MEMORY",
    "SQLITE_FILE",
    "Store",
    "confirm_name",
    "default_url",
    "read_confirm_seconds",
    "read_confirmations",
    "read_elapsed_seconds",
    "read_importances",
    "read_records",
    "redacted",
    "url_problems",
]

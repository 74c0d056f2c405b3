"""A campaign's study as others see it: nothing is written, and no driver is waited for.

SQLite is read directly: importing the ORM would take longer than answering.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from archsearch.records import Confirmation, TrialRecord, unseal
from archsearch.storage.sqlite import back_up, select
from archsearch.storage.store import ELAPSED, RECORD, Store, confirm_name, references_name
from archsearch.storage.urls import sqlite_path

T = TypeVar("T")

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


def _answer(url: str, name: str, ask: Callable[[Store], T], look: Callable[[Path], T]) -> T:
    """By looking into a SQLite file, or by asking another database.

    Raises:
        StoreError: The store is missing or damaged.
    """
    path = sqlite_path(url)
    if path is not None:
        return look(path)
    with contextlib.closing(Store(url, name, objectives=(), create=False)) as store:
        return ask(store)


def read_records(url: str, name: str) -> list[TrialRecord]:
    """All noted trials of a campaign by number, references first.

    Raises:
        StoreError: The store is missing or damaged.
    """

    def look(path: Path) -> list[TrialRecord]:
        rows = select(path, _RECORDS_QUERY, (RECORD, name, references_name(name)))
        kinds = {name: "trial", references_name(name): "reference"}
        return [
            unseal(TrialRecord, text, f"{path}: {kinds[study]} {number}")
            for study, number, text in rows
        ]

    return _answer(url, name, Store.records, look)


def read_confirmations(url: str, name: str) -> list[Confirmation]:
    """All confirmations of a campaign, in the order in which they were stored.

    Raises:
        StoreError: The store is missing or damaged.
    """

    def look(path: Path) -> list[Confirmation]:
        study = confirm_name(name)
        rows = select(path, _RECORDS_QUERY, (RECORD, study, study))
        return [
            unseal(Confirmation, text, f"{path}: confirmation {number}") for _, number, text in rows
        ]

    return _answer(url, name, Store.confirmations, look)


def read_elapsed_seconds(url: str, name: str) -> float:
    """How long drivers have searched.

    Raises:
        StoreError: The store is missing or damaged.
    """
    return _answer(url, name, Store.elapsed_seconds, lambda path: _seconds(path, name))


def read_confirm_seconds(url: str, name: str) -> float:
    """How long drivers have spent on confirmations.

    Raises:
        StoreError: The store is missing or damaged.
    """
    return _answer(
        url, name, Store.confirm_seconds, lambda path: _seconds(path, confirm_name(name))
    )


def _seconds(path: Path, study: str) -> float:
    rows = select(path, _ELAPSED_QUERY, (ELAPSED, study))
    return float(rows[0][0]) if rows else 0.0


def copy_study(url: str, name: str, path: Path) -> None:
    """Copies a campaign's study into a new SQLite file, whoever writes it at the time.

    Raises:
        StoreError: The store is missing, damaged or not reachable.
    """
    source = sqlite_path(url)
    if source is not None:
        back_up(source, path)
        return
    with contextlib.closing(Store(url, name, objectives=(), create=False)) as store:
        store.copy_to(f"sqlite:///{path}")

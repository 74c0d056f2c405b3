"""The third study: what was confirmed comes back as it was, by every way of reading."""

from __future__ import annotations

from pathlib import Path

import pytest

from archsearch.errors import StoreError
from archsearch.objectives import OBJECTIVES
from archsearch.records import FRESH_RUNS, Confirmation, RunSeed, seal, unseal
from archsearch.storage import (
    MEMORY,
    Store,
    confirm_name,
    default_url,
    read_confirm_seconds,
    read_confirmations,
    read_records,
)
from tests.helpers import made_up, request

NAME = "s"


def store_at(url: str, *, create: bool) -> Store:
    return Store(url, NAME, objectives=[OBJECTIVES["accuracy"], OBJECTIVES["flops"]], create=create)


def confirmation(number: int, nth: int = 0) -> Confirmation:
    seed = RunSeed(campaign=1, trial=number, run=FRESH_RUNS + nth)
    return Confirmation(
        number=number,
        reference="conv only" if number < 0 else None,
        batch=1 + nth,
        evaluation=made_up(request(seed=seed)),
        attempts=2,
        finished_at="now",
    )


ALL = [confirmation(4, 1), confirmation(-3), confirmation(4)]


def fill(store: Store) -> None:
    for one in ALL:
        store.add_confirmation(one, [0.5, 3.0])
    store.set_confirm_seconds(12.3456)


def test_confirmations_come_back_in_their_order(tmp_path: Path) -> None:
    url = default_url(tmp_path)
    store = store_at(url, create=True)
    fill(store)
    assert store.confirmations() == ALL
    store.close()
    assert read_confirmations(url, NAME) == ALL
    assert read_confirm_seconds(url, NAME) == 12.346
    assert read_records(url, NAME) == []
    again = store_at(url, create=False)
    assert again.confirmations() == ALL
    assert again.confirm_seconds() == 12.346
    assert again.records() == []
    # the search's time is another
    assert again.elapsed_seconds() == 0.0
    again.close()


def test_a_seed_knows_its_place() -> None:
    assert [c.seed for c in ALL] == [1, 0, 0]
    assert unseal(Confirmation, seal(ALL[0]), "here") == ALL[0]
    with pytest.raises(StoreError, match="not a Confirmation record"):
        unseal(Confirmation, seal(ALL[0].evaluation), "here")


def test_a_store_without_the_study_gets_it_with_the_first_confirmation(tmp_path: Path) -> None:
    url = default_url(tmp_path)
    store_at(url, create=True).close()
    assert read_confirmations(url, NAME) == []
    older = store_at(url, create=False)
    assert older.confirmations() == []
    fill(older)
    older.close()
    assert read_confirmations(url, NAME) == ALL


def test_a_flipped_digit_is_noticed(tmp_path: Path) -> None:
    url = default_url(tmp_path)
    store = store_at(url, create=True)
    fill(store)
    store.close()
    data = (tmp_path / "study.db").read_bytes()
    changed = data.replace(b'\\"batch\\": 2', b'\\"batch\\": 3', 1)
    assert changed != data
    (tmp_path / "study.db").write_bytes(changed)
    with pytest.raises(StoreError, match="confirmation 0: the record's checksum does not match"):
        read_confirmations(url, NAME)


def test_in_memory_as_well() -> None:
    store = store_at(MEMORY, create=True)
    fill(store)
    assert store.confirmations() == ALL
    assert store.confirm_seconds() == 12.346
    store.close()


def test_the_studys_name() -> None:
    assert confirm_name("a-1") == "a-1/confirm"

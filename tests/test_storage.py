"""The store keeps what it was given, says so when it cannot, and readers leave it alone."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from archsearch.costs import price
from archsearch.errors import InputError, StoreError
from archsearch.objectives import OBJECTIVES
from archsearch.records import Failure, FailureKind, TrialOutcome, TrialRecord, seal, unseal
from archsearch.storage import Store, default_url, read_records, redacted, url_problems
from tests.helpers import design, made_up, new_campaign, open_store, request

NAME = "s"


def store_at(folder: Path, *, create: bool) -> Store:
    return Store(
        default_url(folder),
        NAME,
        objectives=[OBJECTIVES["accuracy"], OBJECTIVES["flops"]],
        create=create,
    )


def record(number: int, *, reference: str | None = None, told: int = 1) -> TrialRecord:
    built = design("short_conv", "attention")
    return TrialRecord(
        number=number,
        outcome=TrialOutcome.FINISHED,
        architecture=built,
        reference=reference,
        params={"yes": True, "whole": 3, "real": 1.0, "small": 1e-3, "text": "sqrt é"},
        digest=built.digest,
        campaign_key=f"{number:016x}",
        price=price(built, 16, vocab_size=64),
        accuracy=0.1 + number / 1000,
        evaluations=(made_up(request(built)),),
        told_order=told,
    )


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 200 trials and two references, closed cleanly."""
    folder = tmp_path_factory.mktemp("store")
    store = store_at(folder, create=True)
    for number in (-1, -2):
        store.add_reference(record(number, reference=f"r{number}"), [0.1, 2.0])
    for number in range(200):
        assert store.ask() == number
        failed = number % 20 == 7
        store.tell(
            record(number).model_copy(
                update={"failure": Failure(kind=FailureKind.LOST, message="gone")} if failed else {}
            ),
            None if failed else [0.1, 3.0],
        )
    store.set_elapsed_seconds(12.3456)
    store.close()
    return folder


@pytest.fixture
def copy(filled: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    shutil.copytree(filled, folder)
    return folder


def names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


def test_two_hundred_records_come_back_as_they_were(filled: Path) -> None:
    found = read_records(default_url(filled), NAME)
    assert [r.number for r in found] == [-1, -2, *range(200)]
    for got in found:
        wanted = record(got.number, reference=got.reference)
        if got.failure is not None:
            wanted = wanted.model_copy(update={"failure": got.failure})
        assert got == wanted
        assert [type(v) for v in got.params.values()] == [bool, int, float, float, str]


def test_both_ways_of_reading_agree(copy: Path) -> None:
    fast = read_records(default_url(copy), NAME)
    store = store_at(copy, create=False)
    assert store.records() == fast
    assert store.elapsed_seconds() == 12.346
    assert store.running() == []
    store.close()


def test_reading_changes_no_byte_and_leaves_no_file(copy: Path) -> None:
    file = copy / "study.db"
    before = file.read_bytes(), file.stat().st_mtime_ns, names(copy)
    read_records(default_url(copy), NAME)
    assert (file.read_bytes(), file.stat().st_mtime_ns, names(copy)) == before
    assert before[2] == {"study.db"}


def test_reading_does_not_wait_for_a_driver(copy: Path) -> None:
    store = store_at(copy, create=False)
    number = store.ask()
    store.note(record(number, told=0))
    assert names(copy) > {"study.db"}
    assert read_records(default_url(copy), NAME)[-1].number == 200
    # not even while it writes
    with sqlite3.connect(copy / "study.db") as writer:
        writer.execute("BEGIN IMMEDIATE")
        assert len(read_records(default_url(copy), NAME)) == 203
        writer.rollback()
    writer.close()
    store.close()
    assert names(copy) == {"study.db"}
    assert read_records(default_url(copy), NAME)[-1].number == 200


def test_the_driver_writes_ahead_and_synchronises_fully(copy: Path) -> None:
    store = store_at(copy, create=False)
    with store.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    store.close()
    with sqlite3.connect(copy / "study.db") as plain:
        assert plain.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    plain.close()


def test_a_reader_does_not_keep_the_driver_from_ending(copy: Path) -> None:
    store = store_at(copy, create=False)
    reader = sqlite3.connect(copy / "study.db")
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM trials").fetchall()
    store.close()
    reader.close()
    assert len(read_records(default_url(copy), NAME)) == 202
    store_at(copy, create=False).close()
    assert names(copy) == {"study.db"}


@pytest.fixture
def unwritable(copy: Path) -> Iterator[Path]:
    """A copy that cannot be written, by root neither where the file system allows."""
    (copy / "study.db").chmod(0o444)
    copy.chmod(0o555)
    subprocess.run(["chattr", "+i", str(copy)], check=False, capture_output=True)
    yield copy
    subprocess.run(["chattr", "-i", str(copy)], check=False, capture_output=True)
    copy.chmod(0o755)


def test_a_read_only_copy_is_read(unwritable: Path) -> None:
    assert len(read_records(default_url(unwritable), NAME)) == 202
    assert names(unwritable) == {"study.db"}


def test_a_copy_made_under_a_live_driver_is_read(copy: Path, tmp_path: Path) -> None:
    store = store_at(copy, create=False)
    store.note(record(store.ask()))
    taken = tmp_path / "taken"
    shutil.copytree(copy, taken)
    store.close()
    assert len(read_records(default_url(taken), NAME)) == 203


@pytest.mark.parametrize("number", [0, 137, 199])
def test_a_changed_record_is_noticed_and_named(copy: Path, number: int) -> None:
    def damaged(text: str) -> str:
        return text.replace(f'"{number:016x}"', f'"{number + 1:016x}"').replace(
            f'\\"{number:016x}\\"', f'\\"{number + 1:016x}\\"'
        )

    with sqlite3.connect(copy / "study.db") as connection:
        [(key, text)] = connection.execute(
            "SELECT trial_user_attribute_id, value_json FROM trial_user_attributes"
            " JOIN trials USING (trial_id) JOIN studies USING (study_id)"
            " WHERE key = 'record' AND studies.study_name = ? AND trials.number = ?",
            (NAME, number),
        ).fetchall()
        assert damaged(text) != text
        connection.execute(
            "UPDATE trial_user_attributes SET value_json = ? WHERE trial_user_attribute_id = ?",
            (damaged(text), key),
        )
    connection.close()
    with pytest.raises(StoreError, match=f"trial {number}: the record's checksum does not match"):
        read_records(default_url(copy), NAME)
    store = store_at(copy, create=False)
    with pytest.raises(StoreError, match=f"trial {number}:"):
        store.records()
    store.close()


def test_every_flipped_byte_of_a_sealed_record_is_noticed() -> None:
    sealed = seal(record(3))
    wanted = record(3)
    assert unseal(TrialRecord, sealed, "here") == wanted
    data = sealed.encode()
    for place in range(0, len(data), 3):
        changed = bytearray(data)
        changed[place] ^= 1
        with contextlib.suppress(StoreError):
            # a space between two values tells nothing
            assert unseal(TrialRecord, changed.decode(errors="replace"), "here") == wanted


@pytest.mark.parametrize("content", [b"", b"garbage" * 1000, b"SQLite format 3\0" + b"\1" * 5000])
def test_what_is_no_study_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "study.db").write_bytes(content)
    with pytest.raises(StoreError, match=r"study\.db"):
        read_records(default_url(tmp_path), NAME)
    with pytest.raises(StoreError, match=r"study"):
        store_at(tmp_path, create=False)


def test_a_missing_study_is_refused_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no study"):
        read_records(default_url(tmp_path), NAME)
    with pytest.raises(StoreError, match="there is no study"):
        store_at(tmp_path, create=False)
    assert names(tmp_path) == set()


def test_another_studys_file_is_refused(copy: Path) -> None:
    with pytest.raises(StoreError, match="holds no study called"):
        Store(default_url(copy), "other", objectives=[], create=False)


def test_what_was_half_made_is_completed(tmp_path: Path) -> None:
    """A driver killed while it made its study leaves any part of it."""
    import optuna

    storage = optuna.storages.RDBStorage(default_url(tmp_path))
    optuna.create_study(storage=storage, study_name=NAME, directions=["maximize", "minimize"])
    storage.remove_session()
    storage.engine.dispose()
    store = store_at(tmp_path, create=True)
    store.add_reference(record(-1, reference="r"), None)
    store.close()
    assert [r.number for r in read_records(default_url(tmp_path), NAME)] == [-1]


def test_odd_names_of_folders_are_no_sql_and_no_uri(tmp_path: Path) -> None:
    folder = tmp_path / "a b#dé'&x=:@"
    folder.mkdir()
    store = store_at(folder, create=True)
    store.tell(record(store.ask()), [0.5, 1.0])
    store.close()
    assert len(read_records(default_url(folder), NAME)) == 1
    assert names(tmp_path) == {folder.name}


@pytest.mark.parametrize("name", ["a?b", "a%20b"])
def test_a_name_that_a_url_would_change_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="choose another folder"):
        default_url(tmp_path / name)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:secret@h/db", "postgresql://u:***@h/db"),
        ("postgresql+psycopg://u:se:cr@et@h:5432/db", "postgresql+psycopg://u:***@h:5432/db"),
        ("postgresql://:secret@h/db", "postgresql://:***@h/db"),
        ("postgresql://u@h/db", "postgresql://u@h/db"),
        ("postgresql://h:5432/db", "postgresql://h:5432/db"),
        (
            "postgresql://h/db?user=u&password=secret&x=1",
            "postgresql://h/db?user=u&password=***&x=1",
        ),
        ("sqlite:////tmp/a:b@c.db", "sqlite:////tmp/a:b@c.db"),
    ],
)
def test_passwords_are_not_shown(url: str, shown: str) -> None:
    assert redacted(url) == shown


def test_an_unreachable_server_is_a_store_error_without_the_password() -> None:
    with pytest.raises(StoreError) as caught:
        Store(
            "postgresql://user:se:cret@127.0.0.1:9/db",
            NAME,
            objectives=[],
            create=False,
        )
    assert "cret" not in str(caught.value)


def test_records_are_json_without_nan() -> None:
    text = seal(record(1))
    json.loads(text, parse_constant=lambda c: pytest.fail(c))
    with pytest.raises(ValueError, match="JSON"):
        seal(record(1).model_copy(update={"accuracy": float("nan")}))


@pytest.mark.parametrize(
    "url",
    ["sqlite://", "sqlite:///:memory:", "sqlite:///relative.db", "sqlite+pysqlite:////a.db", "x"],
)
def test_a_store_that_would_not_be_found_again_is_refused(url: str) -> None:
    assert len(url_problems(url)) == 1


def test_an_absolute_file_is_a_store() -> None:
    assert url_problems("sqlite:////tmp/study.db") == []


def test_what_the_database_cannot_write_is_the_stores_error(tmp_path: Path) -> None:
    campaign = new_campaign(tmp_path)
    store = open_store(campaign, create=True)
    try:
        number = store.ask()
        store.engine.dispose()
        with sqlite3.connect(campaign.directory / "study.db") as connection:
            connection.execute("DROP TABLE trial_user_attributes")
        with pytest.raises(StoreError, match="cannot be written"), store.guarded():
            store.note(TrialRecord(number=number, outcome=TrialOutcome.RUNNING))
    finally:
        store.close()

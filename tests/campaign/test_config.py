"""A campaign's folder: who may have it, and what stands in it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from archsearch.campaign.config import (
    SETTINGS_FILE,
    SPACE_FILE,
    Campaign,
    claim_directory,
    next_directory,
)
from archsearch.errors import InputError
from tests.helpers import new_campaign


def test_a_folder_in_use_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        claim_directory(tmp_path)
    with pytest.raises(InputError, match="exists already"):
        claim_directory(tmp_path / "notes.txt")


def test_what_a_killed_start_left_is_taken(tmp_path: Path) -> None:
    (tmp_path / SPACE_FILE).write_text("name: half")
    assert claim_directory(tmp_path) == tmp_path


def test_folders_are_numbered_on(tmp_path: Path) -> None:
    assert next_directory("a", tmp_path).name == "a-001"
    (tmp_path / "a-007").mkdir()
    (tmp_path / "a-x").mkdir()
    assert next_directory("a", tmp_path).name == "a-008"


def test_settings_with_a_storage_are_for_their_owner_alone(tmp_path: Path) -> None:
    campaign = new_campaign(tmp_path / "c", storage="postgresql+psycopg://u:secret@h/db")
    mode = (tmp_path / "c" / SETTINGS_FILE).stat().st_mode
    assert stat.S_IMODE(mode) == 0o600
    campaign.freeze(trials=7)
    assert stat.S_IMODE((tmp_path / "c" / SETTINGS_FILE).stat().st_mode) == 0o600
    assert Campaign.open(tmp_path / "c").settings.trials == 7


def test_a_folder_that_cannot_be_made_is_the_users_to_change(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for impossible in (tmp_path / "file" / "x", tmp_path / ("z" * 300)):
        with pytest.raises(InputError, match="choose another folder with --out"):
            claim_directory(impossible)
    with pytest.raises(InputError, match="choose another folder with --out"):
        next_directory("a", tmp_path / "file")

"""The project's own files agree with one another."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from archsearch import __version__

ROOT = Path(__file__).parents[1]


def test_changelog_names_the_version() -> None:
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert headings[1] == __version__


def test_readme_is_short_and_its_files_exist() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 100
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if "://" not in target:
            assert (ROOT / target).exists(), f"README links to {target}"


def test_readme_names_existing_commands_and_make_targets() -> None:
    from archsearch.cli import COMMANDS

    text = (ROOT / "README.md").read_text()
    makefile = (ROOT / "Makefile").read_text()
    for command in re.findall(r"archsearch ([a-z]+)\b", "\n".join(re.findall(r"`([^`]+)`", text))):
        assert command in COMMANDS
    for target in re.findall(r"^make ([a-z-]+)", text, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"README runs make {target}"


def test_every_dependency_is_pinned() -> None:
    pinned = {
        re.split(r"==", line)[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    names = {re.split(r"[>=\[]", text)[0].lower().replace("_", "-") for text in wanted}
    assert names <= pinned
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text()

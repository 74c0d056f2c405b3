"""Checksums beside exported files: what is whole, and whose a file in a folder is."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from archsearch.errors import InputError

_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def checksums(folder: Path) -> str:
    """The SHA-256 of each file in a folder, as ``sha256sum`` writes them."""
    return "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(folder.iterdir())
        if path.is_file()
    )


def _named(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Each line of each ``*.sha256``: whose it is, SHA-256, and name of a file."""
    for manifest in sorted(path for path in folder.glob("*.sha256") if path.is_file()):
        for line in manifest.read_text(encoding="utf-8", errors="replace").splitlines():
            if found := _LINE.fullmatch(line):
                yield manifest.name, found[1], found[2]


def check_owners(folder: Path, own: str, contents: Mapping[str, bytes]) -> None:
    """Whether files can be written without taking something from another export, or from a user.

    Args:
        folder: Where they shall lie.
        own: The name of their checksums.
        contents: By name. What is there with the same content stays as it is.

    Raises:
        InputError: One of them is another export's, or is named by no checksums, and differs; or
            in its place is a folder.
    """
    named = [*_named(folder)]
    known = {text for manifest, _, name in named for text in (manifest, name)}
    for name in (*contents, own):
        path = folder / name
        if path.is_dir():
            raise InputError(f"--out: '{path}' is a folder; give the name of a file")
        if path.exists() and name not in known and not _holds(path, contents.get(name)):
            raise InputError(
                f"--out: '{path}' is there already and is no export, for no checksums beside it"
                " name it; give another name, or remove it"
            )
    for manifest, digest, name in named:
        if manifest == own or name not in contents:
            continue
        if hashlib.sha256(contents[name]).hexdigest() != digest:
            raise InputError(
                f"--out: '{folder / name}' is of another export, '{manifest}' names it;"
                " give another name, or remove that export"
            )


def _holds(path: Path, content: bytes | None) -> bool:
    """Whether a file has that content."""
    return path.is_file() and path.read_bytes() == content


def is_only_in(folder: Path, own: str, name: str) -> bool:
    """Whether these checksums name a file, and no others in the folder do."""
    owners = {manifest for manifest, _, other in _named(folder) if other == name}
    return owners == {own}

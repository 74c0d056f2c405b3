"""What ``--out`` and its like name: whether it can be written, and in which format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryFile

from archsearch.errors import InputError, StoreError
from archsearch.files import write_atomically


def check_file(path: Path) -> None:
    """Refuses a file that could not be written, before anything is computed.

    Raises:
        InputError: There is no such folder, no file can be made in it, or the file is one.
    """
    check_folder(path.parent)
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder '{path.parent}'; make it first")
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give the name of a file")


def check_folder(path: Path) -> None:
    """Refuses a folder that could not be made or written to, before anything is computed.

    Raises:
        InputError: It, or what it would lie in, is a file, or takes none.
    """
    try:
        there = next(part for part in (path, *path.parents) if part.exists())
        if not there.is_dir():
            raise InputError(f"{there}: is a file; give a folder")
        # permissions alone do not say it: root has all of them
        with TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise InputError(
            f"{path}: no file can be made there ({error.strerror}); give another folder"
        ) from None


def write_file(path: Path, content: str | bytes) -> None:
    """Writes what ``check_file`` has let pass.

    Raises:
        StoreError: It cannot be written all the same.
    """
    try:
        write_atomically(path, content)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror})") from None


def format_of(out: Path | None, asked: str | None, suffixes: Mapping[str, str], usual: str) -> str:
    """The format that is asked for, else the one that the file's suffix names, else the usual.

    Args:
        out: The file, if there is one. A suffix that is not known names no format.
        asked: The name of a format.
        suffixes: Formats by suffix, in small letters.
        usual: The name of another format.

    Raises:
        InputError: The suffix is another format's.
    """
    name = "" if out is None else out.name.lower()
    suffix = max((known for known in suffixes if name.endswith(known)), key=len, default=None)
    if suffix is None:
        return asked or usual
    if asked is None:
        return suffixes[suffix]
    # of '.zoology.json' the content is JSON, too
    last = "." + suffix.rpartition(".")[2]
    if not any(other.endswith(last) for other, found in suffixes.items() if found == asked):
        raise InputError(
            f"--out: got '{out}', whose suffix is that of {suffixes[suffix]}, and {asked} is asked"
            f" for; give another suffix, or ask for {suffixes[suffix]}"
        )
    return asked


def export_format(out: Path | None, asked: str | None) -> str:
    """The name of an export format, YAML if neither an option nor a suffix says another.

    Raises:
        UnknownNameError: There is no such format.
        InputError: The suffix is another format's.
    """
    from archsearch.exporters import exporters

    if asked is not None:
        exporters.get(asked)
    suffixes = {exporters.get(name).suffix: name for name in exporters} | {".yml": "yaml"}
    # formats that are folders have none
    suffixes.pop("", None)
    return format_of(out, asked, suffixes, "yaml")

"""Which files a figure can be written to; apart from the figure, so that it is known early."""

from __future__ import annotations

from pathlib import Path

from archsearch.errors import InputError, suggestion

SUFFIXES = (".png", ".svg", ".pdf")


def check_path(path: Path) -> None:
    """Refuses what could not be written, before anything is computed.

    Raises:
        InputError: The suffix is not known, or there is no such folder.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"{path}: got suffix '{path.suffix}'; must be one of {', '.join(SUFFIXES)}"
            f"{suggestion(path.suffix.lower(), SUFFIXES)}"
        )
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder '{path.parent}'; make it first")
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give the name of a file")

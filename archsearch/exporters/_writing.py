"""Designs to files: written aside, verified, and moved to a place where nothing else is lost."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from archsearch.errors import InputError, StoreError
from archsearch.exporters._manifest import check_owners, checksums, is_only_in
from archsearch.exporters.base import WEIGHTS_NAME, ArchitectureFile, Exporter, Weights
from archsearch.files import sync, write_atomically


class _Place(NamedTuple):
    """Where an export shall lie.

    Attributes:
        path: Of the file, or of the folder.
        in_folder: Whether it is a folder, which holds weights and checksums too.
        weights: The name of its weights.
        sums: The name of its checksums.
    """

    path: Path
    in_folder: bool
    weights: str
    sums: str


def write(
    file: ArchitectureFile,
    exporter: Exporter,
    path: Path,
    weights: bytes | None = None,
    *,
    verify: bool = True,
) -> str | None:
    """Writes a design; its folder is made if it is not there.

    Beside it come the weights, if there are any, and the SHA-256 of both in ``<name>.sha256``, for
    ``sha256sum -c``; a folder holds all of these itself. All are written aside and moved when they
    are whole and verified, a description after the weights that it names. Weights that an earlier
    export of this name left go when it comes without.

    Args:
        file: The design.
        exporter: The format.
        path: Of the file, where nothing may be but an earlier export of this name; or of the
            folder, which must not be there yet.
        weights: The content of a safetensors file.
        verify: Whether the design is rebuilt from what was written, and compared.

    Returns:
        What could not be compared; None where all was, or nothing was to be.

    Raises:
        InputError: The name is unusable or would overwrite what is not an earlier export of this
            name, or the format cannot say what the design is.
        StoreError: Something cannot be written.
        MismatchError: What was written is not the design; nothing is left of it.
    """
    place = _place(path, exporter)
    file, contents = _contents(file, exporter, place, weights)
    unverified = None
    try:
        if not place.in_folder:
            check_owners(path.parent, place.sums, contents)
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=path.parent, prefix=f".{path.stem}-") as name:
            # what is imported from a folder may have to know its name
            aside = Path(name) / path.name if place.in_folder else Path(name)
            aside.mkdir(exist_ok=True)
            for content_name, content in contents.items():
                write_atomically(aside / content_name, content)
            if verify:
                written = aside if place.in_folder else aside / path.name
                unverified = exporter.verify(written, file, weights)
            write_atomically(aside / place.sums, checksums(aside))
            _move(aside, place, contents)
        sync(path.parent)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror})") from None
    return unverified


def _place(path: Path, exporter: Exporter) -> _Place:
    """Where an export lies, by the name that it shall have."""
    if not path.name:
        raise InputError(f"--out: got '{path}'; give the name of a file")
    if exporter.suffix:
        beside = path.with_suffix(".safetensors").name
        return _Place(path, in_folder=False, weights=beside, sums=f"{path.name}.sha256")
    if path.exists():
        raise InputError(f"'{path}' is there already; remove it, or give another --out")
    return _Place(path, in_folder=True, weights="model.safetensors", sums="SHA256SUMS")


def _contents(
    file: ArchitectureFile, exporter: Exporter, place: _Place, weights: bytes | None
) -> tuple[ArchitectureFile, dict[str, bytes]]:
    """The description with the name of its weights; and what to write by name, weights first."""
    contents = {}
    if weights is not None:
        name = place.path.name
        if place.weights == name or not re.fullmatch(WEIGHTS_NAME, place.weights):
            raise InputError(
                f"--out: got '{name}'; with weights beside it the name must be letters,"
                f" digits, '.', '_' or '-', such as design{exporter.suffix}"
            )
        content = contents[place.weights] = exporter.weights(weights, file)
        named = Weights(file=place.weights, sha256=hashlib.sha256(content).hexdigest())
        file = file.model_copy(update={"weights": named})
    rendered = exporter.render(file)
    texts = {place.path.name: rendered} if isinstance(rendered, str) else rendered
    return file, contents | {name: text.encode() for name, text in texts.items()}


def _move(aside: Path, place: _Place, contents: Mapping[str, bytes]) -> None:
    """What is whole to its place: files in order, checksums last, old weights gone before these."""
    if place.in_folder:
        aside.replace(place.path)
        return
    folder = place.path.parent
    stale = place.weights not in contents and is_only_in(folder, place.sums, place.weights)
    for name in contents:
        (aside / name).replace(folder / name)
    if stale:
        (folder / place.weights).unlink(missing_ok=True)
    (aside / place.sums).replace(folder / place.sums)

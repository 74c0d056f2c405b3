"""What formats that describe a design to another library share: refusal, weights, counting."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from archsearch.architecture import Architecture, Component
from archsearch.exporters.base import ArchitectureFile

Shapes = dict[str, tuple[int, ...]]


class Piece(NamedTuple):
    """Where one of their weights comes from.

    Attributes:
        ours: Name of our weight.
        rows: The first of its rows, and the one behind the last; None for all.
        factor: Times this.
        transposed: Rows become columns, after all else.
    """

    ours: str
    rows: tuple[int, int] | None = None
    factor: float = 1.0
    transposed: bool = False


def split(ours: str, names: Mapping[str, int]) -> dict[str, Piece]:
    """Their weights whose rows stand one behind the other in ours; how many rows by name."""
    found, first = {}, 0
    for name, count in names.items():
        found[name] = Piece(ours, (first, first + count))
        first += count
    return found


def under(prefix: str, pieces: Mapping[str, Piece], ours: str) -> dict[str, Piece]:
    """The same within a part that has a name on both sides."""
    return {
        f"{prefix}.{name}": piece._replace(ours=f"{ours}.{piece.ours}")
        for name, piece in pieces.items()
    }


def structure_problems(design: Architecture, library: str) -> list[str]:
    """Parts of our blocks that no other library has."""
    problems = []
    for i, block in enumerate(design.blocks):
        if block.parallel is not None:
            problems.append(
                f"blocks[{i}].parallel: '{block.parallel.name}' beside '{block.sequence.name}':"
                f" a block of {library} has one sequence mixer"
            )
        if block.local_conv:
            problems.append(
                f"blocks[{i}].local_conv: {block.local_conv} taps: a block of {library} has no"
                " convolution in front of its mixer"
            )
    return problems


def difference(name: str, library: str, known: Mapping[str, str]) -> str:
    """Why a mixer cannot be said there."""
    if name in known:
        return f"'{name}' is another function in {library}: {known[name]}"
    return f"'{name}' has no counterpart in {library}"


def not_run(library: str) -> str:
    """What is not compared where another library would have to compute."""
    return f"logits were not compared: {library} is not run here; config and weights were"


def places(design: Architecture, kind: str) -> Iterator[tuple[str, Component]]:
    """The ``sequence`` or ``channel`` mixers, each with the name of its place."""
    for i, block in enumerate(design.blocks):
        yield f"blocks[{i}].{kind}", getattr(block, kind)


def renamed(weights: bytes, pieces: Mapping[str, Piece], shapes: Shapes) -> bytes:
    """Our safetensors file with their names and shapes."""
    import numpy as np
    from safetensors.numpy import load, save

    ours = load(weights)
    found = {}
    for name, piece in pieces.items():
        value = ours[piece.ours]
        if piece.rows is not None:
            value = value[slice(*piece.rows)]
        if piece.factor != 1.0:
            value = value * value.dtype.type(piece.factor)
        value = value.T if piece.transposed else value
        found[name] = np.ascontiguousarray(value.reshape(shapes[name]))
    return save(found, metadata={"format": "pt"})


def check_written(
    path: Path,
    file: ArchitectureFile,
    found: Mapping[str, Any],
    wanted: Mapping[str, Any],
    shapes: Shapes,
    tied: str = "",
) -> None:
    """Compares what can be compared without the other library: parameters, config, and shapes.

    Args:
        path: The config; weights lie beside it, if there are any.
        file: The design.
        found: The config, as it was read again.
        wanted: The config, as the design makes it.
        shapes: Of their weights by name, as their rules make them from ``found``.
        tied: The one of them that is another once more.

    Raises:
        MismatchError: They have more or fewer parameters than we, or something else was written.
    """
    from safetensors import safe_open

    from archsearch.exporters._verify import MismatchError, check_config, own_model

    counted = sum(math.prod(shape) for name, shape in shapes.items() if name != tied)
    ours = sum(parameter.numel() for parameter in own_model(file).parameters())
    if counted != ours:
        raise MismatchError(f"{path}: describes {counted} parameters, the design has {ours}")
    check_config(str(path), found, wanted)
    if file.weights is None:
        return
    with safe_open(path.parent / file.weights.file, "np") as weights:
        kept = {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118
    if kept != shapes:
        odd = sorted(kept.items() ^ shapes.items())[0][0]
        raise MismatchError(
            f"{path}: {file.weights.file} is not what it describes (first difference: {odd})"
        )


def check_renamed(path: Path, ours: bytes, pieces: Mapping[str, Piece], tied: str = "") -> None:
    """Turns each of their weights back, and compares it with ours to the last bit.

    Args:
        path: Their weights.
        ours: Our safetensors file.
        pieces: Where each of theirs comes from.
        tied: The one of them that is another once more.

    Raises:
        MismatchError: A value differs, or one of ours is not in theirs exactly once.
    """
    from safetensors.numpy import load, load_file

    from archsearch.exporters._verify import MismatchError

    mine, theirs = load(ours), load_file(path)
    if theirs.keys() != pieces.keys():
        odd = sorted(theirs.keys() ^ pieces.keys())[0]
        raise MismatchError(f"{path}: is not what was to be written (first difference: {odd})")
    used: Counter[tuple[str, int]] = Counter()
    for name, (source, rows, factor, transposed) in pieces.items():
        first, last = (0, len(mine[source])) if rows is None else rows
        wanted = mine[source][first:last]
        if factor != 1.0:
            wanted = wanted * wanted.dtype.type(factor)
        found = theirs[name]
        found = found.reshape(wanted.shape[::-1]).T if transposed else found.reshape(wanted.shape)
        if found.dtype != wanted.dtype or found.tobytes() != wanted.tobytes():
            raise MismatchError(f"{path}: the weights {name} are not the design's {source}")
        used.update((source, row) for row in range(first, last) if name != tied)
    every = Counter((name, row) for name, value in mine.items() for row in range(len(value)))
    if used != every:
        source, row = sorted(used.items() ^ every.items())[0][0]
        raise MismatchError(f"{path}: row {row} of {source} is not in it once")

"""What formats that describe a design to another library share: refusal, weights, counting."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

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


def check_counted(
    path: Path, folder: Path, file: ArchitectureFile, shapes: Shapes, tied: str = ""
) -> None:
    """Compares what can be compared without the other library: parameters and weights.

    Args:
        path: What was written, for messages.
        folder: Where the weights lie, if there are any.
        file: The design.
        shapes: Of their weights by name, as their rules make them from what was written.
        tied: The one of them that is another once more.

    Raises:
        MismatchError: They have more or fewer parameters than we, or other weights were written.
    """
    from safetensors import safe_open

    from archsearch.exporters._verify import MismatchError, own_model

    counted = sum(math.prod(shape) for name, shape in shapes.items() if name != tied)
    ours = sum(parameter.numel() for parameter in own_model(file).parameters())
    if counted != ours:
        raise MismatchError(f"{path}: describes {counted} parameters, the design has {ours}")
    if file.weights is None:
        return
    with safe_open(folder / file.weights.file, "np") as found:
        kept = {name: tuple(found.get_slice(name).get_shape()) for name in found.keys()}  # noqa: SIM118
    if kept != shapes:
        odd = sorted(kept.items() ^ shapes.items())[0][0]
        raise MismatchError(
            f"{path}: {file.weights.file} is not what it describes (first difference: {odd})"
        )

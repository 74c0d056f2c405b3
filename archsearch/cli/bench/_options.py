"""Options that several benches share, and what they stand for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from archsearch.architecture import Architecture
    from archsearch.tasks.mqar import Cell

Repeats = Annotated[
    int, typer.Option(min=1, max=1000, help="Repeats, of which the median is shown.")
]
CellTexts = Annotated[
    list[str] | None,
    typer.Option(
        "--cell",
        metavar="N,D[,A]",
        help="Tokens, pairs and exponent of the distances; five cells unless given.",
        show_default=False,
    ),
]
BatchTokens = Annotated[
    int | None,
    typer.Option(
        "--tokens",
        min=4,
        max=2**24,
        help="Of a batch; 2,048, as in the shipped spaces, unless given.",
        show_default=False,
    ),
]
Width = Annotated[
    int, typer.Option("--d-model", min=4, max=65_536, help="Width, where the design is a mixer.")
]


def cells_of(texts: list[str] | None) -> tuple[Cell, ...]:
    """The cells that were asked for.

    Raises:
        InputError: A text is no cell.
    """
    from pydantic import ValidationError

    from archsearch.bench._subjects import FIVE
    from archsearch.errors import InputError
    from archsearch.tasks.mqar import Cell, MQARConfig

    cells, problems = [], []
    for text in texts or ():
        found = re.fullmatch(r"(\d{1,9}),(\d{1,9})(?:,(\d{1,3}(?:\.\d{1,9})?))?", text)
        if found is None:
            problems.append(
                f"--cell: got '{text}'; must be tokens and pairs, such as 64,4, and perhaps the"
                " exponent of the distances, such as 2048,64,1"
            )
            continue
        exponent = {} if found[3] is None else {"power_a": float(found[3])}
        try:
            cells.append(Cell(length=int(found[1]), pairs=int(found[2]), **exponent))
            MQARConfig(cells=(cells[-1],))  # the vocabulary bounds the length
        except ValidationError as error:
            problems += [f"--cell {text}: {e['msg']}" for e in error.errors()]
    if problems:
        raise InputError(problems)
    return tuple(cells) or FIVE


def design_of(text: str, d_model: int) -> Architecture:
    """The design that was asked for: a short convolution of 3 taps and a mixer, or a file's.

    Raises:
        InputError: There is no such mixer, file or width.
        StoreError: The file holds no design.
    """
    from pathlib import Path

    from archsearch.architecture import Component
    from archsearch.bench._subjects import behind_conv
    from archsearch.canonical import canonicalise, check
    from archsearch.errors import InputError
    from archsearch.exporters import read
    from archsearch.mixers import specs

    if Path(text).suffix in (".yaml", ".yml", ".json"):
        return read(Path(text)).architecture
    if specs.get(text).kind != "sequence":
        raise InputError(f"--design: '{text}' is no sequence mixer")
    design = behind_conv(Component(name=text), d_model)
    check(design)
    return canonicalise(design)

"""The front's rows as texts: the same in a table, in a pipe and in the live view."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from archsearch.cli._picture import letter
from archsearch.cli._text import Column, accuracy, human, ratio, share
from archsearch.records import Front, FrontRow

COLUMNS_OF_LIVE = (
    Column("trial"),
    Column("accuracy"),
    Column("gap", rank=2),
    Column("FLOPs"),
    Column("growth", rank=1, text=True),
    Column("design", text=True),
)


class TextRow(NamedTuple):
    """Texts of a row, and rich's style for it."""

    texts: tuple[str, ...]
    style: str


def _member_kind(front: Front, row: FrontRow) -> str:
    kind = "knee" if row.number == front.knee else "member"
    return f"{kind}, oracle" if row.oracle_bias else kind


def _cells(front: Front) -> tuple[str, ...]:
    rows = (*front.members, *front.references, *front.dominated)
    return next((row.cells for row in rows if row.cells), ())


def front_columns(front: Front) -> list[Column]:
    """Headings; the accuracies of the cells are named by the cells."""
    return [
        Column("trial"),
        Column("kind", rank=8, text=True),
        Column("accuracy"),
        Column("worst", rank=2),
        *(Column(cell, rank=6) for cell in _cells(front)),
        Column("gap", rank=3),
        Column("FLOPs"),
        Column("vs attn", rank=1),
        Column("growth", text=True),
        Column("state", rank=4),
        Column("params", rank=5),
        Column("seeds", rank=7),
        Column("design", text=True, below=True),
    ]


def front_rows(front: Front, *, with_dominated: bool = False) -> list[TextRow]:
    """Members, then the dominated designs if wanted, then the references."""
    num_cells = len(_cells(front))
    rows = [_row(row, _member_kind(front, row), num_cells, "") for row in front.members]
    if with_dominated:
        ordered = sorted(front.dominated, key=lambda row: (row.cost, -row.accuracy))
        rows += [
            _row(row, "oracle" if row.oracle_bias else "dominated", num_cells, "dim")
            for row in ordered
        ]
    rows += [
        _row(row, "reference", num_cells, "yellow", label=letter(i))
        for i, row in enumerate(front.references)
    ]
    return rows


def _row(row: FrontRow, kind: str, num_cells: int, style: str, label: str = "") -> TextRow:
    trained = row.outcome.was_trained
    design = f"{row.name} = {row.design}" if row.is_reference else row.design
    texts: Iterable[str] = (
        label or str(row.number),
        kind,
        accuracy(row.accuracy if trained else None),
        accuracy(row.worst_cell if trained else None),
        *(map(accuracy, row.cell_accuracy) if row.cell_accuracy else ["-"] * num_cells),
        share(row.gap_closed),
        human(row.flops),
        ratio(row.cost_vs_full_attention),
        row.growth,
        human(row.state_floats),
        human(row.params),
        str(row.seeds),
        design if trained else f"{design} ({row.outcome.value})",
    )
    return TextRow(tuple(texts), style)


def live_row(row: FrontRow, most: int) -> tuple[str, ...]:
    """A short row, the design cut to at most so many characters."""
    design = row.design if len(row.design) <= most else row.design[: most - 3] + "..."
    return (
        str(row.number),
        accuracy(row.accuracy),
        share(row.gap_closed),
        human(row.flops),
        row.growth,
        design,
    )

"""The front's rows as texts: the same in a table, in a pipe and in the live view."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

from archsearch.cli._picture import letter
from archsearch.cli._text import Column, accuracy, count, decades, human, ratio, share
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


def _kept_rows(front: Front) -> tuple[FrontRow, ...]:
    return (*front.members, *front.references, *front.dominated)


def was_confirmed(front: Front) -> bool:
    """Whether some design was trained again, so that there is more to say than one seed does."""
    return front.winners_curse is not None or any(
        row.confirmed or row.seeds > 1 or row.low is not None for row in _kept_rows(front)
    )


def _is_learnability_sought(front: Front) -> bool:
    return "learnability" in front.objectives


def _cells(front: Front) -> tuple[str, ...]:
    return next((row.cells for row in _kept_rows(front) if row.cells), ())


def front_columns(front: Front) -> list[Column]:
    """Headings; the accuracies of the cells are named by the cells."""
    confirmation = (
        Column("status", rank=1, text=True),
        Column("95% interval", rank=2),
        Column("P(front)", rank=2),
    )
    return [
        Column("trial"),
        Column("kind", rank=8, text=True),
        Column("accuracy"),
        *(confirmation if was_confirmed(front) else ()),
        Column("worst", rank=2),
        *(Column(cell, rank=6) for cell in _cells(front)),
        Column("gap", rank=3),
        *([Column("decades")] if _is_learnability_sought(front) else ()),
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
    of = partial(
        _row,
        num_cells=len(_cells(front)),
        with_confirmation=was_confirmed(front),
        with_learnability=_is_learnability_sought(front),
    )
    rows = [of(row, _member_kind(front, row), style="") for row in front.members]
    if with_dominated:
        ordered = sorted(front.dominated, key=lambda row: (row.cost, -row.accuracy))
        rows += [
            of(row, "oracle" if row.oracle_bias else "dominated", style="dim") for row in ordered
        ]
    rows += [
        of(row, "reference", style="yellow", label=letter(i))
        for i, row in enumerate(front.references)
    ]
    return rows


def status_of(row: FrontRow) -> str:
    """``confirmed`` or ``provisional``; a dash where there is no membership to confirm."""
    if row.confirmed:
        return "confirmed"
    return "provisional" if row.is_member or row.is_reference else "-"


def confirmed_of(front: Front) -> str:
    """How many of the members are confirmed, in words."""
    confirmed = sum(row.confirmed for row in front.members)
    return f"{confirmed} of {count(len(front.members), 'member')} confirmed"


def interval(row: FrontRow) -> str:
    """Of the mean, 95 %."""
    if row.low is None or row.high is None:
        return "-"
    return f"{accuracy(row.low)}-{accuracy(row.high)}"


def _row(
    row: FrontRow,
    kind: str,
    *,
    num_cells: int,
    with_confirmation: bool,
    with_learnability: bool,
    style: str,
    label: str = "",
) -> TextRow:
    trained = row.outcome.was_trained
    design = f"{row.name} = {row.design}" if row.is_reference else row.design
    p = "-" if row.p_on_front is None else f"{row.p_on_front:.2f}"
    texts: Iterable[str] = (
        label or str(row.number),
        kind,
        accuracy(row.accuracy if trained else None),
        *((status_of(row), interval(row), p) if with_confirmation else ()),
        accuracy(row.worst_cell if trained else None),
        *(map(accuracy, row.cell_accuracy) if row.cell_accuracy else ["-"] * num_cells),
        share(row.gap_closed),
        *([decades(row.learnability)] if with_learnability else ()),
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

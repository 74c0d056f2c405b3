"""A campaign as a table: one row for each trial and reference, one plain value in each cell."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from archsearch.canonical import readable
from archsearch.errors import InputError
from archsearch.records import Front, FrontRow, TrialRecord

Cell = str | int | float | bool | None

KINDS = {
    **dict.fromkeys(
        ("accuracy", "low", "high", "worst_cell", "gap_closed", "search_accuracy", "p_on_front",
         "learning_rate", "learnability"),
        "float64",
    ),
    "solved": "boolean",
    "confirmed": "boolean",
}  # fmt: skip
"""Of columns in a DataFrame whose cells may all be None."""


def extra(module: str, instead: str) -> Any:
    """A package that only some tables need.

    Raises:
        InputError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        name = module.split(".")[0]
        raise InputError(
            f"{name} is not installed; 'pip install archsearch[tables]', or use {instead}"
        ) from None


def rows(records: Sequence[TrialRecord], front: Front) -> list[dict[str, Cell]]:
    """The table, by number; every row has every column, in one order.

    Accuracies are the best estimates, as in the front; ``search_accuracy`` is what the search saw.
    FLOPs are forward, per sequence, at the longest test cell. None stands for what is not known, or
    does not apply.

    Args:
        records: References and trials.
        front: Of the same.
    """
    shown = {row.number: row for row in (*front.members, *front.dominated, *front.references)}
    cells = next((row.cells for row in shown.values() if row.cells), ())
    return [
        {**_design(record), **_scores(record, shown.get(record.number), cells), **_end(record)}
        for record in sorted(records, key=lambda r: r.number)
    ]


def _design(record: TrialRecord) -> dict[str, Cell]:
    design, price = record.architecture, record.price
    return {
        "number": record.number,
        "reference": record.reference,
        "outcome": record.outcome.value,
        "design": None if design is None else readable(design),
        "d_model": None if design is None else design.d_model,
        "depth": None if design is None else len(design.blocks),
        "flops": None if price is None else price.flops,
        "flops_executed": None if price is None else price.flops_executed,
        "params": None if price is None else price.params,
        "state_floats": None if price is None else price.state_floats,
        "growth": None if price is None else price.growth_text,
    }


def _scores(record: TrialRecord, row: FrontRow | None, cells: Sequence[str]) -> dict[str, Cell]:
    known = row if row is not None and record.outcome.was_trained else None
    found: dict[str, Cell] = {"is_member": row is not None and row.is_member}
    for name in (
        "accuracy", "low", "high", "worst_cell", "solved", "gap_closed", "search_accuracy", "seeds",
        "p_on_front", "confirmed", "learning_rate", "steps",
    ):  # fmt: skip
        found[name] = None if known is None else getattr(known, name)
    per_cell = [None] * len(cells) if known is None else known.cell_accuracy
    found |= {f"accuracy {cell}": value for cell, value in zip(cells, per_cell, strict=True)}
    found["learnability"] = record.learnability
    return found


def _end(record: TrialRecord) -> dict[str, Cell]:
    return {
        "seconds": record.seconds,
        "train_flops": record.train_flops,
        "duplicate_of": record.duplicate_of,
        "violated": ", ".join(record.violations) or None,
        "failure": None if record.failure is None else record.failure.message,
        "digest": record.digest or None,
        "started_at": record.started_at or None,
        "finished_at": record.finished_at or None,
    }

"""A table as text, or as Parquet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence

from archsearch.campaign.table import Cell, extra

Rows = Sequence[Mapping[str, Cell]]

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet would compute; a failure's message may begin so."""


def text_of(rows: Rows, *, as_jsonl: bool) -> str:
    """The rows as JSON lines, or as CSV with a heading (RFC 4180 but for the ends of lines)."""
    if as_jsonl:
        return "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    if not rows:
        return ""
    target = io.StringIO()
    writer = csv.DictWriter(target, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _plain(value) for key, value in row.items()} for row in rows)
    return target.getvalue()


def _plain(value: Cell) -> Cell:
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value


def parquet(rows: Rows) -> bytes:
    """The rows as one Parquet file.

    Raises:
        InputError: pyarrow is not installed.
    """
    arrow, files = (extra(name, "--jsonl") for name in ("pyarrow", "pyarrow.parquet"))
    target = io.BytesIO()
    files.write_table(arrow.Table.from_pylist([dict(row) for row in rows]), target)
    return target.getvalue()

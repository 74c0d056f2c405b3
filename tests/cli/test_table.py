"""``table``: the same rows as CSV, JSON lines, Parquet and a DataFrame."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

import archsearch
from archsearch.records import TrialOutcome

from .conftest import Ran

Cli = Callable[..., Ran]


def lines_of(ran: Ran) -> list[dict[str, Any]]:
    assert (ran.code, ran.err) == (0, "")
    return [json.loads(line) for line in ran.out.splitlines()]


def test_every_trial_and_reference_has_a_row(cli: Cli, campaign: Path) -> None:
    reading = archsearch.open_campaign(campaign)
    rows = lines_of(cli("table", campaign, "--jsonl"))
    assert rows == reading.table()
    assert [row["number"] for row in rows] == sorted(r.number for r in reading.records)
    assert len({tuple(row) for row in rows}) == 1
    records = {r.number: r for r in reading.records}
    members = {m.number: m for m in reading.front.members}
    assert members
    for row in rows:
        record = records[row["number"]]
        assert row["outcome"] == record.outcome.value
        assert row["is_member"] == (row["number"] in members)
        assert (row["accuracy"] is None) == (not record.outcome.was_trained)
        assert row["flops"] == (None if record.price is None else record.price.flops)
        if row["is_member"]:
            member = members[row["number"]]
            assert row["accuracy"] == member.accuracy
            per_cell = tuple(row[f"accuracy {cell}"] for cell in member.cells)
            assert per_cell == member.cell_accuracy
    by_outcome = {row["outcome"]: row for row in rows}
    assert by_outcome["infeasible"]["violated"] == "growth < 2"
    assert by_outcome["duplicate"]["duplicate_of"] == 0
    assert by_outcome["failed"]["failure"] == "RuntimeError: shapes do not match"
    assert by_outcome[TrialOutcome.RUNNING.value]["finished_at"] is None


def test_csv_holds_the_same(cli: Cli, campaign: Path, tmp_path: Path) -> None:
    rows = lines_of(cli("table", campaign, "--jsonl"))
    ran = cli("table", campaign)
    assert ran.out == cli("table", campaign, "--csv").out
    found = list(csv.DictReader(io.StringIO(ran.out)))
    assert [{k: v or None for k, v in row.items()} for row in found] == [
        {k: None if v is None else str(v) for k, v in row.items()} for row in rows
    ]
    written = cli("table", campaign, "--out", tmp_path / "t.csv")
    assert written.out == f"{tmp_path / 't.csv'}\n"
    assert (tmp_path / "t.csv").read_text() == ran.out


def test_what_a_spreadsheet_would_compute_is_text() -> None:
    from archsearch.cli._table_text import text_of

    rows = [{"failure": "=HYPERLINK(1)", "gap": -0.5, "design": 'a "b", c'}]
    assert text_of(rows, as_jsonl=False).splitlines()[1] == '\'=HYPERLINK(1),-0.5,"a ""b"", c"'
    assert json.loads(text_of(rows, as_jsonl=True)) == rows[0]


def test_parquet_and_frames_keep_the_types(cli: Cli, campaign: Path, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    assert cli("table", campaign, "--parquet", "--out", path).code == 0
    rows = archsearch.open_campaign(str(campaign)).table()
    assert pyarrow.parquet.read_table(path).to_pylist() == rows
    frame = archsearch.open_campaign(campaign).frame()
    assert list(frame.columns) == list(rows[0])
    assert frame.set_index("number").loc[2, "accuracy"] == rows[8]["accuracy"]
    assert [row["number"] for row in rows].index(2) == 8
    assert all(row["p_on_front"] is None for row in rows)
    assert (frame["p_on_front"].dtype, frame["solved"].dtype) == ("float64", "boolean")


def test_the_suffix_chooses_the_format(cli: Cli, campaign: Path, tmp_path: Path) -> None:
    lines = cli("table", campaign, "--jsonl").out
    for name in ("t.jsonl", "t.ndjson", "t.json"):
        assert cli("table", campaign, "--out", tmp_path / name).code == 0
        assert (tmp_path / name).read_text() == lines
    assert cli("table", campaign, "--out", tmp_path / "t.parquet").code == 0
    assert len(pyarrow.parquet.read_table(tmp_path / "t.parquet")) == len(lines.splitlines())
    assert cli("table", campaign, "--out", tmp_path / "t.tsv", "--jsonl").code == 0
    assert (tmp_path / "t.tsv").read_text() == lines
    assert cli("table", campaign, "--out", tmp_path / "t.tsv").code == 0
    assert (tmp_path / "t.tsv").read_text() == cli("table", campaign).out


def test_a_campaign_without_trials_has_no_rows(cli: Cli, empty_campaign: Path) -> None:
    assert cli("table", empty_campaign, "--jsonl").out == ""
    assert cli("table", empty_campaign).out == ""
    assert archsearch.open_campaign(empty_campaign).frame().empty


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--csv", "--jsonl"], "--csv, --jsonl and --parquet exclude each other"),
        (["--parquet"], "give --out FILE"),
        (["--out", "/nowhere/t.csv"], "/nowhere/t.csv: there is no folder '/nowhere'; make it"),
        (["--out", "/"], "/: is a folder; give the name of a file"),
        (["--parquet", "--out", "t.csv"], "suffix is that of csv, and parquet is asked for"),
        (["--csv", "--out", "t.json"], "suffix is that of jsonl, and csv is asked for"),
        (["--jsonl", "--out", "t.PARQUET"], "suffix is that of parquet, and jsonl is asked for"),
    ],
)
def test_mistakes_are_a_line(cli: Cli, campaign: Path, options: list[str], message: str) -> None:
    ran = cli("table", campaign, *options)
    assert ran.code == 2
    assert message in ran.err
    assert "Traceback" not in ran.err

"""``archsearch bench``: tables and JSON of the real benches, at sizes that take seconds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from archsearch.bench import _subjects, scaling
from archsearch.tasks.mqar import Cell

from .conftest import Ran

Cli = Callable[..., Ran]

SPACE = """
name: small
task: {name: mqar, vocab_size: 64, fillers: zero, cells: [{length: 16, pairs: 2}]}
space:
  d_model: {choice: [8, 16]}
  depth: 2
  layers: {each: {sequence: {choice: [short_conv, attention]}}}
training: {steps: 4, batch_tokens: 64, eval_every: 2, validation_queries: 8, test_queries: 8}
objectives: [accuracy, flops]
"""


@pytest.mark.slow
def test_training(cli: Cli) -> None:
    options = ("--cell", "16,2", "--tokens", 64, "--d-model", 8, "--repeats", 1, "--no-naive")
    ran = cli("bench", "training", *options, "--precision", "float32", "--json")
    assert ran.code == 0
    found = json.loads(ran.out)
    assert found["settings"]["precision"] == "float32"
    (cell,) = found["cells"]
    (ours,) = cell["trainers"]
    assert (cell["cell"], cell["precision"], ours["batch"]) == ("(16,2)", "float32", 4)
    assert ours["tokens_per_second"] == pytest.approx(64e3 / ours["step_milliseconds"], rel=0.01)
    assert sum(ours["phase_milliseconds"].values()) == pytest.approx(
        ours["step_milliseconds"], rel=0.5
    )
    assert cell["design"] == (
        "d8: short_conv > attention; channel mixer none, layernorm, position none"
    )
    assert list(found["settings"]["designs"]) == [cell["design"]]
    assert ours["turn_milliseconds"] == [ours["step_milliseconds"]]
    table = cli("bench", "training", *options).out
    assert "(16,2)" in table
    assert "matrix products on this machine" in table


@pytest.mark.slow
def test_training_of_several_designs_and_batches(cli: Cli) -> None:
    designs = ("--design", "attention", "--design", "tnl", "--cell", "16,2,1")
    options = ("--tokens", 64, "--tokens", 128, "--d-model", 8, "--repeats", 1, "--no-naive")
    ran = cli("bench", "training", *designs, *options, "--json")
    cells = json.loads(ran.out)["cells"]
    assert [(c["design"].split()[3], c["cell"], c["batch_tokens"]) for c in cells] == [
        (mixer, "(16,2,a=1)", tokens) for mixer in ("attention;", "tnl;") for tokens in (64, 128)
    ]  # fmt: skip


def test_data(cli: Cli) -> None:
    ran = cli("bench", "data", "--cell", "16,2", "--tokens", 64, "--repeats", 1, "--json")
    assert ran.code == 0
    found = json.loads(ran.out)
    assert found["settings"]["batch_tokens"] == 64
    assert found["cells"][0]["batch"] == 4
    assert "sequences/s" in cli("bench", "data", "--cell", "16,2", "--repeats", 1).out


def test_verdict(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = (Cell(length=16, pairs=2), Cell(length=32, pairs=4))
    small = {"steps": 4, "batch_tokens": 64, "eval_every": 2, "validation_queries": 16}
    monkeypatch.setattr(_subjects, "PROTOCOL", _subjects.PROTOCOL.model_copy(update=small))
    monkeypatch.setattr(_subjects, "FOUR", cells[:1])
    monkeypatch.setattr(_subjects, "FIVE", cells)
    ran = cli("bench", "verdict", "attention, d = 32", "--seeds", 1, "--json")
    assert ran.code == 0
    found = json.loads(ran.out)
    assert found["settings"]["training"]["steps"] == 4
    assert [v["cells"] for v in found["verdicts"]] == ["1 cells to 16", "2 cells to 32"]
    assert [v["solved"] for v in found["verdicts"]] == [0, 0]
    assert ran.err.splitlines()[0] == "attention, d = 32, 1 cells to 16: 0 of 1 seeds solved it"
    assert "0 of 1" in cli("bench", "verdict", "attention, d = 32", "--seeds", 1).out


@pytest.mark.slow
def test_scaling(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "SETTINGS", (scaling.Setting("serial", 1),))
    ran = cli("bench", "scaling", "--steps", 2, "--repeats", 1, "--json")
    assert ran.code == 0
    (row,) = json.loads(ran.out)["executors"]
    assert (row["executor"], row["workers"], row["speedup"]) == ("serial", 1, 1.0)
    assert 0 < row["overhead"] < 1
    assert row["requests_per_second"] > 1
    assert "ms a trial" in cli("bench", "scaling", "--steps", 2, "--repeats", 1).out


def test_a_study_of_protocols(cli: Cli, tmp_path: Path) -> None:
    space, rows, picture = tmp_path / "small.yaml", tmp_path / "rows.jsonl", tmp_path / "study.png"
    space.write_text(SPACE)
    command = ("bench", "protocol", space, rows, "--variant", "steps=8")
    drawn = ("--draw", 2, "--design", "attention", "--design", "attention")
    ran = cli(*command, *drawn, "--json")
    assert ran.code == 0
    found = json.loads(ran.out)
    assert found["reference"] == "steps=8"
    assert [(p["protocol"], p["designs"], p["runs"]) for p in found["protocols"]] == [
        ("as in the file", 3, 3), ("steps=8", 3, 3),
    ]  # fmt: skip
    assert len(ran.err.splitlines()) == 6
    shown = cli(*command, "--workers", 0, "--plot", picture)
    assert (shown.code, shown.err) == (0, "")
    assert [line.split("  ")[0] for line in shown.out.splitlines()[:3]] == [
        "protocol", "as in the file", "steps=8",
    ]  # fmt: skip
    assert shown.out.endswith(f"picture: {picture}\n")
    assert picture.read_bytes().startswith(b"\x89PNG")
    # the same name for other settings
    space.write_text(SPACE.replace("steps: 4", "steps: 6"))
    changed = cli(*command, *drawn)
    assert changed.code == 2
    assert "holds runs with other settings for 'as in the file'; give another file" in changed.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("training", "--cell", "64"), "--cell: got '64'; must be tokens and pairs"),
        (("training", "--cell", "8192,8"), "vocab_size must exceed the longest cell"),
        (("data", "--cell", "64,40"), "4 * pairs must not exceed length"),
        (("training", "--batch", "4", "--tokens", "64"), "give one of them"),
        (("training", "--precision", "half"), "must be one of auto, float32, bfloat16"),
        (("training", "--design", "atention"), "did you mean 'attention'?"),
        (("verdict", "Based"), "there is no design 'Based' in this bench"),
        (("protocol", "none.yaml", "rows.jsonl"), "none.yaml"),
    ],
)
def test_mistakes_are_one_line(cli: Cli, arguments: tuple[str, ...], message: str) -> None:
    ran = cli("bench", *arguments)
    assert ran.code == 2
    assert message in ran.err
    assert len(ran.err.splitlines()) == 1
    assert not ran.out

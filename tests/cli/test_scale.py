"""``scale``: a small design at a target size, shown and written; mistakes in a line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from archsearch.exporters import read
from tests.conftest import ROOT

from .conftest import Ran

Cli = Callable[..., Ran]


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    source = ROOT / "results" / "conv_attention_hybrid-001" / "exports" / "trial-71.yaml"
    path = tmp_path / "small.yaml"
    path.write_text(source.read_text())
    return path


def test_the_command_shows_and_writes(cli: Cli, exported: Path, tmp_path: Path) -> None:
    out = tmp_path / "large.yaml"
    ran = cli("scale", exported, "--params", "350e6", "--vocab-size", "50304", "--out", out)
    assert (ran.code, ran.err) == (0, "")
    assert "21 x (short_conv > learned_selection(cap=128, num_heads=32))" in ran.out
    assert "131,072" in ran.out
    assert "too large to be rebuilt" in ran.out
    file = read(out)
    assert file.price is not None
    assert file.task.vocab_size == 50_304
    assert (file.accuracy, file.weights, file.test) == (None, None, ())
    shown = json.loads(cli("scale", exported, "--params", "350e6", "--json").out)
    assert shown["after"]["params"] == file.price.params
    assert [row["length"] for row in shown["lengths"]] == [2**k for k in range(11, 18)]
    python = tmp_path / "wide.py"
    command = "--depth", "2", "--width", "128", "--format", "pytorch", "--out", python
    assert cli("scale", exported, *command).code == 0
    assert "num_heads=2" in python.read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give one target: --params, --flops, or --depth with --width"),
        (["--params", "1e6", "--flops", "1e9"], "give one target"),
        (["--depth", "4"], "--depth and --width belong together"),
        (["--params", "1e6", "--method", "strech"], "must be stack or stretch; did you mean"),
        (["--params", "1e6", "--vocab-size", "1001"], "--vocab-size: vocab_size must be even"),
        (["--params", "1e6", "--format", "onnx"], "unknown export format 'onnx'"),
        (["--params", "1e25"], "no depth up to 512"),
        (
            ["--params", "1e6", "--format", "fla", "--out", "/dev/null/d"],
            "norm: 'layernorm': norms",
        ),
    ],
)
def test_mistakes_are_a_line(
    cli: Cli,
    exported: Path,
    options: list[str],
    message: str,
) -> None:
    ran = cli("scale", exported, *options)
    assert ran.code == 2
    assert message in ran.err
    assert "Traceback" not in ran.err

"""``scale``: a small design at a target size, shown and written; mistakes in a line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from archsearch.canonical import canonicalise
from archsearch.exporters import exporters, load, read, write
from tests.conftest import PUBLISHED
from tests.exporters.foreign import block, part
from tests.exporters.test_pytorch import described as described_as

from .conftest import Ran

Cli = Callable[..., Ran]


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    source = PUBLISHED / "exports" / "trial-13.yaml"
    path = tmp_path / "small.yaml"
    path.write_text(source.read_text())
    return path


def test_the_command_shows_and_writes(cli: Cli, exported: Path, tmp_path: Path) -> None:
    out = tmp_path / "large.yaml"
    ran = cli("scale", exported, "--params", "350e6", "--vocab-size", "50304", "--out", out)
    assert (ran.code, ran.err) == (0, "")
    assert "20 x (base_conv > learned_selection(cap=256, num_heads=58))" in ran.out
    assert "131,072" in ran.out
    # as a pipe has them: no titles
    assert re.findall(r"N, \w+", ran.out) == ["N, before", "N, after"]
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
    assert "num_heads=4" in python.read_text()


def test_the_suffix_chooses_the_format(cli: Cli, exported: Path, tmp_path: Path) -> None:
    out = tmp_path / "large.json"
    assert cli("scale", exported, "--depth", "2", "--width", "64", "--out", out).code == 0
    assert json.loads(out.read_text())["architecture"]["d_model"] == 64


def test_what_is_too_large_for_an_architecture_is_said_to_be(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "study.db").write_bytes(b"SQLite" * 200_000)
    ran = cli("scale", tmp_path / "study.db", "--params", "1e6")
    assert ran.code == 2
    assert "larger than 1000000 bytes, which no architecture file needs" in ran.err
    ran = cli("scale", tmp_path, "--params", "1e6")
    assert "is a folder; give the architecture file in it" in ran.err


def test_a_longer_network_is_built_priced_and_verified(
    cli: Cli, exported: Path, tmp_path: Path
) -> None:
    text = exported.read_text()
    small = read(exported)
    design = canonicalise(small.architecture.model_copy(update={"position": "learned"}))
    described = small.model_copy(update={"architecture": design, "digest": design.digest})
    exported.unlink()
    write(described, exporters.get("yaml"), exported, verify=False)
    assert exported.read_text() != text
    shape = "--depth", "2", "--width", "64"
    usual = json.loads(cli("scale", exported, *shape, "--json").out)
    assert "verified" not in usual
    out = tmp_path / "long.json"
    longer = *shape, "--max-length", "4096", "--format", "json", "--out", out
    shown = json.loads(cli("scale", exported, *longer, "--json").out)
    assert shown["verified"]
    assert (usual["after"]["max_length"], shown["after"]["max_length"]) == (2048, 4096)
    # a table of positions is as long as the longest sequence
    assert shown["after"]["params"] - usual["after"]["params"] == 2048 * 64
    assert shown["after"]["flops"] == usual["after"]["flops"]
    file = read(out)
    assert (file.max_length, file.built_length, file.task.longest_length) == (4096, 4096, 2048)
    assert file.price is not None
    assert file.price.params == shown["after"]["params"]
    assert load(out).max_length == 4096
    shown = json.loads(cli("scale", exported, *longer, "--json", "--no-verify").out)
    assert not shown["verified"]
    # a longer network scales to one as long
    again = json.loads(cli("scale", out, *shape, "--json").out)
    assert again["after"]["max_length"] == 4096
    told = {**json.loads(out.read_text()), "max_length": 64}
    out.write_text(json.dumps(told))
    ran = cli("scale", out, *shape)
    assert (ran.code, "max_length must be at least the task's longest, 2048" in ran.err) == (
        2,
        True,
    )


def test_the_longest_sequence_is_in_every_format() -> None:
    mlp = part("mlp", expansion=2.0)
    swiglu = part("swiglu", expansion=2.0)
    learned = described_as(block(part("based"), mlp), position="learned")
    rotary = described_as(block(part("attention"), swiglu), position="rotary", norm="rmsnorm")
    for name, file, where in (
        ("pytorch", learned, "max_length=100,"),
        ("zoology", learned, '"max_position_embeddings": 100'),
        ("huggingface", learned, '"max_position_embeddings": 100'),
        ("fla", rotary, '"max_position_embeddings": 100'),
        ("yaml", learned, "max_length: 100"),
    ):
        rendered = exporters.get(name).render(file.model_copy(update={"max_length": 100}))
        text = rendered if isinstance(rendered, str) else rendered["config.json"]
        assert where in text, name


def test_what_is_compared_is_said(
    cli: Cli, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = "--depth", "2", "--width", "64", "--out"
    ran = cli("scale", exported, *shape, tmp_path / "a.yaml", "--no-verify")
    assert ran.out.endswith("a.yaml (not compared)\n")
    right = exporters.get("yaml")
    monkeypatch.setattr(exporters, "get", lambda _: right._replace(verify=lambda *_: "by halves"))
    ran = cli("scale", exported, *shape, tmp_path / "b.yaml")
    assert (ran.out.endswith("b.yaml (by halves)\n"), ran.err) == (True, "")
    hinting = right._replace(needs="2.0 is needed", unweighted="draw them")
    monkeypatch.setattr(exporters, "get", lambda _: hinting)
    for more in ([], ["--json"]):
        ran = cli("scale", exported, *shape, tmp_path / "c.yaml", *more)
        assert ran.err == "2.0 is needed\ndraw them\n"
    json.loads(ran.out)
    assert cli("scale", exported, *shape[:-1]).err == ""


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
        (["--params", "1e308"], "no depth up to 512"),
        (["--params", "inf"], "--params: got inf; must be a finite number, such as 350e6"),
        (["--params", "1e400"], "--params: got inf; must be a finite number"),
        (["--flops", "inf"], "--flops: got inf; must be a finite number"),
        (["--flops", "1e9", "--format", "json", "--out", "x.yaml"], "that of yaml, and json is"),
        (["--depth", "3", "--width", "64"], "give a multiple of 2 such as 2 or 4, or --method str"),
        (["--depth", "1", "--width", "64"], "the design has 2 blocks"),
        (
            ["--params", "1e6", "--max-length", "512"],
            "--max-length: got 512; must be at least 2048",
        ),
        (["--params", "1e6", "--format", "fla", "--out", "no/d"], "norm: 'layernorm': norms"),
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

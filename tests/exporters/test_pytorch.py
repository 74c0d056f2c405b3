"""The Python file stands alone, and is the design."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from archsearch import __version__
from archsearch.architecture import Architecture, Block, Component
from archsearch.canonical import canonicalise
from archsearch.costs import price
from archsearch.errors import InputError
from archsearch.exporters import _bundle, _code, _source, exporters, write
from archsearch.exporters._verify import MismatchError, check_equal, imported, own_model
from archsearch.exporters.base import ArchitectureFile, Source, Weights
from archsearch.mixers import specs
from archsearch.protocol import TrainingConfig
from archsearch.records import RunSeed
from archsearch.tasks.mqar import Cell, MQARConfig
from archsearch.training import save_weights

TASK = MQARConfig(vocab_size=64, cells=(Cell(length=40, pairs=2),))
MIXERS = [name for name in specs.names() if not specs.get(name).skipped]
EXPORTER = exporters.get("pytorch")


def described(*blocks: Block, **other: Any) -> ArchitectureFile:
    """A design of width 16, as it would be exported."""
    architecture = canonicalise(Architecture(d_model=16, blocks=blocks, **other))
    return ArchitectureFile(
        digest=architecture.digest,
        architecture=architecture,
        task=TASK,
        training=TrainingConfig(),
        seed=RunSeed(campaign=0, trial=0),
    )


def with_mixer(name: str) -> ArchitectureFile:
    """A design with that mixer in front of a short convolution."""
    spec, conv = specs.get(name), Component(name="short_conv")
    first = Block(sequence=conv, channel=Component(name=name))
    if spec.kind == "sequence":
        first = Block(sequence=Component(name=name))
    position = "rotary" if spec.uses_rotary else "none"
    return described(first, Block(sequence=conv), position=position)


MIXED = described(
    Block(
        sequence=Component(name="attention", options={"num_heads": 2}),
        parallel=Component(name="based"),
        channel=Component(name="swiglu"),
        local_conv=3,
    ),
    Block(sequence=Component(name="sliding_window", options={"window": "sqrt"})),
    Block(sequence=Component(name="mamba2"), channel=Component(name="rwkv_channel_mix")),
    norm="rmsnorm",
    position="learned",
)


def written(file: ArchitectureFile, folder: Path) -> Path:
    path = folder / "design.py"
    path.write_text(EXPORTER.render(file))
    return path


def imported_packages(text: str) -> set[str]:
    """What a Python file imports, by ``import`` or ``from``, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            found.add("." * node.level + (node.module or "").split(".")[0])
    return found


@pytest.mark.parametrize("name", MIXERS)
def test_every_mixer_is_the_same_function(name: str, tmp_path: Path) -> None:
    file = with_mixer(name)
    path = written(file, tmp_path)
    EXPORTER.verify(path, file)
    text = path.read_text()
    assert specs.get(name).citation.text.split()[0] in text
    assert imported_packages(text) - sys.stdlib_module_names == {"torch"}


@pytest.mark.parametrize("name", MIXERS)
def test_every_mixer_is_the_same_function_in_half_precision(name: str, tmp_path: Path) -> None:
    file = with_mixer(name)
    made, ours = imported(written(file, tmp_path)).build(seed=0), own_model(file)
    tokens = torch.arange(80).view(2, 40) % 64
    with torch.no_grad():
        found, expected = made.bfloat16()(tokens), ours.bfloat16()(tokens)
    assert found.dtype == torch.bfloat16
    assert found.isfinite().all()
    torch.testing.assert_close(found, expected)


def test_a_whole_design_learns_and_decodes_as_ours(tmp_path: Path) -> None:
    module = imported(written(MIXED, tmp_path))
    made, ours = module.build(seed=0).double(), own_model(MIXED).double()
    for (name, one), (other, two) in zip(
        made.named_parameters(), ours.named_parameters(), strict=True
    ):
        assert name == other
        assert torch.equal(one, two)  # drawn alike
    tokens = torch.randint(64, (2, 40), generator=torch.Generator().manual_seed(1))
    for model in (made, ours):
        nn.functional.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten()).backward()
    for one, two in zip(made.parameters(), ours.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, rtol=1e-10, atol=1e-12)
    with torch.no_grad():
        state, expected = made.initial_state(2, 40), ours(tokens)
        for i in range(40):
            logits, state = made.step(tokens[:, i], state)
            torch.testing.assert_close(logits, expected[:, i], rtol=1e-9, atol=1e-9)
        with pytest.raises(ValueError, match="length 41 exceeds"):
            made.step(tokens[:, 0], state)
    with pytest.raises(ValueError, match="length 41 exceeds"):
        made(torch.zeros(1, 41, dtype=torch.int64))


def test_it_runs_where_archsearch_is_not(tmp_path: Path) -> None:
    path = written(MIXED, tmp_path)
    weights = path.with_suffix(".safetensors")
    ours = own_model(MIXED)
    save_weights(ours, weights)
    script = (
        "import sys, torch\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "sys.modules['archsearch'] = sys.modules['pydantic'] = sys.modules['numpy'] = None\n"
        "import design\n"
        "model = design.build(seed=5)\n"
        f"design.load_weights(model, {str(weights)!r})\n"
        "print(model(torch.arange(40)[None]).double().sum().item())\n"
    )
    ran = subprocess.run(
        [sys.executable, "-I", "-W", "ignore", "-c", script],
        capture_output=True,
        text=True,
        check=True,
    )
    with torch.no_grad():
        expected = ours(torch.arange(40)[None]).double().sum().item()
    assert float(ran.stdout) == pytest.approx(expected, abs=1e-4)


def test_all_mixers_fit_into_one_file(tmp_path: Path) -> None:
    """Names that two files use are told apart, and everything that is used is there."""
    places = [
        place(name) for name in MIXERS for place in (_source.module_class, _source.spec_class)
    ]
    made = _bundle.bundle(
        [*_code.source_of(MIXED.architecture).names.keys() - _code.SUBSTITUTES.keys(), *places],
        _code.METHODS,
        docstrings={},
        substitutes=_code.SUBSTITUTES,
    )
    renamed = [place for place, name in made.names.items() if name != place.name]
    assert len(renamed) > len(_code.SUBSTITUTES)
    assert made.packages == {"torch"}
    path = tmp_path / "all.py"
    path.write_text(f"from __future__ import annotations\n\n{made.imports}\n{made.body}")
    rules = "--isolated", "--line-length", "100"
    for command in (["check", "--select", "E,F,I,W"], ["format", "--check"]):
        ran = subprocess.run(
            [Path(sys.executable).parent / "ruff", *command, *rules, path],
            capture_output=True, text=True,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stdout
    imported(path)


def test_another_function_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = described(
        Block(sequence=Component(name="sliding_window", options={"window": 9})),
        Block(sequence=Component(name="short_conv")),
    )
    path = written(file, tmp_path)
    text = path.read_text()
    path.write_text(text.replace("window=9", "window=8"))
    with pytest.raises(MismatchError, match="logits differ by"):
        EXPORTER.verify(path, file)
    path.write_text(text.replace("kernel_size=3", "kernel_size=4"))
    with pytest.raises(MismatchError, match=r"first difference: blocks\.1\.sequence"):
        EXPORTER.verify(path, file)
    model = own_model(file)
    once = model.forward
    monkeypatch.setattr(model, "forward", lambda tokens: (once(tokens), once(tokens))[0])
    with pytest.raises(MismatchError, match="FLOPs, the design has"):
        check_equal("twice", file, model)


def test_weights_of_another_design_are_refused(tmp_path: Path) -> None:
    module = imported(written(MIXED, tmp_path))
    model, path = module.build(), tmp_path / "w.safetensors"
    before = {name: value.clone() for name, value in model.state_dict().items()}
    save_weights(own_model(with_mixer("mamba")), path)
    with pytest.raises(ValueError, match="weights of another design"):
        module.load_weights(model, path)
    save_weights(own_model(MIXED), path)
    whole = path.read_bytes()
    for damaged, message in (
        (whole[:-40], "damaged, or cut short"),
        (whole[:5], "not a safetensors file"),
        (whole.replace(b'"shape":[64,16]', b'"shape":[16,64]', 1), "is .16, 64., not .64, 16."),
    ):
        assert damaged != whole
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=message):
            module.load_weights(model, path)
    assert all(torch.equal(before[n], v) for n, v in model.state_dict().items())


def test_what_a_file_says_of_its_source_is_no_code() -> None:
    plain = MIXED.plain()
    for text in ('x""" + print(1) + """', "back\\N slash", "line\nbreak"):
        source = {"campaign": text, "trial": "1", "archsearch": "0.1.0"}
        with pytest.raises(ValidationError, match=r"source\.campaign"):
            ArchitectureFile.model_validate_json(json.dumps({**plain, "source": source}))
    file = MIXED.model_copy(update={"price": price(MIXED.architecture, 40)})
    assert file.price is not None
    for text in ('"""\nraise SystemExit("run")\n"""', "\\N", 'x"'):
        odd = file.model_copy(update={"price": file.price.model_copy(update={"growth_text": text})})
        assert text in (ast.get_docstring(ast.parse(EXPORTER.render(odd)), clean=False) or "")
    usual = {"campaign": "a-1.b_c", "trial": "short conv + attention @d64", "archsearch": "0.1.0"}
    ArchitectureFile.model_validate_json(json.dumps({**plain, "source": usual}))


def test_two_exports_lie_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytecode of what was imported to be verified would be in the way."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    for name in ("one", "two"):
        write(MIXED, EXPORTER, tmp_path / f"{name}.py")
    found = {path.name for path in tmp_path.iterdir()}
    assert found == {"one.py", "one.py.sha256", "two.py", "two.py.sha256"}
    with pytest.raises(InputError, match="give the name of a file"):
        write(MIXED, EXPORTER, Path())


def test_the_weights_that_are_named_are_those_beside_the_file(tmp_path: Path) -> None:
    save_weights(own_model(MIXED), tmp_path / "ours")
    path = tmp_path / "a.py"
    write(MIXED, EXPORTER, path, (tmp_path / "ours").read_bytes(), verify=False)
    assert 'load_weights(model, "a.safetensors")' in path.read_text()
    write(MIXED, EXPORTER, path, verify=False)
    assert "load_weights(model, path)" in path.read_text()
    assert not re.search(r"\w\.safetensors", path.read_text())


def test_the_version_that_found_a_design_is_told_from_the_one_that_wrote_it() -> None:
    source = Source(campaign="c-1", trial="3", archsearch="0.0.9")
    text = EXPORTER.render(MIXED.model_copy(update={"source": source}))
    told = " ".join((ast.get_docstring(ast.parse(text)) or "").split())
    wrote = f"Written by archsearch {__version__};"
    assert f"{wrote} found by 0.0.9 in c-1, trial 3; digest {MIXED.digest}." in told
    assert f"{wrote} digest {MIXED.digest}." in EXPORTER.render(MIXED)


def test_other_weights_and_steps_are_found(tmp_path: Path) -> None:
    path, weights = tmp_path / "design.py", tmp_path / "w.safetensors"
    save_weights(own_model(MIXED), weights)
    write(MIXED, EXPORTER, path, weights.read_bytes())
    named = Weights(file=path.with_suffix(".safetensors").name, sha256="0" * 64)
    file = MIXED.model_copy(update={"weights": named})
    EXPORTER.verify(path, file)
    text = path.read_text()
    path.write_text(text.replace("part.view(entry.shape)", "part.view(entry.shape).neg()"))
    with pytest.raises(MismatchError, match="are not the design's"):
        EXPORTER.verify(path, file)
    path.write_text(text)
    other = own_model(MIXED)
    torch.nn.init.ones_(other.embedding.weight)
    save_weights(other, weights)
    with pytest.raises(MismatchError, match=r"weights embedding\.weight are not the design's"):
        EXPORTER.verify(path, file, weights.read_bytes())
    path.write_text(
        text.replace("state.num_read + 1, tuple(after)", "state.num_read, tuple(after)")
    )
    with pytest.raises(MismatchError, match="token by token"):
        EXPORTER.verify(path, file)

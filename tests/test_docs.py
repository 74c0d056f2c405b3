"""The documents say what the code does: the worked mixer fulfils the contract, tables agree."""

from __future__ import annotations

import importlib
import inspect
import itertools
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import archsearch.errors
import archsearch.mixers
from archsearch.campaign.preview import preview
from archsearch.errors import ArchsearchError, InputError
from archsearch.mixers import modules, specs
from archsearch.space import loads
from tests.conftest import ROOT
from tests.mixers import contract, test_contract

NAME = "ema"
DESIGN = (ROOT / "docs" / "design.md").read_text()
EXTENDING = (ROOT / "docs" / "extending.md").read_text()
FILES = dict(re.findall(r"^`([^`\n]+)`:\n\n```\w+\n(.*?)^```$", EXTENDING, re.M | re.S))

FOR_SEQUENCE_MIXERS = (
    test_contract.CAUSAL,
    test_contract.ANY_LENGTH,
    test_contract.RUNNING,
    test_contract.QUIET,
    test_contract.LINEAR,
    test_contract.CASES,
)


def _each_mixer(function: Callable[..., None]) -> bool:
    marks = getattr(function, "pytestmark", [])
    return any(mark.args[1] is cases for mark in marks for cases in FOR_SEQUENCE_MIXERS)


CONTRACT = [
    function
    for name, function in inspect.getmembers(test_contract, inspect.isfunction)
    if name.startswith("test_") and _each_mixer(function)
]


def _arguments(function: Any) -> Iterator[dict[str, Any]]:
    """What a test of the contract takes beside the mixer, in every combination."""
    others = [m.args for m in function.pytestmark if m.args[0] != ("name", "options")]
    for values in itertools.product(*(values for _, values in others)):
        yield dict(zip((name for name, _ in others), values, strict=True))


@pytest.fixture(scope="module")
def mixer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the documented mixer, registered as long as this module's tests run."""
    home = tmp_path_factory.mktemp("mixers")
    folder = home / NAME
    folder.mkdir()
    (folder / "__init__.py").touch()
    for path, text in FILES.items():
        if path.startswith(f"archsearch/mixers/{NAME}/"):
            (folder / Path(path).name).write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archsearch.mixers, "__path__", [*archsearch.mixers.__path__, str(home)])
        for registry in (specs, modules):
            patch.setattr(registry, "_names", None)
        importlib.invalidate_caches()
        yield folder
    for name in [n for n in sys.modules if n.startswith(f"archsearch.mixers.{NAME}")]:
        del sys.modules[name]
    if hasattr(archsearch.mixers, NAME):
        delattr(archsearch.mixers, NAME)


def test_the_worked_mixer_is_complete(mixer: Path) -> None:
    assert {path.name for path in mixer.iterdir()} >= {"__init__.py", "spec.py", "module.py"}
    assert NAME in specs
    assert specs.get(NAME).kind == "sequence"


@pytest.mark.parametrize("check", CONTRACT, ids=lambda f: f.__name__.removeprefix("test_"))
def test_the_worked_mixer_fulfils_the_contract(mixer: Path, check: Callable[..., None]) -> None:
    option_sets = contract.option_sets(NAME)
    assert len(option_sets) > 2
    for options in option_sets:
        for others in _arguments(check):
            check(name=NAME, options=options, **others)


def test_most_of_the_contract_is_run() -> None:
    assert len(CONTRACT) >= 15
    assert test_contract.test_is_causal in CONTRACT
    assert test_contract.test_channel_mixer_reads_its_own_position_only not in CONTRACT


def test_the_worked_spec_does_not_import_torch(mixer: Path) -> None:
    code = (
        "import sys, archsearch.mixers as m; m.__path__.append(sys.argv[1]);"
        f" m.specs.get('{NAME}'); sys.exit('torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(mixer.parent)], check=False, cwd=ROOT)
    assert ran.returncode == 0


def test_the_worked_space_can_be_searched(mixer: Path) -> None:
    text = FILES[f"{NAME}.yaml"]
    file = loads(text)
    found = preview(file, num_samples=100)
    assert found.num_feasible == 100
    assert any(NAME in str(example.design) for example in found.examples)
    with pytest.raises(InputError, match="did you mean 'span'"):
        loads(text.replace("span:", "sapn:"))
    with pytest.raises(InputError, match="must be at least 2"):
        loads(text.replace("[4, 256]", "[1, 256]"))


def _rows(text: str, section: str) -> list[list[str]]:
    """Cells of the first table of a section, without its head."""
    body = re.split(r"^## .*$", text.split(section, 1)[1], maxsplit=1, flags=re.M)[0]
    table = re.search(r"(?:^\|.*\n)+", body, re.M)
    assert table is not None
    lines = table.group().splitlines()[2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_the_floors_are_those_of_the_import_contract() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = project["tool"]["importlinter"]["contracts"]
    layers = next(c["layers"] for c in contracts if c["type"] == "layers")
    expected = [{name.strip().removeprefix("archsearch.") for name in x.split("|")} for x in layers]
    rows = _rows(DESIGN, "## 1. Floors")
    assert [set(re.findall(r"`([^`]+)`", modules)) for _, modules, _ in rows] == expected
    assert [int(number) for number, _, _ in rows] == list(reversed(range(len(layers))))


def test_the_exit_codes_are_those_of_the_errors() -> None:
    written = {
        name: int(code)
        for code, _, names in _rows(DESIGN, "## 9. Exit codes")
        for name in re.findall(r"`(\w+)`", names)
    }
    errors = [
        error
        for _, error in inspect.getmembers(archsearch.errors, inspect.isclass)
        if issubclass(error, ArchsearchError) and error is not ArchsearchError
    ]
    assert written == {error.__name__: error.exit_code for error in errors}


@pytest.mark.parametrize("text", [DESIGN, EXTENDING], ids=["design", "extending"])
def test_files_that_are_named_exist(text: str) -> None:
    named = re.findall(r"`((?:tests|mixers|samplers|execution|space|cli|campaign)/[\w/.]+)`", text)
    assert named or text is DESIGN
    for name in named:
        path = ROOT / name if name.startswith("tests/") else ROOT / "archsearch" / name
        # 'cli/_session.launch_options' names a function of a file
        assert path.exists() or path.with_suffix(".py").exists(), name


@pytest.mark.parametrize("text", [DESIGN, EXTENDING], ids=["design", "extending"])
def test_lines_are_short(text: str) -> None:
    assert max(map(len, text.splitlines())) <= 110

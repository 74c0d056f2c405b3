"""The shipped campaign files: they load, match the schema, and no misspelt key passes."""

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import yaml

from archsearch import space
from archsearch.bench._subjects import PROTOCOL
from archsearch.canonical import canonicalise
from archsearch.errors import InputError
from archsearch.space import RandomSuggest
from archsearch.space.nodes import Node, compose
from tests.space.bad_files import CASES, GOOD, text_of
from tests.space.helpers import Recording

FILES = sorted((Path(__file__).parents[2] / "search_spaces").glob("*.yaml"))
SCHEMA = space.json_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def plain(text: str) -> Any:
    root, problems = compose(text)
    assert root is not None
    assert not problems
    return root.plain()


def test_files_are_found() -> None:
    assert {path.stem for path in FILES} >= {
        "quickstart",
        "conv_attention_hybrid",
        "zoology_figure2",
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_trains_as_studied(path: Path) -> None:
    # a small vocabulary and a published protocol are cases of their own
    if path.stem not in {"quickstart", "zoology_figure2"}:
        assert space.load(path).training == PROTOCOL


def test_the_schema_is_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
class TestFile:
    def test_loads_and_keeps_its_text(self, path: Path) -> None:
        file = space.load(path)
        assert file.name == path.stem
        assert file.text == path.read_text(encoding="utf-8")
        assert space.loads(file.dump()) == file
        assert path.read_text(encoding="utf-8").startswith("# ")
        assert "?" in path.read_text(encoding="utf-8").split("\n#\n")[0]

    def test_matches_the_schema(self, path: Path) -> None:
        VALIDATOR.validate(plain(path.read_text(encoding="utf-8")))
        VALIDATOR.validate(plain(space.load(path).dump()))

    def test_every_design_can_be_built(self, path: Path) -> None:
        file = space.load(path)
        names: dict[str, Any] = {}
        for seed in range(100):
            suggest = Recording(RandomSuggest(np.random.default_rng(seed)), names)
            design = file.space.sample(suggest)
            assert file.space.contains(canonicalise(design))

    def test_no_misspelt_key_passes(self, path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        root, _ = compose(text)
        assert root is not None
        lines = text.split("\n")
        rng = random.Random(0)
        for key, place in keys_of(root):
            for wrong in misspelt(key, rng):
                line = lines[place.line - 1]
                start = place.column - 1
                assert line[start:].startswith(key)
                changed = line[:start] + wrong + line[start + len(key) :]
                bad = "\n".join([*lines[: place.line - 1], changed, *lines[place.line :]])
                with pytest.raises(InputError) as caught:
                    space.loads(bad, "f.yaml")
                assert caught.value.exit_code == 2
                numbers = [int(line.split(":")[1]) for line in caught.value.problems]
                assert place.line in numbers, (wrong, caught.value.problems)


def keys_of(node: Node) -> list[tuple[str, Any]]:
    """All keys below a node with their places."""
    children: list[Node] = []
    if isinstance(node.value, tuple):
        children = list(node.value)
    elif isinstance(node.value, dict):
        children = list(node.value.values())
    return [*node.keys.items(), *(found for child in children for found in keys_of(child))]


def misspelt(key: str, rng: random.Random) -> list[str]:
    """A key with one letter missing, doubled, changed, and two exchanged."""
    i = rng.randrange(len(key))
    other = "q" if key[i] != "q" else "z"
    candidates = {
        key[:i] + key[i + 1 :],
        key[:i] + key[i] + key[i:],
        key[:i] + other + key[i + 1 :],
    }
    if len(key) > 1:
        j = rng.randrange(len(key) - 1)
        candidates.add(key[:j] + key[j + 1] + key[j] + key[j + 2 :])
    return sorted(candidates - {key, ""})


STRUCTURAL = [
    "unknown_top_key",
    "unknown_space_key",
    "unknown_training_key",
    "unknown_cell_key",
    "missing_name",
    "missing_space",
    "missing_cells",
    "missing_rule",
    "name_with_slash",
    "bad_filler",
    "empty_choice",
    "choice_text",
    "choice_zero",
    "bare_list",
    "range_of_three",
    "range_step_zero",
    "unknown_position",
    "unknown_mixer",
    "channel_as_sequence",
    "unknown_option",
    "option_out_of_bounds",
    "option_wrong_policy",
    "mixer_missing",
    "no_layers_form",
    "two_layers_forms",
    "base_alone",
    "unknown_rule",
    "negative_rate",
    "one_objective",
    "unknown_objective",
    "constraint_metric",
    "unknown_sampler",
    "zero_trials",
]


@pytest.mark.parametrize("case", STRUCTURAL)
def test_the_schema_refuses_what_is_structurally_wrong(case: str) -> None:
    assert case in CASES
    VALIDATOR.validate(plain(GOOD))
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(plain(text_of(case)))


def test_reading_agrees_with_yaml_where_they_should() -> None:
    text = "a: [1, -2, 1.5, true, null, x, 'y', \"z\"]\nb: {c: 'no', d: text with spaces}\n"
    assert plain(text) == yaml.safe_load(text)
    assert plain("a: 1e-3") == {"a": 0.001}
    assert plain("no: yes") == {"no": "yes"}


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; from archsearch import space;"
        f" space.load({str(FILES[0])!r}); space.json_schema();"
        " sys.exit(any(m in sys.modules for m in ('torch', 'optuna', 'ray', 'rich')))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0

"""``mixers``: every registered one, with options and source."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from archsearch.cli.mixers import _facts, allowed
from archsearch.mixers import specs
from archsearch.presets import presets

from .conftest import Ran

Cli = Callable[..., Ran]

KEYS = {
    "name",
    "kind",
    "family",
    "summary",
    "words",
    "formula",
    "options",
    "uses_rotary",
    "reads_tokens",
    "oracle_bias",
    "d_model",
    "length",
    "growth",
    "form",
    "flops",
    "state",
    "citation",
    "arxiv",
    "where",
}


PRESET_KEYS = {
    "name",
    "kind",
    "summary",
    "design",
    "d_model",
    "depth",
    "length",
    "growth",
    "flops",
    "state",
    "citation",
    "arxiv",
    "where",
}


def test_the_table_has_every_mixer_and_preset(cli: Cli) -> None:
    first, second = cli("mixers").out.split("\n\n")
    lines = first.splitlines()
    assert lines[0].split() == ["mixer", "kind", "family", "growth", "state", "source"]
    assert sorted(line.split()[0] for line in lines[1:]) == list(specs)
    assert sorted(line.split()[0] for line in second.splitlines()[1:]) == list(presets)


def test_json(cli: Cli) -> None:
    found = json.loads(cli("mixers", "--json").out)
    for facts in found:
        assert set(facts) == (PRESET_KEYS if facts["kind"] == "preset" else KEYS)
    one = json.loads(cli("mixers", "sliding_window", "--json").out)
    assert one in found
    assert (one["growth"], one["state"]) == ("N", 8192)


@pytest.mark.parametrize("name", list(specs))
def test_each_mixer_is_shown_with_its_options(cli: Cli, name: str) -> None:
    ran = cli("mixers", name)
    assert ran.code == 0
    assert specs.get(name).formula in ran.out
    assert "``" not in ran.out
    for option in specs.get(name).model_fields:
        assert f"\n{option} " in ran.out
    for option in _facts(specs.get(name))["options"]:
        assert option["meaning"], f"{option['name']} is not explained"


@pytest.mark.parametrize("name", list(presets))
def test_each_preset_is_shown(cli: Cli, name: str) -> None:
    ran = cli("mixers", name)
    assert presets.get(name).summary in ran.out
    assert json.loads(cli("mixers", name, "--json").out)["name"] == name


def test_no_preset_has_the_name_of_a_mixer() -> None:
    assert not set(presets) & set(specs)


def test_an_oracle_is_called_one(cli: Cli) -> None:
    assert "oracle" in cli("mixers", "programmatic_selection").out
    assert "oracle" not in cli("mixers", "attention").out


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 256}, "whole number in [1, 256]"),
        ({"type": "number", "exclusiveMinimum": 0}, "number in (0, inf]"),
        ({"type": "boolean"}, "true or false"),
        ({"enum": ["a", 3]}, "a, 3"),
        ({"anyOf": [{"type": "integer"}, {"const": "long"}]}, "whole number or long"),
        ({"type": "string", "pattern": "^(sqrt|N/[1-9])$"}, "sqrt or N/k"),
        ({"type": "string", "pattern": "^(sqrt|cbrt|N/[1-9])$"}, "sqrt, cbrt or N/k"),
    ],
)
def test_allowed(schema: dict[str, object], expected: str) -> None:
    assert allowed(schema) == expected

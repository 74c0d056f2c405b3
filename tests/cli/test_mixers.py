"""``mixers``: every registered one, with options and source."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from archsearch.cli.mixers import allowed
from archsearch.mixers import specs

from .conftest import Ran

Cli = Callable[..., Ran]

KEYS = {
    "name",
    "kind",
    "family",
    "summary",
    "formula",
    "options",
    "uses_rotary",
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


def test_the_table_has_every_mixer(cli: Cli) -> None:
    lines = cli("mixers").out.splitlines()
    assert lines[0].split() == ["mixer", "kind", "family", "growth", "state", "source"]
    assert sorted(line.split()[0] for line in lines[1:]) == list(specs)


def test_json(cli: Cli) -> None:
    found = json.loads(cli("mixers", "--json").out)
    assert all(set(facts) == KEYS for facts in found)
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


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 256}, "whole number in [1, 256]"),
        ({"type": "number", "exclusiveMinimum": 0}, "number in (0, inf]"),
        ({"type": "boolean"}, "true or false"),
        ({"enum": ["a", 3]}, "a, 3"),
        ({"anyOf": [{"type": "integer"}, {"const": "long"}]}, "whole number or long"),
        ({"type": "string", "pattern": "^(sqrt|N/[1-9])$"}, "sqrt or N/k"),
    ],
)
def test_allowed(schema: dict[str, object], expected: str) -> None:
    assert allowed(schema) == expected

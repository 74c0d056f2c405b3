"""Presets: whole designs that can be built at every usual width, and published parameter counts."""

from __future__ import annotations

import json

import pytest

from archsearch.canonical import canonicalise, check
from archsearch.costs import num_params
from archsearch.errors import UnknownNameError
from archsearch.presets import presets
from archsearch.presets.base import num_heads
from archsearch.space import FirstSuggest, loads


@pytest.mark.parametrize("name", list(presets))
def test_builds_at_every_usual_width(name: str) -> None:
    preset = presets.get(name)
    assert preset.name == name
    assert preset.summary
    for d_model in (16, 32, 48, 64, 128, 192, 256):
        design = preset.design(d_model, 3)
        check(design)
        assert len(design.blocks) == 3
        assert design.norm == "rmsnorm"


def test_llama_has_the_published_parameters() -> None:
    d = 96
    # 4d^2 of attention and 3dm of SwiGLU a block, 2d norms, d at the end
    per_block = 4 * d**2 + 3 * d * (8 * d // 3) + 2 * d
    assert num_params(presets.get("llama").design(d, 2), 64) == 2 * per_block + d
    block = canonicalise(presets.get("llama").design(d, 2)).blocks[0]
    assert (block.sequence.name, block.channel.name) == ("attention", "swiglu")


def test_heads_are_64_wide_where_that_divides() -> None:
    assert [num_heads(d) for d in (16, 64, 96, 128, 160, 192, 256)] == [1, 1, 1, 2, 2, 3, 4]


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'llama'"):
        presets.get("lama")


def _space(**layers: object) -> str:
    return json.dumps(
        {
            "name": "x",
            "task": {"name": "mqar", "vocab_size": 64, "cells": [{"length": 16, "pairs": 2}]},
            "space": {"d_model": {"choice": [16, 32]}, **layers},
        }
    )


def test_a_space_of_presets() -> None:
    file = loads(_space(depth={"choice": [2, 3]}, layers={"preset": {"choice": list(presets)}}))
    assert file.space.size() == 2 * 2 * len(presets.names())
    design = file.space.sample(FirstSuggest())
    assert design == presets.get(presets.names()[0]).design(16, 2)
    assert file.space.contains(design)
    assert file.space.contains(canonicalise(design))
    assert not file.space.contains(design.model_copy(update={"norm": "layernorm"}))
    assert not file.space.contains(presets.get("llama").design(16, 4))
    assert loads(file.dump()) == file

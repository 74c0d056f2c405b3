from __future__ import annotations

import json

import pytest

from archsearch.campaign.preview import preview
from archsearch.campaign.references import reference_designs, reference_widths
from archsearch.canonical import canonicalise
from archsearch.errors import InputError
from archsearch.presets import presets
from archsearch.space import CampaignFile, loads


def _file(**search: object) -> CampaignFile:
    data = {
        "name": "x",
        "task": {"name": "mqar", "vocab_size": 64, "cells": [{"length": 16, "pairs": 2}]},
        "space": {"d_model": 32, "depth": 3, "layers": {"each": {"sequence": "short_conv"}}},
        "search": {"trials": 1, **search},
    }
    return loads(json.dumps(data))


def test_presets_stand_behind_the_others() -> None:
    usual = reference_designs(_file(), 32)
    more = reference_designs(_file(reference_presets=["transnormer", "llama"]), 32)
    # a reference's number is its place: those that there were keep theirs
    assert list(more) == [*usual, "transnormer preset", "llama preset"]
    assert more["llama preset"] == canonicalise(presets.get("llama").design(32, 3))
    assert {name: more[name] for name in usual} == usual


def test_what_is_not_asked_for_leaves_the_digest_alone() -> None:
    assert _file().digest == _file(reference_presets=[], oracles=False).digest
    assert _file().digest != _file(oracles=True).digest
    assert _file().digest != _file(reference_presets=["llama"]).digest


def test_a_preset_that_cannot_be_built_is_refused_with_its_place() -> None:
    text = _file(reference_presets=["llama", "hgrn2_lm"], reference_widths="all").dump()
    file = loads(text.replace("d_model: 32", "d_model: {choice: [32, 24]}"))
    with pytest.raises(InputError) as caught:
        preview(file, num_samples=5)
    where = "search.reference_presets: hgrn2_lm at d_model=24: "
    assert all(problem.startswith(where) for problem in caught.value.problems)
    assert reference_widths(file, "all") == [32, 24]
    # at the default width alone it can be
    assert preview(loads(file.dump().replace("widths: all", "widths: default")), num_samples=5)

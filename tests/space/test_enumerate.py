from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from archsearch.canonical import canonicalise
from archsearch.errors import InputError
from archsearch.space import RandomSuggest, load
from archsearch.space.enumerate import assignments
from tests.conftest import ROOT
from tests.space.helpers import Recording, campaign, enumerate_all

PLACED = {
    "d_model": {"choice": [8, 12]},
    "depth": {"range": [1, 3]},
    "layers": {
        "base": {"sequence": {"mixer": "short_conv", "kernel_size": {"range": [2, 6], "step": 2}}},
        "placement": {
            "sequence": {
                "choice": [
                    "attention",
                    {"mixer": "sliding_window", "window": {"choice": [3, "sqrt"]}},
                    {"mixer": "learned_selection", "penalty": {"range": [0.0, 1.0], "step": 0.25}},
                ]
            },
            "rule": {"choice": ["positions", {"every": {"choice": [1, 2]}}, {"count": 1}]},
        },
    },
}
FREE = {
    "d_model": {"range": [8, 16], "log": True},
    "depth": {"choice": [1, 2]},
    "norm": {"choice": ["layernorm", "rmsnorm"]},
    "layers": {
        "each": {
            "sequence": {"choice": ["attention", "based"]},
            "local_conv": {"choice": [0, 3]},
            "parallel": {"choice": ["none", {"mixer": "short_conv"}]},
        }
    },
}
ONE = {"d_model": 8, "depth": 1, "layers": {"each": {"sequence": "attention"}}}
PRESET = {"d_model": 16, "depth": {"choice": [1, 2]}, "layers": {"preset": "llama"}}


@pytest.mark.parametrize("data", [PLACED, FREE, ONE, PRESET], ids=["placed", "free", "one", "set"])
def test_every_assignment_comes_once(data: dict[str, Any]) -> None:
    space = campaign(data).space
    found = list(assignments(space))
    assert len(found) == space.size()
    assert len({repr(a.answers) for a in found}) == len(found)
    for answers, design in found:
        assert space.contains(design), answers
    # a walk written for the tests
    assert [(a.answers, a.design) for a in found] == list(enumerate_all(space))


def test_answers_are_those_of_the_design() -> None:
    space = campaign(PLACED).space
    for answers, design in itertools.islice(assignments(space), 50):
        assert answers["d_model"] == design.d_model
        assert answers["depth"] == len(design.blocks)


def test_the_last_question_changes_first() -> None:
    data = {"d_model": {"choice": [8, 16]}, "depth": {"range": [1, 3]}, "layers": ONE["layers"]}
    found = [(a.design.d_model, len(a.design.blocks)) for a in assignments(campaign(data).space)]
    assert found == [(8, 1), (8, 2), (8, 3), (16, 1), (16, 2), (16, 3)]


def test_what_random_draws_find_is_there() -> None:
    file = load(ROOT / "search_spaces" / "quickstart.yaml")
    found = {repr(a.answers) for a in assignments(file.space)}
    designs = {canonicalise(a.design).digest for a in assignments(file.space)}
    generator = np.random.default_rng(0)
    for _ in range(500):
        recording = Recording(RandomSuggest(generator), {})
        design = file.space.sample(recording)
        assert repr(recording.answers) in found
        assert canonicalise(design).digest in designs


def test_what_has_no_end_is_refused_by_the_call() -> None:
    selection = {"mixer": "learned_selection", "penalty": {"range": [0.0, 1.0]}}
    data = {**ONE, "layers": {"each": {"sequence": {"choice": ["attention", selection]}}}}
    space = campaign(data).space
    assert space.size() == math.inf
    with pytest.raises(InputError, match=r"continuous range.*give the range a step"):
        assignments(space)


def test_too_many_are_refused_by_the_call() -> None:
    space = campaign(FREE).space
    size = int(space.size())
    assert sum(1 for _ in assignments(space, limit=size)) == size
    with pytest.raises(InputError, match=f"has {size:,} assignments; at most {size - 1:,} can"):
        assignments(space, limit=size - 1)

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from archsearch.architecture import Component
from archsearch.mixers import modules
from archsearch.mixers.base import MixerContext
from archsearch.mixers.programmatic_selection.module import (
    ProgrammaticSelectionModule,
    last_occurrence,
)
from archsearch.mixers.programmatic_selection.spec import ProgrammaticSelection
from tests.mixers import contract

OPTIONS = [
    {"num_heads": 4, "num_kv_heads": 2, "cap": 9, "filler": -1},
    {"lookup": "pointer", "cap": "N/2"},
]


def _module(**options: object) -> ProgrammaticSelectionModule:
    spec = ProgrammaticSelection(**options)
    module = modules.get(spec.name)(spec, MixerContext(16, 64)).double()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(0))
    return module


def _served(module: ProgrammaticSelectionModule, tokens: list[int]) -> list[int]:
    y = module(contract.noise(1, len(tokens)), torch.tensor([tokens]))
    return [i for i, row in enumerate(y[0]) if row.abs().sum() > 0]


@settings(max_examples=100, deadline=None)
@given(tokens=st.lists(st.integers(0, 5), min_size=1, max_size=60))
def test_last_occurrences_are_found(tokens: list[int]) -> None:
    expected = [
        max((j for j in range(i) if tokens[j] == token), default=-1)
        for i, token in enumerate(tokens)
    ]
    assert last_occurrence(torch.tensor([tokens]))[0].tolist() == expected


@pytest.mark.parametrize("lookup", ["attention", "pointer"])
def test_fillers_are_not_served(lookup: str) -> None:
    # without the exception nearly every position of a recall sequence would be
    tokens = [3, 7, 4, 8, 0, 0, 4, 0, 0, 3, 0, 0]
    assert _served(_module(lookup=lookup), tokens) == [6, 9]
    assert _served(_module(lookup=lookup, filler=-1), tokens) == [5, 6, 7, 8, 9, 10, 11]
    assert _served(_module(lookup=lookup, filler=4), tokens) == [5, 7, 8, 9, 10, 11]


def test_the_cap_holds_whatever_is_found() -> None:
    module = _module(cap=5)
    assert _served(module, [1] * 40) == [1, 2, 3, 4, 5]
    assert ProgrammaticSelection(cap=5).cost(16, 40).flops_executed == (
        4 * (40 + 5) * 256 + 4 * 5 * 40 * 16
    )


def test_the_pointer_reads_behind_the_last_occurrence() -> None:
    module = _module(lookup="pointer")
    x = contract.noise(1, 8)
    tokens = torch.tensor([[5, 9, 5, 8, 0, 0, 5, 5]])
    y = module(x, tokens)
    for i, target in ((2, 1), (6, 3), (7, 7)):
        assert contract.distance(y[0, i], module.output(x[0, target])) < 1e-12


def test_what_is_read_is_no_future_token() -> None:
    module = _module()
    tokens = torch.tensor([[1, 2, 3, 1, 2, 2]])
    later = torch.tensor([[1, 2, 3, 1, 3, 1]])
    x = contract.noise(1, 6)
    assert torch.equal(module(x, tokens)[:, :4], module(x, later)[:, :4])


def test_prices() -> None:
    # as learned selection without its gate
    priced = [ProgrammaticSelection(cap="sqrt").cost(64, n).flops_useful for n in (64, 256, 1024)]
    gate = [2 * n * 64 for n in (64, 256, 1024)]
    golden = (1.319, 5.538, 25.821)
    assert [(p + g) / 1e6 for p, g in zip(priced, gate, strict=True)] == pytest.approx(
        golden, abs=5.1e-4
    )
    pointer = ProgrammaticSelection(lookup="pointer", cap=32).cost(64, 1024)
    assert pointer.flops_useful == 2 * 32 * 64**2
    assert pointer.state_floats == 1024 * 64


def test_growth_is_that_of_the_cap() -> None:
    # the queries of recall are a fixed share of the length
    assert ProgrammaticSelection(cap="N/16").flops_form(64).growth.power == 2
    assert ProgrammaticSelection(cap="sqrt").flops_form(64).growth.power == 1.5
    assert ProgrammaticSelection(cap=64).flops_form(64, n_max=256).growth.power == 1
    assert ProgrammaticSelection(cap="N/16", lookup="pointer").flops_form(64).growth.power == 1


def test_it_is_no_front_member_and_says_so() -> None:
    assert ProgrammaticSelection.oracle_bias
    assert ProgrammaticSelection.reads_tokens


def test_heads_of_pointers_are_no_difference() -> None:
    spec = ProgrammaticSelection(lookup="pointer", num_heads=4, num_kv_heads=2)
    assert spec.canonical() == ProgrammaticSelection(lookup="pointer").component()
    attention = ProgrammaticSelection(cap=64)
    assert attention.merged(64) == Component(
        name="programmatic_selection", options={**attention.component().options, "cap": "N/1"}
    )

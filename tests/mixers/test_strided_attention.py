from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archsearch.architecture import Component
from archsearch.mixers.base import causal_pairs, reach_at
from archsearch.mixers.strided_attention.spec import StridedAttention
from tests.mixers import contract

OPTIONS = [
    {"num_heads": 2, "stride": 4},
    {"num_heads": 4, "num_kv_heads": 2, "stride": 40},
    {"stride": 130},
]


@given(stride=st.one_of(st.integers(1, 90), st.just("sqrt")), length=st.integers(1, 300))
def test_pairs_and_state_are_counted_exactly(stride: int | str, length: int) -> None:
    s = reach_at(stride, length)
    read = [
        {j for j in range(i + 1) if i - j < s or j % s == s - 1}  # a set: no key counts twice
        for i in range(length)
    ]
    cost = StridedAttention(stride=stride).cost(8, length)
    assert cost.flops_useful == 8 * length * 64 + 4 * sum(map(len, read)) * 8
    kept = {j for j in range(length) if length - j <= s or j % s == s - 1}
    assert cost.state_floats == 2 * len(kept) * 8


def test_growth_follows_the_stride() -> None:
    assert StridedAttention().flops_form(64).growth.power == 1.5
    # N/s columns for every query
    form = StridedAttention(stride=32).flops_form(64)
    assert form.growth.power == 2
    assert form.terms[0].coefficient == 4 * 64 / (2 * 32)


def test_strides_of_everything_are_attention() -> None:
    attention = Component(name="attention", options={"num_heads": 2})
    assert StridedAttention(num_heads=2, stride=1).canonical() == attention
    assert StridedAttention(num_heads=2, stride="N/1").canonical() == attention
    assert StridedAttention(num_heads=2, stride=33).merged(33) == attention
    assert StridedAttention(num_heads=2, stride=33).merged(34).name == "strided_attention"


@pytest.mark.parametrize("length", [100, 150, 257])
def test_a_column_in_the_window_counts_once(length: int) -> None:
    # equal scores: every key read has the same weight, and twice that if it were counted twice
    module = contract.build("strided_attention", {"stride": 10})
    module.query_key_value.weight.data[:32].zero_()
    x = contract.noise(1, length)
    value = module.query_key_value(x)[0, :, 32:]
    last = length - 1
    read = [j for j in range(length) if last - j < 10 or j % 10 == 9]
    expected = module.output(value[read].mean(0))
    assert contract.distance(module(x)[0, last], expected) < 1e-12


def test_columns_cost_less_than_all_pairs() -> None:
    cost = StridedAttention(stride=16).cost(64, 2048)
    pairs = (cost.flops_executed - 8 * 2048 * 64**2) / (4 * 64)
    assert pairs <= 2048**2 / 8
    assert causal_pairs(2048) > pairs

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from archsearch.architecture import Component
from archsearch.mixers._window import executed_pairs, window_blocks
from archsearch.mixers.base import causal_pairs
from archsearch.mixers.sliding_window.spec import SlidingWindow

OPTIONS = [
    {"num_heads": 4, "num_kv_heads": 2, "window": 9},
    {"num_heads": 2, "window": 5},
    {"num_heads": 4, "window": 16},
    {"window": 99},
    {"window": 130},
    {"window": 200},
]


@given(window=st.integers(1, 3000), length=st.integers(1, 3000))
def test_blocks_hold_every_window(window: int, length: int) -> None:
    blocks = window_blocks(window, length)
    useful = causal_pairs(length, window)
    assert useful <= executed_pairs(window, length) <= length**2
    if blocks is not None:
        assert blocks.num_blocks * blocks.size >= length
        # the first query of a block reaches back over whole blocks only
        assert blocks.num_previous * blocks.size >= window - 1


def test_executed_stays_near_useful_for_every_window() -> None:
    for window in range(1, 2049):
        cost = SlidingWindow(window=window).cost(64, 2048)
        assert cost.flops_executed <= 2 * cost.flops_useful


def test_a_window_over_everything_is_attention() -> None:
    spec = SlidingWindow(num_heads=2, window=64)
    attention = Component(name="attention", options={"num_heads": 2})
    assert spec.merged(64) == attention
    assert spec.merged(65) == spec.component()
    assert SlidingWindow(num_heads=2, window="N/1").canonical() == attention


def test_a_constant_is_priced_as_the_fraction_it_was_tested_as() -> None:
    assert SlidingWindow(window=512).flops_form(64, n_max=2048).growth.power == 1
    assert SlidingWindow(window=513).flops_form(64, n_max=2048).growth.power == 2
    assert SlidingWindow(window="sqrt").flops_form(64).growth.power == 1.5

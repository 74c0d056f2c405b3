from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from archsearch.architecture import Component
from archsearch.mixers.base import reach_at
from archsearch.mixers.dilated_window.spec import DilatedWindow

OPTIONS = [
    {"num_heads": 4, "num_kv_heads": 1, "window": 9, "dilation": 3},
    {"num_heads": 2, "window": 5, "dilation": 3},
    {"window": 3, "dilation": 7},
    {"window": "N/2", "dilation": 4},
    {"num_heads": 2, "window": 16, "dilation": 1},
]


@settings(max_examples=200, deadline=None)
@given(
    window=st.one_of(st.integers(1, 300), st.sampled_from(["sqrt", "N/2", "N/7"])),
    dilation=st.integers(1, 300),
    length=st.integers(1, 400),
)
def test_pairs_are_counted_exactly(window: int | str, dilation: int, length: int) -> None:
    w = reach_at(window, length)
    pairs = sum(min(w, i // dilation + 1) for i in range(length))
    cost = DilatedWindow(window=window, dilation=dilation).cost(8, length)
    assert cost.flops_useful == 8 * length * 64 + 4 * pairs * 8


@settings(max_examples=300, deadline=None)
@example(window="N/20", dilation=11, n_max=21)
@given(
    window=st.one_of(st.integers(1, 80), st.sampled_from(["sqrt", "N/1", "N/3", "N/20"])),
    dilation=st.integers(1, 80),
    n_max=st.integers(1, 60),
)
def test_merged_reads_the_same_keys(window: int | str, dilation: int, n_max: int) -> None:
    spec = DilatedWindow(window=window, dilation=dilation)
    plain = spec.merged(n_max)
    for length in range(1, n_max + 1):
        assert _keys(plain, length) == _keys(spec.component(), length)
        assert _keys(spec.canonical(), length) == _keys(spec.component(), length)


def _keys(component: Component, length: int) -> list[list[int]]:
    window = component.options.get("window", "N/1")
    dilation = component.options.get("dilation", 1)
    assert isinstance(window, int | str)
    assert isinstance(dilation, int)
    reach = reach_at(window, length) * dilation
    return [list(range(i, max(-1, i - reach), -dilation)) for i in range(length)]


def test_dilation_one_is_a_sliding_window() -> None:
    spec = DilatedWindow(num_heads=2, window=9, dilation=1)
    plain = Component(name="sliding_window", options={"num_heads": 2, "window": 9})
    assert spec.canonical() == plain
    assert spec.merged(9) == Component(name="attention", options={"num_heads": 2})


def test_the_span_decides_whether_a_constant_was_tested() -> None:
    # 64 keys, 8 apart, lie within 505 positions
    spec = DilatedWindow(window=64, dilation=8)
    assert spec.flops_form(64, n_max=2048).growth.power == 1
    assert spec.flops_form(64, n_max=2016).growth.power == 2

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from archsearch.mixers.base_conv.spec import BaseConv, fft_length

OPTIONS = [{"kernel_size": 4}]


@given(st.integers(1, 10**6))
def test_transform_is_long_enough_not_to_wrap(length: int) -> None:
    n = fft_length(length)
    assert 2 * length <= n < 4 * length
    assert n & (n - 1) == 0


def test_long_filter_grows_with_a_logarithm() -> None:
    assert str(BaseConv(kernel_size="long").flops_form(64).growth) == "N log N"
    assert str(BaseConv(kernel_size=3).flops_form(64).growth) == "N"

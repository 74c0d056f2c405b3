from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from archsearch.mixers._convolution import channelwise_convolution, fft_convolution, tap_by_tap
from archsearch.mixers._convolution_cost import fft_length
from archsearch.mixers.base_conv.spec import BaseConv
from archsearch.mixers.short_conv.spec import ShortConv
from tests.mixers import contract

OPTIONS = [{"kernel_size": 4}]


@given(st.integers(1, 10**6))
def test_transform_is_long_enough_not_to_wrap(length: int) -> None:
    n = fft_length(length)
    assert 2 * length <= n < 4 * length
    assert n & (n - 1) == 0


def test_long_filter_grows_with_a_logarithm() -> None:
    assert str(BaseConv(kernel_size="long").flops_form(64).growth) == "N log N"
    assert str(BaseConv(kernel_size=3).flops_form(64).growth) == "N"


@pytest.mark.parametrize("spec", [ShortConv(kernel_size=128), BaseConv(kernel_size=128)])
def test_a_filter_over_much_of_what_was_tested_is_a_fraction_of_it(
    spec: ShortConv | BaseConv,
) -> None:
    assert str(spec.flops_form(64).growth) == "N"
    assert str(spec.flops_form(64, n_max=512).growth) == "N"
    within = spec.flops_form(64, n_max=256)
    assert str(within.growth) == "N^2"
    assert within.at(256) == pytest.approx(spec.cost(64, 256).flops_useful)


def test_weights_keep_their_names() -> None:
    module = contract.build("base_conv", {"kernel_size": "long"})
    assert set(module.state_dict()) == {
        "projection.weight",
        "projection.bias",
        "convolution.filter.hidden.weight",
        "convolution.filter.hidden.bias",
        "convolution.filter.taps.weight",
        "convolution.filter.taps.bias",
    }


def test_derivatives_of_the_transform_agree_with_finite_differences() -> None:
    u, taps = contract.noise(2, 3, width=5), contract.noise(1, 3, width=4)[0]
    assert torch.autograd.gradcheck(fft_convolution, (u.requires_grad_(), taps.requires_grad_()))


def test_short_and_long_taps_and_half_precision() -> None:
    u = contract.noise(2, 12)
    for num_taps in (1, 5, 12, 20):
        taps = contract.noise(1, num_taps, seed=2)[0]
        expected = tap_by_tap(u, taps)
        torch.testing.assert_close(channelwise_convolution(u, taps), expected)
        halved = channelwise_convolution(u.bfloat16(), taps.bfloat16())
        assert halved.dtype == torch.bfloat16
        assert contract.distance(halved.double(), expected) < 0.05

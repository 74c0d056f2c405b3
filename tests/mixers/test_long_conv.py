from __future__ import annotations

import pytest
import torch

from archsearch.mixers import modules
from archsearch.mixers.base import MixerContext
from archsearch.mixers.long_conv.spec import LongConv
from tests.mixers import contract

OPTIONS = [{"filter": "implicit"}]


def test_price() -> None:
    # BaseConv's long form without its projection
    for length, expected in ((64, 0.836), (256, 3.670), (1024, 15.991)):
        useful = LongConv().cost(64, length).flops_useful + 2 * length * 64**2
        assert useful / 1e6 == pytest.approx(expected, abs=5.1e-4)
    cost = LongConv().cost(64, 256)
    assert (cost.params, cost.state_floats) == (257 * 64, 256 * 64)
    assert LongConv(filter="implicit").cost(64, 256).params == 64 + 17 * 64 + 64


def test_grows_with_a_logarithm() -> None:
    assert str(LongConv().flops_form(64).growth) == "N log N"


@pytest.mark.parametrize("length", [33, 100])
def test_does_not_wrap_around(length: int) -> None:
    module = contract.build("long_conv", {})
    x = torch.zeros(1, length, contract.WIDTH, dtype=torch.float64)
    x[:, -1] = 1.0
    with torch.no_grad():
        y = module(x)
        expected = module.skip + module.filter(length)[0]
    assert y[:, :-1].abs().max() < 1e-12
    torch.testing.assert_close(y[0, -1], expected)


@pytest.mark.parametrize("filter", ["explicit", "implicit"])
def test_outputs_do_not_grow_with_the_length(filter: str) -> None:
    largest = []
    for length in (256, 4096):
        module = modules.get("long_conv")(LongConv(filter=filter), MixerContext(64, length))
        module.initialise(torch.Generator().manual_seed(0))
        with torch.no_grad():
            module.skip.zero_()
            largest.append(float(module(torch.ones(1, length, 64)).abs().max()))
    assert largest[1] < 2 * largest[0]

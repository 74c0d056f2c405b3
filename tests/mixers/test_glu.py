from __future__ import annotations

import torch

from archsearch.mixers.glu.spec import GLU
from tests.mixers import contract

OPTIONS = [{"expansion": 1.5}]


def test_price() -> None:
    cost = GLU().cost(64, 256)
    assert cost.flops_useful == 6 * 256 * 64 * 170
    assert cost.params == 3 * 64 * 170 + 2 * 170 + 64


def test_the_second_half_gates() -> None:
    module = contract.build("glu", {})
    value, gate = (2 * x for x in contract.noise(1, 3, width=2 * 42)[0].chunk(2, dim=-1))
    with torch.no_grad():
        module.value_gate.weight.zero_()
        for row_value, row_gate in zip(value, gate, strict=True):
            module.value_gate.bias.copy_(torch.cat((row_value, row_gate)))
            opened = row_gate * 0.5 * (1 + torch.erf(row_gate / 2**0.5))
            expected = module.output(row_value * opened)
            torch.testing.assert_close(module(contract.noise(1, 1))[0, 0], expected)

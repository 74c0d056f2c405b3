from __future__ import annotations

import torch

from archsearch.mixers.sglu.spec import SGLU
from tests.mixers import contract

OPTIONS = [{"expansion": 1.5}]


def test_price() -> None:
    cost = SGLU().cost(64, 256)
    assert cost.flops_useful == 6 * 256 * 64 * 170
    assert cost.params == 3 * 64 * 170


def test_is_a_quadratic_form_without_activation() -> None:
    module = contract.build("sglu", {})
    x = contract.noise(1, 5)
    torch.testing.assert_close(module(-3 * x), 9 * module(x))

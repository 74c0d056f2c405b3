from __future__ import annotations

import pytest
import torch

from archsearch.mixers.retnet.module import RetNetModule
from archsearch.mixers.retnet.spec import RetNet
from tests.mixers import contract

OPTIONS = [{"num_heads": 4, "expand_value": 1}]


def test_golden_prices() -> None:
    spec = RetNet(num_heads=2)
    priced = [spec.cost(64, n).flops_useful / 1e6 for n in (64, 256, 1024)]
    assert priced == pytest.approx([6.816, 27.263, 109.052], abs=5.1e-4)
    assert spec.cost(64, 64).params == 8 * 64**2
    assert spec.cost(64, 1024).state_floats == 2 * 64**2 // 2


def test_decays_are_the_published_ones() -> None:
    module = contract.build("retnet", {"num_heads": 4})
    assert isinstance(module, RetNetModule)
    expected = [1 - 1 / 32, 1 - 1 / 64, 1 - 1 / 128, 1 - 1 / 256]
    assert module.log_decay.exp().tolist() == pytest.approx(expected)


def test_scores_depend_on_the_distance_only() -> None:
    module = contract.build("retnet", {})
    assert isinstance(module, RetNetModule)
    x = contract.noise(1, 1).expand(1, 9, contract.WIDTH)
    q, k, _, _ = module.streams(x, torch.arange(9))
    score = (q @ k.transpose(-1, -2)).detach()
    torch.testing.assert_close(score[..., 1:, 1:], score[..., :-1, :-1])
    assert float((score[..., 5, 0] - score[..., 5, 5]).abs().max()) > 1e-3


def test_heads_of_odd_width_are_refused() -> None:
    assert RetNet(num_heads=16).problems(48)
    assert not RetNet(num_heads=8).problems(48)

from __future__ import annotations

import math

import torch

from archsearch.mixers.cosformer.module import CosFormerModule
from archsearch.mixers.cosformer.spec import CosFormer
from tests.mixers import contract

OPTIONS = [{"num_heads": 2}]


def test_prices() -> None:
    # 8Nd^2 + H (2NC 3E + 8NE^2) with E = d/H = 64
    assert CosFormer().cost(64, 64).flops_useful == 8 * 64**3 + 6 * 64**3 + 8 * 64**3
    assert CosFormer().cost(64, 64).params == 4 * 64**2
    assert CosFormer().cost(64, 1024).state_floats == 2 * 64 * 65


def test_weights_are_cosines_of_the_distance() -> None:
    module = contract.build("cosformer", {})
    assert isinstance(module, CosFormerModule)
    x = contract.noise(1, 1).expand(1, 50, contract.WIDTH)
    q, k, _, _ = module.streams(x, torch.arange(50))
    score_LL = (q @ k.transpose(-1, -2))[0, 0]
    expected = [score_LL[0, 0] * math.cos(math.pi / 2 * i / contract.MAX_LENGTH) for i in range(50)]
    torch.testing.assert_close(score_LL[:, 0], torch.stack(expected))


def test_the_length_of_the_sequence_does_not_matter() -> None:
    module = contract.build("cosformer", {})
    x = contract.noise(1, 200)
    torch.testing.assert_close(module(x)[:, :50], module(x[:, :50]))


def test_a_query_without_weights_reads_nothing() -> None:
    module = contract.build("cosformer", {}).float()
    assert isinstance(module, CosFormerModule)
    with torch.no_grad():
        module.query_key_value.weight[: contract.WIDTH] = 0
    x = contract.noise(1, 9).float().requires_grad_()
    y = module(x)
    assert torch.equal(y, torch.zeros_like(y))
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from archsearch.mixers._linear_delta import delta_attention, recurrent_delta
from archsearch.mixers.delta_net.module import DeltaNetModule
from archsearch.mixers.delta_net.spec import DeltaNet
from tests.mixers import contract

OPTIONS = [{"num_heads": 1, "negative_eigenvalues": True}]


def test_golden_prices() -> None:
    spec = DeltaNet(num_heads=2)
    priced = [spec.cost(64, n).flops_useful / 1e6 for n in (64, 256, 1024)]
    assert priced == pytest.approx([5.095, 20.382, 81.527], abs=5.1e-4)
    assert spec.cost(64, 64).params == 4 * 64**2 + 12 * 64 + 2 * 64
    assert spec.cost(64, 1024).state_floats == 64 * 32 + 3 * 192


def test_writing_twice_under_one_key_replaces_the_value() -> None:
    k = torch.zeros(1, 1, 3, 4, dtype=torch.float64)
    k[..., 0] = 1
    v = torch.tensor([1.0, 5.0, 7.0], dtype=torch.float64).view(1, 1, 3, 1)
    y = delta_attention(k, k, v, torch.ones(1, 1, 3, dtype=torch.float64))
    assert y.flatten().tolist() == [1, 5, 7]


def _inputs(length: int, dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(length)
    q, k = torch.randn(2, 2, 3, length, 8, generator=generator, dtype=dtype)
    k = k / k.norm(dim=-1, keepdim=True)
    v = torch.randn(2, 3, length, 5, generator=generator, dtype=dtype)
    beta = 2 * torch.rand(2, 3, length, generator=generator, dtype=dtype)
    log = -(4 * torch.randn(2, 3, length, generator=generator, dtype=dtype)).exp()
    return [x.requires_grad_() for x in (q, k, v, beta, log)]


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 300])
def test_chunks_equal_the_recurrence(gated: bool, length: int) -> None:
    inputs = _inputs(length, torch.float64)[: 5 if gated else 4]
    results = []
    for form in (delta_attention, recurrent_delta):
        y = form(*inputs)
        results.append([y.detach(), *torch.autograd.grad(y.square().sum(), inputs)])
    for a, b in zip(*results, strict=True):
        assert contract.distance(a, b) < 1e-9


def test_strong_decay_stays_finite_and_right_in_float32() -> None:
    inputs = _inputs(130, torch.float32)
    y = delta_attention(*inputs)
    y.sum().backward()
    assert all(x.grad is not None and x.grad.isfinite().all() for x in inputs)
    exact = recurrent_delta(*(x.detach().double() for x in inputs))
    assert contract.distance(y, exact) < 1e-3


def test_the_state_does_not_explode_for_large_inputs() -> None:
    module = contract.build("delta_net", {"negative_eigenvalues": True}).float()
    assert isinstance(module, DeltaNetModule)
    state = module.initial_state(1, 600)
    x = (30 * contract.noise(1, 600)).float()
    sizes = []
    with torch.no_grad():
        for x_BD in x.unbind(1):
            _, state = module.step(x_BD, state)
            sizes.append(float(state["sums"].abs().max()))
    # without keys of length 1 it grows by orders of magnitude with each hundred tokens
    assert all(b < 5 * a for a, b in pairwise(sizes[100::100]))

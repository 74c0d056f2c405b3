from __future__ import annotations

import pytest
import torch

from archsearch.mixers.base import MixerContext
from archsearch.mixers.hgrn2.module import HGRN2Module
from archsearch.mixers.hgrn2.spec import HGRN2
from tests.mixers import contract

OPTIONS = [{"expand_ratio": 8}]


def _module(layer: int, num_layers: int) -> HGRN2Module:
    context = MixerContext(16, 64, layer_index=layer, num_layers=num_layers)
    module = HGRN2Module(HGRN2(), context)
    module.initialise(torch.Generator().manual_seed(0))
    return module


def test_golden_prices() -> None:
    spec = HGRN2(expand_ratio=32)
    priced = [spec.cost(64, n).flops_useful / 1e6 for n in (64, 256, 1024)]
    assert priced == pytest.approx([3.670, 14.680, 58.720], abs=5.1e-4)
    assert spec.cost(64, 64).params == 4 * 64**2 + 64
    assert spec.cost(64, 1024).state_floats == 64 * 32


@pytest.mark.parametrize(("layer", "bound"), [(0, 0.0), (1, 0.25), (2, 0.5), (3, 0.75)])
def test_gates_between_the_lower_bound_and_one(layer: int, bound: float) -> None:
    forget = torch.tensor([-1e4, -60.0, 0.0, 60.0, 1e4]).view(1, 5, 1).expand(1, 5, 16)
    log_decay, key = _module(layer, 4)._gates(forget)
    expected = [bound, bound, (1 + bound) / 2, 1.0, 1.0]
    assert log_decay.exp()[0, :, 0].tolist() == pytest.approx(expected, abs=1e-6)
    assert key[0, :, 0].tolist() == pytest.approx([1 - f for f in expected], abs=1e-6)


@pytest.mark.parametrize(("layer", "num_layers"), [(0, 1), (0, 4), (1, 2), (3, 4)])
def test_gradients_are_finite_at_every_layer(layer: int, num_layers: int) -> None:
    module = _module(layer, num_layers)
    x = (30 * contract.noise(1, 40)).float().requires_grad_()
    module(x).square().sum().backward()
    assert x.grad is not None
    assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())
    assert x.grad.isfinite().all()
    # the bound of layer 0 is 0 whatever its parameter
    assert (module.bound_power.grad is None) == (layer == 0)


def test_a_gate_near_one_keeps_what_it_takes_in() -> None:
    log_decay, key = _module(0, 1)._gates(torch.full((1, 1, 16), 20.0))
    # 1 - sigmoid(20) would round to 0 in float32
    assert float(key[0, 0, 0]) == pytest.approx(2.06e-9, rel=0.01)
    assert float(log_decay[0, 0, 0]) == pytest.approx(-2.06e-9, rel=0.01)

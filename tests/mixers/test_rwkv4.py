from __future__ import annotations

import math

import pytest
import torch

from archsearch.mixers import modules
from archsearch.mixers.base import MixerContext
from archsearch.mixers.rwkv4._recurrence import recurrence
from archsearch.mixers.rwkv4.spec import RWKV4
from tests.mixers import contract


def _initialised(width: int, layer: int, layers: int) -> torch.nn.Module:
    context = MixerContext(width, 64, layer_index=layer, num_layers=layers)
    module = modules.get("rwkv4")(RWKV4(), context)
    module.initialise(torch.Generator())
    return module


def test_price() -> None:
    priced = [RWKV4().cost(64, n).flops_useful / 1e6 for n in (64, 256, 1024)]
    assert priced == pytest.approx((2.154, 8.618, 34.472), abs=5.1e-4)
    cost = RWKV4().cost(64, 1024)
    assert (cost.params, cost.state_floats) == (4 * 64**2 + 5 * 64, 4 * 64)
    assert str(RWKV4().flops_form(64).growth) == "N"


@pytest.mark.parametrize("length", [1, 2, 10, 33])
def test_derivatives_of_the_recurrence_agree_with_finite_differences(length: int) -> None:
    a = contract.noise(2, length, width=3)[:, :, None].requires_grad_()
    x = contract.noise(2, length, seed=1, width=6).unflatten(2, (2, 3)).requires_grad_()
    assert torch.autograd.gradcheck(recurrence, (a, x))


@pytest.mark.parametrize("where", ["first", "last", "everywhere"])
def test_large_keys_do_not_overflow(where: str) -> None:
    module = contract.build("rwkv4", {}).float()
    k = contract.noise(1, 200).float()
    v = contract.noise(1, 200, seed=1).float().requires_grad_()
    if where == "everywhere":
        k = 1e4 * k
    else:
        k[:, 0 if where == "first" else -1] = 500.0
    k.requires_grad_()
    average = module._average(k, v)
    average.sum().backward()
    # an average lies between the smallest and the largest value so far
    assert (average <= torch.cummax(v, 1).values + 1e-4).all()
    assert (average >= torch.cummin(v, 1).values - 1e-4).all()
    assert k.grad.isfinite().all()
    assert v.grad.isfinite().all()
    assert module.log_decay.grad.isfinite().all()


def test_first_token_is_its_own_average() -> None:
    module = contract.build("rwkv4", {})
    k, v = contract.noise(1, 5), contract.noise(1, 5, seed=1)
    torch.testing.assert_close(module._average(k, v)[:, 0], v[:, 0])


def test_starts_as_published() -> None:
    module = _initialised(8, 1, 2)
    h = torch.arange(8)
    torch.testing.assert_close(module.log_decay.detach(), -5 + 8 * (h / 7) ** 2)
    torch.testing.assert_close(module.key_mix.detach(), (h / 8) ** 0.5)
    torch.testing.assert_close(module.value_mix.detach(), (h / 8) ** 0.5 + 0.3)
    torch.testing.assert_close(module.receptance_mix.detach(), (h / 8) ** 0.25)
    zigzag = torch.tensor([0.0, 0.5, -0.5] * 3)[:8]
    torch.testing.assert_close(module.bonus.detach(), math.log(0.3) + zigzag)


def test_depth_is_defined_in_a_model_of_one_block_and_of_width_one() -> None:
    for width in (1, 8):
        parameters = _initialised(width, 0, 1).parameters()
        assert all(p.isfinite().all() for p in parameters)
    assert _initialised(8, 0, 1).log_decay[-1] == 3

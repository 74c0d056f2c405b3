from __future__ import annotations

import math

import pytest
import torch

from archsearch.mixers import modules
from archsearch.mixers.base import MixerContext
from archsearch.mixers.h3.spec import H3
from tests.mixers import contract

OPTIONS = [{"head_dim": 2, "d_state": 16}]


def test_price() -> None:
    priced = [H3(head_dim=2).cost(64, n).flops_useful / 1e6 for n in (64, 256, 1024)]
    assert priced == pytest.approx((3.032, 13.108, 56.362), abs=5.1e-4)
    assert str(H3().flops_form(64).growth) == "N log N"


@pytest.mark.parametrize("length", [10, 10_000])
def test_state_is_bounded(length: int) -> None:
    assert H3(head_dim=2, d_state=16).cost(64, length).state_floats == 15 * 64 + 16 * 2 * 64


def test_odd_states_and_heads_that_do_not_divide_are_refused() -> None:
    assert H3(d_state=7).problems(64) == ["d_state=7 must be even"]
    assert H3(head_dim=3).problems(64) == ["head_dim=3 must divide d_model=64"]
    assert H3(head_dim=8).problems(64) == []


def test_kernel_is_that_of_the_discretised_system() -> None:
    ssm = contract.build("h3", {"d_state": 8}).ssm
    with torch.no_grad():
        rate = torch.complex(-ssm.log_decay.exp(), ssm.frequency)[3]
        half = rate * ssm.log_step[3].exp() / 2
        weight = torch.view_as_complex(ssm.readout)[3] * ssm.log_step[3].exp() / (1 - half)
        expected = [2 * (weight * ((1 + half) / (1 - half)) ** n).sum().real for n in range(1000)]
        torch.testing.assert_close(ssm.kernel(1000)[3], torch.stack(expected))


def test_starts_as_s4d_lin() -> None:
    module = modules.get("h3")(H3(), MixerContext(256, 100))
    module.initialise(torch.Generator().manual_seed(0))
    step = module.ssm.log_step.detach().exp()
    assert 1e-3 <= step.min() < 2e-3
    assert 5e-2 < step.max() <= 1e-1
    a = module.ssm.discrete()[0].detach()
    assert (a.abs() < 1).all()
    n = torch.arange(32)
    rate = torch.complex(torch.full((32,), -0.5), math.pi * n)
    half = rate * step[0] / 2
    torch.testing.assert_close(a[0], (1 + half) / (1 - half))

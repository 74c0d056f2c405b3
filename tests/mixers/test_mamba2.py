from __future__ import annotations

import pytest
import torch

from archsearch.mixers.base import MixerContext
from archsearch.mixers.mamba2.module import Mamba2Module
from archsearch.mixers.mamba2.spec import Mamba2

OPTIONS = [{"state_size": 8, "head_dim": 8}]


def test_golden_prices() -> None:
    spec = Mamba2(state_size=16, head_dim=64)
    priced = [spec.cost(64, n).flops_useful / 1e6 for n in (64, 256, 1024)]
    assert priced == pytest.approx([5.210, 20.840, 83.362], abs=5.1e-4)
    # maps, 4 taps and a bias for x, B and C, and A, D and the bias of dt of both heads
    assert spec.cost(64, 64).params == 64 * (256 + 32 + 2 + 128) + 5 * 160 + 6
    assert spec.cost(64, 1024).state_floats == 128 * 16 + 3 * 160


def test_widths_that_the_heads_do_not_divide_are_refused() -> None:
    assert Mamba2(head_dim=64).problems(16)
    assert not any(Mamba2().problems(width) for width in (16, 32, 48, 64))


def test_initial_rates_and_steps() -> None:
    module = Mamba2Module(Mamba2(head_dim=4), MixerContext(512, 64))
    module.initialise(torch.Generator().manual_seed(0))
    steps = torch.nn.functional.softplus(module.step_bias.detach())
    assert 0.9e-3 < float(steps.min()) < 1.5e-3
    assert 0.07 < float(steps.max()) < 0.101
    assert 0.5e-2 < float(steps.median()) < 2e-2  # equal ratios are equally likely
    rates = module.log_rate.detach().exp()
    assert 1 <= float(rates.min()) < 2
    assert 15 < float(rates.max()) <= 16


def test_leaves_anomaly_detection_alone() -> None:
    module = Mamba2Module(Mamba2(), MixerContext(16, 64))
    module(torch.zeros(1, 3, 16))
    assert not torch.is_anomaly_enabled()

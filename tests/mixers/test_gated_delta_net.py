from __future__ import annotations

import math

import torch

from archsearch.mixers._linear_delta import delta_attention
from archsearch.mixers.base import MixerContext
from archsearch.mixers.gated_delta_net.module import GatedDeltaNetModule
from archsearch.mixers.gated_delta_net.spec import GatedDeltaNet

OPTIONS = [{"num_heads": 1, "expand_value": 1, "negative_eigenvalues": True}]


def test_prices() -> None:
    spec = GatedDeltaNet(num_heads=2)
    maps = 2 * (8 * 64**2 + 2 * 64 * 2) + 8 * 4 * 64
    core = 2 * (6 * 32 * 64 + 64 * (5 * 32 + 3 * 64))
    assert spec.cost(64, 256).flops_useful == 256 * (maps + core)
    assert spec.cost(64, 64).params == 8 * 64**2 + 2 * 64 * 2 + 4 * 4 * 64 + 4
    assert spec.cost(64, 1024).state_floats == 2 * 32 * 64 + 3 * 256


def test_decays_first_and_then_corrects_what_is_left() -> None:
    k = torch.ones(1, 1, 2, 1, dtype=torch.float64)
    v = torch.tensor([8.0, 3.0], dtype=torch.float64).view(1, 1, 2, 1)
    half = torch.full((1, 1, 2), 0.5, dtype=torch.float64)
    y = delta_attention(k, k, v, half, half.log())
    # 8 / 2 is written; of its half, 2, one half goes, and half of 3 comes. Correcting before the
    # decay would give (4 - 2 + 1.5) / 2 or 4 / 2 + (3 - 4) / 2
    assert y.flatten().tolist() == [4.0, 2.5]


def test_initial_decays() -> None:
    module = GatedDeltaNetModule(GatedDeltaNet(num_heads=256), MixerContext(256, 64))
    module.initialise(torch.Generator().manual_seed(0))
    rates = module.log_rate.detach().exp()
    assert 0 < float(rates.min()) < 1
    assert 15 < float(rates.max()) < 16
    assert math.isclose(float(rates.mean()), 8, abs_tol=1)
    log_decay = module.log_decay(torch.zeros(1, 1, 256)).detach()
    assert -1.6 < float(log_decay.min()) < float(log_decay.max()) < 0

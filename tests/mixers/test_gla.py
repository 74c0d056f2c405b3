from __future__ import annotations

import pytest
import torch

from archsearch.mixers.base import MixerContext
from archsearch.mixers.gla.module import GatedLinearAttentionModule
from archsearch.mixers.gla.spec import GatedLinearAttention

OPTIONS = [{"num_heads": 1, "gate_divisor": 1}]


def test_golden_prices() -> None:
    spec = GatedLinearAttention(num_heads=2)
    priced = [spec.cost(64, n).flops_useful / 1e6 for n in (64, 256, 1024)]
    assert priced == pytest.approx([3.342, 13.369, 53.477], abs=5.1e-4)
    assert spec.cost(64, 64).params == 4 * 64**2 + 24 * 64 + 32  # the gate has a bias
    assert spec.cost(64, 1024).state_floats == 64 * 64 // 4


def test_forgets_about_four_percent_per_step_at_first() -> None:
    module = GatedLinearAttentionModule(GatedLinearAttention(), MixerContext(16, 64))
    for parameter in module.decay.parameters():
        torch.nn.init.zeros_(parameter)
    log_decay = module.streams(torch.zeros(1, 3, 16), torch.arange(3)).log_decay
    assert log_decay is not None
    torch.testing.assert_close(
        log_decay, torch.full_like(log_decay, -0.6931 / 16), atol=1e-4, rtol=0
    )

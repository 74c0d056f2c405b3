from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from archsearch.mixers.base import MixerContext
from archsearch.mixers.mamba._scan import selective_scan
from archsearch.mixers.mamba.module import MambaModule
from archsearch.mixers.mamba.spec import RUN, Mamba
from tests.mixers import contract

OPTIONS = [{"state_size": 5}]


def test_golden_prices() -> None:
    spec = Mamba(state_size=16)
    priced = [spec.cost(64, n).flops_useful / 1e6 for n in (64, 256, 1024)]
    assert priced == pytest.approx([4.784, 19.137, 76.546], abs=5.1e-4)
    # 6d^2 + E(R + 2s) + RE, 4 taps and a bias, rates, D, and the bias of dt
    assert spec.cost(64, 64).params == 6 * 64**2 + 128 * 36 + 4 * 128 + 128 * (5 + 16 + 2)
    assert spec.cost(64, 1024).state_floats == 128 * 16 + 3 * 128


@pytest.mark.parametrize("length", [RUN - 1, RUN, RUN + 1, 3 * RUN + 5])
def test_runs_join_without_a_seam(length: int) -> None:
    module = contract.build("mamba", {})
    assert contract.reference_error(module, contract.noise(2, length)) < 1e-9


def test_gradients_of_the_scan_are_those_of_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    # two sequences of three runs of four positions
    step, x, into, out = (
        torch.rand(4, 6, width, generator=generator, dtype=torch.float64, requires_grad=True)
        for width in (2, 2, 3, 3)
    )
    rate = torch.rand(3, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda step, x, rate, into, out: selective_scan(step, x, rate, (into, out), 3),
        [step, x, rate, into, out],
    )


def test_steps_and_rates_at_first() -> None:
    module = MambaModule(Mamba(state_size=8), MixerContext(64, 64))
    module.initialise(torch.Generator().manual_seed(0))
    steps = F.softplus(module.step_size.bias.detach())
    assert 0.9e-3 < float(steps.min()) < 3e-3
    assert 0.04 < float(steps.max()) < 0.101
    rates = module.log_rate.detach().exp()
    assert rates[:, 5].tolist() == pytest.approx(list(range(1, 9)))
    assert float(module.step_size.weight.detach().abs().max()) <= 0.5  # R = 4


def test_keeps_no_state_of_every_position() -> None:
    module = MambaModule(Mamba(), MixerContext(16, 512))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        module(torch.randn(1, 512, 16))
    assert sum(t.numel() for t in kept) < 512 * 32 * 16

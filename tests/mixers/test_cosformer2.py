from __future__ import annotations

import torch
import torch.nn.functional as F

from archsearch.mixers.cosformer2.module import CosFormer2Module
from archsearch.mixers.cosformer2.spec import CosFormer2
from tests.mixers import contract

OPTIONS = [{"num_heads": 1}]


def test_prices() -> None:
    spec = CosFormer2(num_heads=2)
    # 8Nd^2 + 4Nd^2/H + H (2NC(48 + 32) + 4N 48 32)
    core = 2 * 64 * (2 * 64 * 80 + 4 * 48 * 32)
    assert spec.cost(64, 64).flops_useful == 8 * 64**3 + 2 * 64**3 + core
    assert spec.cost(64, 64).params == 4 * 64**2 + 64**2
    assert spec.cost(64, 1024).state_floats == 2 * 48 * 32


def test_weights_are_cosines_at_half_of_the_channels() -> None:
    module = contract.build("cosformer2", {"num_heads": 1})
    assert isinstance(module, CosFormer2Module)
    x = contract.noise(1, 20)
    q, k, _, _ = module.streams(x, torch.arange(20))
    q_LE, k_LE = (F.silu(part)[0] for part in module.query_key_value(x).chunk(3, -1)[:2])
    theta_E = torch.zeros(16, dtype=torch.float64)
    theta_E[:8] = 10_000.0 ** -(torch.arange(8, dtype=torch.float64) / 8)
    distance_LL = (torch.arange(20)[:, None] - torch.arange(20)).double()
    turn_LLE = (distance_LL[..., None] * theta_E).cos()
    expected_LL = torch.einsum("ie,je,ije->ij", q_LE, k_LE, turn_LLE)
    torch.testing.assert_close((q @ k.transpose(-1, -2))[0, 0], expected_LL)


def test_output_stays_of_one_size_however_long_the_past() -> None:
    module = contract.build("cosformer2", {}).float()
    y = module(contract.noise(1, 1).float().expand(1, 4096, contract.WIDTH)).detach()
    assert y.isfinite().all()
    assert float(y[:, -1].abs().max()) < 3 * float(y[:, :8].abs().max())

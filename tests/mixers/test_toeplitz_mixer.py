from __future__ import annotations

import pytest
import torch

from archsearch.mixers.masked_mixer.spec import MaskedMixer
from archsearch.mixers.toeplitz_mixer.spec import ToeplitzMixer
from tests.mixers import contract

OPTIONS = [{"num_heads": 2}]


def test_price() -> None:
    # BaseConv's long form without its projection
    for length, expected in ((64, 0.836), (256, 3.670), (1024, 15.991)):
        useful = ToeplitzMixer().cost(64, length).flops_useful + 2 * length * 64**2
        assert useful / 1e6 == pytest.approx(expected, abs=5.1e-4)
    cost = ToeplitzMixer().cost(64, 256)
    assert (cost.params, cost.state_floats) == (2 * 256, 256 * 64)
    assert str(ToeplitzMixer().flops_form(64).growth) == "N log N"
    assert cost.flops_useful < MaskedMixer().cost(64, 256).flops_useful


@pytest.mark.parametrize("num_heads", [1, 4])
@pytest.mark.parametrize("length", [1, 33, 100, 300])
def test_is_the_masked_mixer_with_equal_diagonals(num_heads: int, length: int) -> None:
    toeplitz = contract.build("toeplitz_mixer", {"num_heads": num_heads})
    masked = contract.build("masked_mixer", {"num_heads": num_heads})
    weights = toeplitz.state_dict()
    taps = weights.pop("taps")
    position = torch.arange(contract.MAX_LENGTH)
    # future positions get whatever: the mask is the masked mixer's
    weights["weight"] = taps[:, (position[:, None] - position).abs()][:, None]
    masked.load_state_dict(weights)
    x = contract.noise(2, length)
    assert contract.distance(toeplitz(x), masked(x)) < 1e-12

from __future__ import annotations

import math

import pytest
import torch

from archsearch.architecture import Architecture, Block, Component
from archsearch.mixers import modules
from archsearch.mixers._convolution import channelwise_convolution
from archsearch.mixers.base import MixerContext
from archsearch.mixers.hyena.spec import Hyena
from archsearch.model import build_model, initialise
from tests.mixers import contract

OPTIONS = [{"filter_width": 16}]
DESIGN = Architecture(
    d_model=64, blocks=(Block(sequence=Component(name="hyena"), channel=Component(name="none")),)
)


def test_price() -> None:
    priced = [Hyena().cost(64, n).flops_useful / 1e6 for n in (64, 256, 1024)]
    assert priced == pytest.approx((2.483, 10.257, 42.337), abs=5.1e-4)
    assert Hyena().cost(64, 256).params == 30_976
    assert Hyena().cost(64, 256).state_floats == 256 * 64 + 2 * 3 * 64
    assert str(Hyena().flops_form(64).growth) == "N log N"


def _initialised(length: int) -> torch.nn.Module:
    module = modules.get("hyena")(Hyena(), MixerContext(64, length))
    module.initialise(torch.Generator().manual_seed(0))
    return module


def test_features_are_a_learned_table_of_the_longest_length() -> None:
    features = _initialised(100).filter.features
    assert features.shape == (100, 3)
    assert features.requires_grad
    # the one band turns by 1e-4 of a circle over the sequence
    turn = 2 * math.pi * 1e-4 * 0.5
    expected = torch.tensor([0.5, math.cos(turn), math.sin(turn)])
    torch.testing.assert_close(features[50].detach(), expected)


def test_window_falls_to_a_hundredth_and_has_length_one() -> None:
    window_DT = _initialised(1000).filter.window(1000).detach()
    # the fastest channel has 1% left after 0.3 of the length
    assert window_DT[-1, 300] / window_DT[-1, 0] == pytest.approx(0.01, rel=1e-3)
    assert window_DT[0, -1] / window_DT[0, 0] == pytest.approx(0.01 ** (0.999 / 1.5), rel=1e-3)
    torch.testing.assert_close(window_DT.square().sum(1), torch.ones(64))


def test_noise_keeps_its_size_at_every_length() -> None:
    """Scaled to a sum of one, the convolution would fade beside the skip as sequences grow."""
    sizes = []
    for length in (64, 1024):
        model = build_model(DESIGN, vocab_size=8, max_length=length)
        initialise(model, seed=0)
        taps = model.blocks[0].sequence.filter(length).detach()
        noise = contract.noise(2, length, width=64).float()
        sizes.append(float(channelwise_convolution(noise, taps).std()))
    assert min(sizes) > 0.2
    assert sizes[1] == pytest.approx(sizes[0], rel=0.2)


def test_filter_is_tied_to_the_longest_length_not_to_the_sequence() -> None:
    module = contract.build("hyena", {})
    with torch.no_grad():
        torch.testing.assert_close(module.filter(40), module.filter(90)[:40])

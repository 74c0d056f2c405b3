from __future__ import annotations

import torch

from archsearch.mixers import modules
from archsearch.mixers.base import MixerContext
from archsearch.mixers.rwkv_channel_mix.spec import RWKVChannelMix

OPTIONS = [{"expansion": 1.5}]


def test_price() -> None:
    cost = RWKVChannelMix().cost(64, 256)
    assert cost.flops_useful == 256 * (4 * 64 * 256 + 2 * 64**2)
    assert cost.params == 2 * 64 * 256 + 64**2 + 2 * 64
    assert cost.state_floats == 64


def test_shift_starts_as_published_in_every_depth() -> None:
    for layer, layers, power in ((0, 1, 1.0), (1, 2, 0.5), (3, 4, 0.25)):
        context = MixerContext(8, 32, layer_index=layer, num_layers=layers)
        module = modules.get("rwkv_channel_mix")(RWKVChannelMix(), context)
        module.initialise(torch.Generator())
        expected = (torch.arange(8) / 8) ** power
        torch.testing.assert_close(module.key_mix.detach(), expected)
        torch.testing.assert_close(module.gate_mix.detach(), expected)

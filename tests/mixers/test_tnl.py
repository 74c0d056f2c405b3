from __future__ import annotations

import math

import pytest

from archsearch.mixers.base import MixerContext
from archsearch.mixers.tnl.module import TransNormerModule, log_decays
from archsearch.mixers.tnl.spec import TransNormer

OPTIONS = [{"num_heads": 4, "decay": "exponential"}]


def test_golden_prices() -> None:
    spec = TransNormer(num_heads=2)
    priced = [spec.cost(64, n).flops_useful / 1e6 for n in (64, 256, 1024)]
    assert priced == pytest.approx([4.194, 16.777, 67.109], abs=5.1e-4)
    assert spec.cost(64, 64).params == 4 * 64**2 + 64**2
    assert spec.cost(64, 1024).state_floats == 64**2 // 2


def test_the_two_rules_of_decay() -> None:
    alibi = [math.exp(x) for x in log_decays("alibi", 8, 0, 24)]
    assert [alibi[0], alibi[1], alibi[2], alibi[7]] == pytest.approx(
        [0.607, 0.779, 0.882, 0.996], abs=5e-4
    )
    paper = [math.exp(x) for x in log_decays("exponential", 8, 0, 24)]
    assert [*paper[:4], paper[7]] == pytest.approx([1, 0.368, 0.135, 0.050, 0.0009], abs=5e-4)


@pytest.mark.parametrize("rule", ["alibi", "exponential"])
def test_later_layers_forget_less(rule: str) -> None:
    layers = [log_decays(rule, 4, layer, 6)[-1] for layer in range(6)]
    assert layers == sorted(layers)
    assert layers[0] < layers[-1] < 0


@pytest.mark.parametrize("rule", ["alibi", "exponential"])
def test_a_model_of_one_layer_divides_by_nothing(rule: str) -> None:
    spec = TransNormer.model_validate({"decay": rule})
    module = TransNormerModule(spec, MixerContext(16, 64, layer_index=0, num_layers=1))
    assert module.log_decay.isfinite().all()
    assert module.log_decay.min() < -0.003

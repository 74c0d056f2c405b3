from __future__ import annotations

import pytest
import torch

from archsearch.mixers import modules
from archsearch.mixers.base import MixerContext
from archsearch.mixers.differential_attention.spec import DifferentialAttention
from tests.mixers import contract

OPTIONS = [{"num_heads": 2}, {"num_heads": 4, "num_kv_heads": 2}]


def test_price() -> None:
    priced = [DifferentialAttention().cost(64, n).flops_useful / 1e6 for n in (64, 256, 1024)]
    # as many products as full attention: the maps are subtracted before the values
    assert priced == pytest.approx((2.630, 16.810, 167.903), abs=5.1e-4)
    cost = DifferentialAttention(num_heads=2).cost(64, 1024)
    assert cost.params == 4 * 64**2 + 6 * 16
    assert cost.state_floats == 2 * 1024 * 64


def test_two_maps_need_twice_the_heads() -> None:
    spec = DifferentialAttention(num_heads=4)
    assert spec.head_width(64) == 8
    assert not spec.problems(64)
    assert DifferentialAttention(num_heads=2).problems(6) == [
        "twice num_heads=2 must divide d_model=6"
    ]


def test_shared_keys_and_values_are_priced() -> None:
    spec = DifferentialAttention(num_heads=4, num_kv_heads=1)
    plain, shared = DifferentialAttention(num_heads=4).cost(64, 100), spec.cost(64, 100)
    assert plain.params - shared.params == 2 * 64 * 48
    assert plain.flops_useful - shared.flops_useful == 2 * 100 * 2 * 64 * 48
    assert shared.state_floats == 2 * 100 * 16
    assert spec.problems(64) == []
    assert DifferentialAttention(num_heads=4, num_kv_heads=3).problems(12) == [
        "num_kv_heads=3 must divide num_heads=4",
        "twice num_heads=4 must divide d_model=12",
    ]


def test_plain_data_say_nothing_of_shared_keys_where_none_are() -> None:
    plain = DifferentialAttention(num_heads=4).component()
    assert plain.options == {"num_heads": 4}
    assert DifferentialAttention(num_heads=4, num_kv_heads=4).canonical() == plain
    shared = DifferentialAttention(num_heads=4, num_kv_heads=2)
    assert shared.canonical().options == {"num_heads": 4, "num_kv_heads": 2}


def test_neighbouring_heads_share_both_maps_of_a_key() -> None:
    shared = contract.build("differential_attention", {"num_heads": 4, "num_kv_heads": 2})
    plain = contract.build("differential_attention", {"num_heads": 4})
    held = shared.state_dict()
    query, key, value = held["query_key_value.weight"].split((16, 8, 8))
    # heads 0 and 1 read the first four rows, 2 and 3 the last
    rows = [0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6, 7, 4, 5, 6, 7]
    held["query_key_value.weight"] = torch.cat((query, key[rows], value[rows]))
    plain.load_state_dict(held)
    x = contract.noise(2, 100)
    assert contract.distance(shared(x), plain(x)) < 1e-12


def test_lambda_starts_from_the_layer() -> None:
    for layer, start in ((0, 0.2), (1, 0.35551), (11, 0.77787)):
        context = MixerContext(16, 64, layer_index=layer, num_layers=12)
        module = modules.get("differential_attention")(DifferentialAttention(), context)
        # vectors of zeros leave the offset
        assert module.weight().item() == pytest.approx(start, abs=1e-5)


def test_equal_maps_leave_their_difference() -> None:
    module = contract.build("differential_attention", {})
    with torch.no_grad():
        query, key, _ = module.query_key_value.weight.split(16)
        query[8:], key[8:] = query[:8], key[:8]
        module.lambda_vectors.zero_()
        # at lambda = 1 nothing is left of two equal maps
        module.lambda_start = 1.0
    x = contract.noise(1, 10)
    assert module(x).abs().max() == 0


def test_every_head_has_a_norm() -> None:
    module = contract.build("differential_attention", {"num_heads": 2})
    x = contract.noise(1, 20)
    before = module(x)
    with torch.no_grad():
        # values of the first head, ten times as large: gone behind the norm
        module.query_key_value.weight[32:40] *= 10
    assert contract.distance(module(x), before) < 1e-3


def test_recomputed_blocks_give_the_same_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    where = "archsearch.mixers.differential_attention.module._LONGEST_KEPT"
    module = contract.build("differential_attention", {"num_heads": 2}, rotary=True)
    for longest in (0, 1024):
        monkeypatch.setattr(where, longest)
        assert contract.reference_error(module, contract.noise(2, 150)) < 1e-9

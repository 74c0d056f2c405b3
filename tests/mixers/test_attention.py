from __future__ import annotations

import pytest
import torch

from archsearch.architecture import Component
from archsearch.canonical import spec_of
from archsearch.mixers import modules
from archsearch.mixers._attention import _attention_nearby, in_window, masked_attention, spread
from archsearch.mixers.attention.spec import Attention
from archsearch.mixers.base import MixerContext
from tests.mixers import contract

OPTIONS = [{"num_heads": 4, "num_kv_heads": 2}]


def test_shared_keys_are_copies_of_them() -> None:
    grouped = contract.build("attention", {"num_heads": 4, "num_kv_heads": 2})
    plain = contract.build("attention", {"num_heads": 4})
    query, key, value = grouped.query_key_value.weight.split((16, 8, 8))
    twice = [w.view(2, 1, 4, 16).expand(2, 2, 4, 16).reshape(16, 16) for w in (key, value)]
    with torch.no_grad():
        plain.query_key_value.weight.copy_(torch.cat((query, *twice)))
        plain.output.weight.copy_(grouped.output.weight)
    x = contract.noise(2, 20)
    assert contract.distance(grouped(x), plain(x)) < 1e-12


def test_a_key_head_for_each_query_head_is_the_default() -> None:
    plain = Component(name="attention", options={"num_heads": 4})
    assert Attention(num_heads=4, num_kv_heads=4).canonical() == plain
    assert Attention(num_heads=4).component() == plain
    for name, options in (("sliding_window", {}), ("dilated_window", {"dilation": 1})):
        heads = {"num_heads": 4, "num_kv_heads": 2}
        spec = spec_of(Component(name=name, options={**options, **heads, "window": 64}))
        assert spec.merged(64) == Component(name="attention", options=heads)
        assert spec.canonical().options["num_kv_heads"] == 2


def test_key_heads_must_divide_the_heads() -> None:
    for groups in (3, 8):
        assert Attention(num_heads=4, num_kv_heads=groups).problems(64) == [
            f"num_kv_heads={groups} must divide num_heads=4"
        ]


def test_shared_keys_are_priced() -> None:
    spec = Attention(num_heads=4, num_kv_heads=1)
    cost, full = spec.cost(64, 1024), Attention(num_heads=4).cost(64, 1024)
    assert cost.params == 2 * 64 * 64 + 2 * 64 * 16
    assert cost.state_floats == 2 * 1024 * 16
    assert full.flops_useful - cost.flops_useful == 2 * 1024 * 2 * 64 * 48


def test_matrices_keep_the_shape_of_earlier_weights() -> None:
    module = modules.get("attention")(Attention(num_heads=2), MixerContext(64, 64))
    shapes = {name: tuple(weight.shape) for name, weight in module.state_dict().items()}
    assert shapes == {"query_key_value.weight": (192, 64), "output.weight": (64, 64)}


@pytest.mark.parametrize("name", ["attention", "sliding_window", "dilated_window"])
def test_decoding_leaves_the_state_alone(name: str) -> None:
    module = contract.build(name, {}, rotary=True)
    state = module.initial_state(2, 9)
    before = {key: tensor.clone() for key, tensor in state.items()}
    module.step(contract.noise(2, 1)[:, 0], state)
    assert all(torch.equal(state[key], before[key]) for key in before)


@pytest.mark.parametrize(("count", "step"), [(1, 1), (5, 1), (4, 3), (40, 1), (9, 7)])
def test_fetched_keys_are_those_of_the_window(count: int, step: int) -> None:
    generator = torch.Generator().manual_seed(count)

    def drawn(heads: int, length: int) -> torch.Tensor:
        shape = (2, heads, length, 3)
        return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()

    q, k, v = drawn(4, 6), drawn(2, 37), drawn(2, 37)
    # the first and the last, one twice, others in no order, no two sequences alike
    position = torch.tensor([[0, 36, 5, 5, 20, 1], [36, 0, 35, 2, 13, 13]])
    distance = position[..., None] - torch.arange(37)
    allowed = in_window(distance, count, step)[:, None]
    results = []
    for y in (
        _attention_nearby(q, k, v, position, count, step),
        masked_attention(q, spread(k, 4), spread(v, 4), allowed),
    ):
        cotangent = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)
        results.append((y, *torch.autograd.grad(y, (q, k, v), cotangent)))
    for mine, plain in zip(*results, strict=True):
        torch.testing.assert_close(mine, plain, rtol=1e-10, atol=1e-10)

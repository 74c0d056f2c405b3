from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from archsearch.mixers.base import reach_at
from archsearch.mixers.landmark_attention.module import LandmarkAttentionModule
from archsearch.mixers.landmark_attention.spec import LandmarkAttention
from tests.mixers import contract

OPTIONS = [
    {"num_heads": 4, "num_kv_heads": 2, "block": 5, "top_k": 3},
    {"num_heads": 2, "block": 16, "top_k": 0},
]
NAME = "landmark_attention"


def _module(**options: Any) -> LandmarkAttentionModule:
    module = contract.build(NAME, options)
    assert isinstance(module, LandmarkAttentionModule)
    return module


@settings(max_examples=60, deadline=None)
@given(
    block=st.one_of(st.integers(1, 40), st.sampled_from(["sqrt", "N/3", "N/10"])),
    top_k=st.integers(0, 8),
    length=st.integers(1, 200),
)
def test_pairs_and_state_are_counted_exactly(block: int | str, top_k: int, length: int) -> None:
    size = min(reach_at(block, length), length)
    flops = 0
    for i in range(length):
        own = i // size
        opened = min(own, top_k) if top_k else own
        flops += 2 * own * 8 + 4 * (opened * size + i % size + 1) * 8
    landmarks = (length - 1) // size
    cost = LandmarkAttention(num_heads=2, block=block, top_k=top_k).cost(8, length)
    assert cost.flops_useful == 8 * length * 64 + 2 * landmarks * 64 + flops
    assert cost.params == 5 * 64
    assert cost.state_floats == 8 * (2 * length + math.ceil(length / size))


def test_price_at_the_defaults() -> None:
    # projections, 31 landmarks, 15,872 of their scores, 79,360 pairs
    useful = 33_554_432 + 31 * 8192 + 128 * 15_872 + 256 * 79_360
    assert LandmarkAttention().cost(64, 1024).flops_useful == useful


@pytest.mark.parametrize("top_k", [0, 2])
def test_weights_add_up_to_one(top_k: int) -> None:
    module = _module(block=4, top_k=top_k, num_heads=2)
    x = contract.noise(2, 50)
    x[..., 0] = 1.0
    module.query_key_value.weight.data[32:] = 0.0
    module.query_key_value.weight.data[32:, 0] = 0.7
    value = torch.full((16,), 0.7, dtype=torch.float64)
    assert contract.distance(module(x), module.output(value).expand(2, 50, -1)) < 1e-12


@pytest.mark.parametrize("top_k", [0, 1, 2])
def test_a_landmark_deals_out_its_share_within_its_block(top_k: int) -> None:
    module = _module(block=4, top_k=top_k)
    x = contract.noise(1, 23)
    q, k, v = (part[0, 0] for part in module.heads(x))
    landmark = module.landmark(torch.stack([x[0, 4 * e : 4 * e + 4].mean(0) for e in range(5)]))
    i, own = 21, 5
    mark = landmark @ q[i] / 4
    opened = mark.argsort(descending=True)[: top_k or None].tolist()
    logits = torch.cat((k[4 * own : i + 1] @ q[i] / 4, mark[opened]))
    share = logits.softmax(0)
    expected = share[:2] @ v[4 * own : i + 1]
    for s, e in zip(share[2:], opened, strict=True):
        inside = slice(4 * e, 4 * e + 4)
        expected = expected + s * (k[inside] @ q[i] / 4).softmax(0) @ v[inside]
    assert contract.distance(module(x)[0, i], module.output(expected)) < 1e-12


def test_only_the_best_blocks_are_read() -> None:
    module = _module(block=4, top_k=1)
    with torch.no_grad():
        module.query_key_value.weight.copy_(torch.eye(16, dtype=torch.float64).repeat(3, 1))
        module.landmark.weight.copy_(torch.eye(16, dtype=torch.float64))
    x = 0.01 * contract.noise(1, 43)
    x[..., 0] += 1.0
    x[:, 12:16, 0] += 5.0
    for training in (True, False):
        changing = x.clone().requires_grad_()
        output = module.train(training)(changing)[0, 38]
        (gradient,) = torch.autograd.grad(output.sum(), changing)
        read = gradient[0].abs().sum(-1).nonzero().flatten().tolist()
        assert read == [*range(12, 16), *range(36, 39)]


def test_all_queries_may_open_the_same_block() -> None:
    module = _module(block=4, top_k=2)
    x = 0.1 * contract.noise(1, 100)
    x[:, 4:8] *= 30
    assert contract.reference_error(module, x) < 1e-9


def test_blocks_may_be_wider_than_tiles() -> None:
    module = _module(block=70, top_k=1, num_heads=2)
    assert contract.reference_error(module, contract.noise(2, 300)) < 1e-9


def test_opening_as_many_blocks_as_there_are_is_opening_all() -> None:
    x = contract.noise(2, 50)
    every = _module(block=5, top_k=0)
    assert contract.distance(_module(block=5, top_k=9)(x), every(x)) < 1e-12
    assert contract.distance(_module(block=5, top_k=8)(x), every(x)) > 1e-6


@pytest.mark.parametrize(
    ("block", "length", "most"), [("sqrt", 64, 7), ("cbrt", 64, 15), ("N/50", 20, 19)]
)
def test_that_many_blocks_are_there_to_be_opened(block: str, length: int, most: int) -> None:
    x = contract.noise(2, length)
    every, fewer = _module(block=block, top_k=0)(x), _module(block=block, top_k=most - 1)(x)
    assert contract.distance(_module(block=block, top_k=most)(x), every) < 1e-12
    assert contract.distance(fewer, every) > 1e-6


def test_of_equal_landmarks_the_earliest_open_their_blocks() -> None:
    module = _module(block=4, top_k=2)
    tokens = contract.noise(1, 4)[0]
    x = torch.cat([tokens[torch.arange(4).roll(b)] for b in range(11)])[None]
    changing = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(module(changing)[0, 41].sum(), changing)
    assert gradient[0].abs().sum(-1).nonzero().flatten().tolist() == [*range(8), 40, 41]
    assert contract.distance(module(x), module.reference(x)) < 1e-12
    assert contract.distance(contract.decoded(module, x)[0], module(x)) < 1e-12


def test_a_landmark_stands_at_the_last_position_of_its_block() -> None:
    module = contract.build(NAME, {"num_heads": 8, "block": 3, "top_k": 0}, rotary=True)
    x = contract.noise(1, 8)
    # heads of width 2: one angle, that of the position itself
    weight = module.query_key_value.weight.view(3, 8, 2, 16)[:, 0]

    def turned(vector: torch.Tensor, position: int) -> torch.Tensor:
        a, b = vector.tolist()
        cos, sin = math.cos(position), math.sin(position)
        return vector.new_tensor([a * cos - b * sin, a * sin + b * cos])

    query = turned(weight[0] @ x[0, 7], 7) / 2**0.5
    keys = torch.stack([turned(weight[1] @ x[0, j], j) for j in range(8)])
    marks = [
        turned(module.landmark.weight[:2] @ x[0, 3 * b : 3 * b + 3].mean(0), 3 * b + 2)
        for b in range(2)
    ]
    share = torch.cat((keys[6:], torch.stack(marks))) @ query
    share = share.softmax(0)
    expected = torch.zeros(16, dtype=torch.float64)
    parts = [(slice(6, 8), share[:2])] + [
        (s, p * (keys[s] @ query).softmax(0))
        for s, p in zip((slice(0, 3), slice(3, 6)), share[2:], strict=True)
    ]
    expected[:2] = sum((p @ (x[0, s] @ weight[2].T) for s, p in parts), torch.zeros(2).double())
    # the output of the first head alone
    with torch.no_grad():
        module.output.weight[:, 2:] = 0
    for y in (module(x)[0, 7], module.reference(x)[0, 7], contract.decoded(module, x)[0][0, 7]):
        assert contract.distance(y, module.output(expected)) < 1e-12


def test_landmarks_learn_from_the_blocks_that_they_open() -> None:
    module = _module(block=4, top_k=1)
    module(contract.noise(1, 40)).square().sum().backward()
    assert module.landmark.weight.grad is not None
    assert (module.landmark.weight.grad != 0).all()


def test_one_block_is_full_attention() -> None:
    module, attention = _module(block=64), contract.build("attention", {})
    weights = {k: w for k, w in module.state_dict().items() if k != "landmark.weight"}
    attention.load_state_dict(weights)
    x = contract.noise(2, 64)
    assert contract.distance(module(x), attention(x)) < 1e-12


def test_growth_follows_the_block_and_what_is_opened() -> None:
    assert LandmarkAttention().flops_form(64).growth.power == 1.5
    form = LandmarkAttention(block=16).flops_form(64)
    assert form.growth.power == 2
    assert form.terms[0].coefficient == 2 * 64 / (2 * 16)
    every = LandmarkAttention(top_k=0).flops_form(64)
    assert every.terms[0].coefficient == 2 * 64
    assert every.growth.power == 2
    # three blocks of sqrt(N) are more than a quarter of 143 positions, of 144 just that
    assert LandmarkAttention().flops_form(64, n_max=144).growth.power == 1.5
    assert LandmarkAttention().flops_form(64, n_max=143).growth.power == 2


def test_no_quadratic_tensor_with_many_heads_and_blocks() -> None:
    module = contract.build(NAME, {"num_heads": 16, "top_k": 10})
    assert contract.largest_tensor(module, 4096) < 4096**2 / 2


def test_designs_that_are_the_same_are_merged() -> None:
    assert LandmarkAttention(block="N/3", top_k=2).canonical().options["top_k"] == 0
    assert LandmarkAttention(block="N/3", top_k=1).canonical().options["top_k"] == 1
    assert LandmarkAttention(block=16, top_k=3).merged(64).options["top_k"] == 0
    assert LandmarkAttention(block=16, top_k=3).merged(65).options["top_k"] == 3
    # all blocks but the own one
    for block, n_max, most in (("sqrt", 64, 7), ("cbrt", 65, 15), ("N/50", 20, 19)):
        assert LandmarkAttention(block=block, top_k=most).merged(n_max).options["top_k"] == 0
        fewer = LandmarkAttention(block=block, top_k=most - 1).merged(n_max)
        assert fewer.options["top_k"] == most - 1
    one_block = LandmarkAttention(block="N/1", top_k=0).component()
    assert LandmarkAttention(block=64).merged(64) == one_block

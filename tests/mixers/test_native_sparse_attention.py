from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from archsearch.mixers._blocks import _tiles
from archsearch.mixers._blocks_cost import most_blocks, picking
from archsearch.mixers._retrieval import best_blocks
from archsearch.mixers.base import MixerContext, reach_at
from archsearch.mixers.native_sparse_attention.module import NativeSparseAttentionModule
from archsearch.mixers.native_sparse_attention.spec import NativeSparseAttention
from tests.mixers import contract

OPTIONS = [
    {"num_heads": 4, "num_kv_heads": 2, "block": 5, "num_selected": 5, "window": 7},
    {"num_heads": 2, "block": 16, "num_selected": 3, "window": "sqrt"},
]
NAME = "native_sparse_attention"


def _branch(which: int, **options: Any) -> NativeSparseAttentionModule:
    """Summaries 0, chosen blocks 1 or window 2 alone."""
    module = contract.build(NAME, options)
    assert isinstance(module, NativeSparseAttentionModule)
    heads = module.num_heads
    torch.nn.init.zeros_(module.gate.weight)
    torch.nn.init.constant_(module.gate.bias, -1e9)
    torch.nn.init.constant_(module.gate.bias[which * heads : (which + 1) * heads], 1e9)
    return module


def _read(module: NativeSparseAttentionModule, x_BLD: Tensor, i: int) -> list[int]:
    """The positions that the output at ``i`` depends on, the query itself aside."""
    x = x_BLD.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(module(x)[0, i].sum(), x)
    return gradient[0].abs().sum(-1).nonzero().flatten().tolist()


@settings(max_examples=60, deadline=None)
@given(
    block=st.one_of(st.integers(1, 40), st.sampled_from(["sqrt", "N/3", "N/10"])),
    count=st.integers(3, 8),
    window=st.integers(1, 50),
    length=st.integers(1, 200),
)
def test_pairs_and_state_are_counted_exactly(
    block: int | str, count: int, window: int, length: int
) -> None:
    size = min(reach_at(block, length), length)
    pairs = 0
    for i in range(length):
        own = i // size
        pairs += own + (min(own + 1, count) - 1) * size + i % size + 1 + min(i + 1, window)
    spec = NativeSparseAttention(num_heads=2, block=block, num_selected=count, window=window)
    cost = spec.cost(8, length)
    assert cost.flops_useful == 8 * length * 64 + 6 * length * 8 * 2 + 4 * pairs * 8
    assert cost.params == 4 * 64 + 6 * 9
    assert cost.state_floats == 2 * 8 * (length + math.ceil(length / size))


def test_price_at_the_defaults() -> None:
    cost = NativeSparseAttention().cost(64, 1024)
    # projections and gates; 15,872 pairs of summaries, 109,056 of chosen blocks, 32,272 of window
    assert cost.flops_useful == 33_554_432 + 393_216 + 256 * (15_872 + 109_056 + 32_272)
    assert cost.params == 4 * 64**2 + 195


@pytest.mark.parametrize("position", [0, 3, 6, 20, 32])
def test_the_window_has_w_keys_and_looks_back_only(position: int) -> None:
    module = _branch(2, block=4, window=5)
    read = _read(module, contract.noise(1, 33), position)
    assert read == list(range(max(0, position - 4), position + 1))


def test_summaries_are_of_blocks_before_the_own() -> None:
    module = _branch(0, block=4)
    x = contract.noise(1, 31)
    assert _read(module, x, 10) == [*range(8), 10]
    assert _read(module, x, 30) == [*range(28), 30]
    # a block is not even summed up for its own last position
    assert _read(module, x, 27) == [*range(24), 27]


def test_without_a_summary_the_branch_gives_zero() -> None:
    module = _branch(0, block=4)
    x = contract.noise(2, 9).requires_grad_()
    y = module(x)
    y.sum().backward()
    assert torch.equal(y[:, :4], torch.zeros_like(y[:, :4]))
    assert (y[:, 4:] != 0).all()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def _plant(module: NativeSparseAttentionModule, block: int, length: int) -> Tensor:
    """An input with block 4k.. whose summary every query likes best."""
    width = contract.WIDTH
    with torch.no_grad():
        module.query_key_value.weight.copy_(torch.eye(width, dtype=torch.float64).repeat(3, 1))
    x = 0.01 * contract.noise(1, length)
    x[..., 0] += 1.0
    x[:, 4 * block : 4 * block + 4, 0] += 5.0
    return x


def test_the_block_of_largest_summary_weight_is_chosen() -> None:
    module = _branch(1, block=4, num_selected=4)
    x = _plant(module, 3, 43)
    # own block 10 up to the query, the one before, the first, and the planted one
    assert _read(module, x, 41) == [*range(4), *range(12, 16), *range(36, 42)]
    # three blocks are never a matter of choice
    three = _branch(1, block=4, num_selected=3)
    assert _read(three, _plant(three, 3, 43), 41) == [*range(4), *range(36, 42)]
    # nor are any where there are no more than that
    assert _read(module, x, 15) == list(range(16))


def test_all_queries_may_choose_the_same_block() -> None:
    module = contract.build(NAME, {"block": 4, "num_selected": 4})
    assert isinstance(module, NativeSparseAttentionModule)
    x = _plant(module, 3, 100)
    assert contract.reference_error(module, x) < 1e-9


def test_blocks_may_be_wider_than_tiles() -> None:
    module = contract.build(NAME, {"num_heads": 2, "block": 70, "num_selected": 3})
    assert contract.reference_error(module, contract.noise(2, 300)) < 1e-9


def test_ties_do_not_matter_where_blocks_are_equal() -> None:
    module = contract.build(NAME, {"num_heads": 2, "block": 5})
    x = contract.noise(1, 1).expand(1, 64, -1)
    assert contract.distance(module(x), module.reference(x)) < 1e-12


def _equal_but_for_order(block: int) -> Tensor:
    """12 blocks of the same four tokens in another order, those of one block twice as large."""
    tokens, x = contract.noise(1, 4)[0], torch.empty(1, 48, contract.WIDTH, dtype=torch.float64)
    for b in range(12):
        x[0, 4 * b : 4 * b + 4] = tokens[[(i * (2 * (b % 2) + 1) + b) % 4 for i in range(4)]]
    x[0, 4 * block : 4 * block + 4] *= 2
    return x


@pytest.mark.parametrize("rotary", [False, True])
def test_of_equal_blocks_the_earliest_are_chosen(rotary: bool) -> None:
    module = _branch(1, block=4, num_selected=6)
    module.context = MixerContext(16, 64, rotary)
    x = _equal_but_for_order(3)
    means = x[0].view(12, 4, 16).mean(1)
    assert 0 < (means[2] - means[5]).abs().max() < 1e-14  # equal, were it not for round-off
    q, k, _ = (part[0, 0].detach() for part in module.heads(x))
    likes = float(q[45] @ (k[12:16].mean(0) - k[16:20].mean(0))) > 0
    others = [1, 2, 3] if likes else [1, 2, 4]
    expected = [i for b in (0, *others, 10) for i in range(4 * b, 4 * b + 4)]
    assert _read(module, x, 45) == [*expected, 44, 45]
    assert contract.distance(module(x), module.reference(x)) < 1e-12
    assert contract.distance(contract.decoded(module, x)[0], module(x)) < 1e-12


@given(
    rank=st.lists(st.integers(0, 3), min_size=1, max_size=200),
    share=st.floats(0, 1),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_the_best_come_in_order_and_equal_ones_by_place(
    rank: list[int], share: float, dtype: torch.dtype
) -> None:
    count = int(share * len(rank))
    expected = sorted(range(len(rank)), key=lambda i: (-rank[i], i))[:count]
    score = torch.tensor(rank, dtype=dtype) - 1.7
    # a thousandth of a step
    score += torch.rand(len(rank), dtype=dtype) * (1e-11 if dtype == torch.float64 else 1e-7)
    assert best_blocks(score, count).tolist() == expected
    # what differs by more than a step is not equal
    assert best_blocks(torch.tensor([1.0, 1.001, 0.5]), 1).tolist() == [1]


def test_weights_too_small_for_a_float_are_equal_and_open() -> None:
    module = contract.build(NAME, {"block": 4, "num_selected": 5})
    weight = torch.zeros(1, 1, 1, 9, dtype=torch.float64)
    weight[..., 8], weight[..., 4] = 1.0, 1e-300
    chosen = module._chosen(weight, torch.tensor([9]))
    assert chosen.flatten().tolist() == [9, 8, 0, 4, 1]


def test_neither_summaries_nor_their_queries_are_turned() -> None:
    module = _branch(0, block=2)
    module.context = MixerContext(16, 64, rotary=True)
    x = contract.noise(1, 6)
    w_q, w_k, w_v = module.query_key_value.weight.split(16)
    summaries = [(x[0, 2 * b] + x[0, 2 * b + 1]) / 2 for b in range(2)]
    score = torch.stack([(w_q @ x[0, 5]) @ (w_k @ m) / 4 for m in summaries])
    expected = sum(p * (w_v @ m) for p, m in zip(score.softmax(0), summaries, strict=True))
    for y in (module(x)[0, 5], module.reference(x)[0, 5], contract.decoded(module, x)[0][0, 5]):
        assert contract.distance(y, module.output(expected)) < 1e-12


def test_heads_that_share_keys_share_their_choice() -> None:
    module = contract.build(NAME, {"num_heads": 4, "num_kv_heads": 2, "block": 4})
    assert isinstance(module, NativeSparseAttentionModule)
    q, k, _ = module.heads(contract.noise(1, 40))
    block = torch.tensor([9])
    means = k[:, :, :36].reshape(1, 2, 9, 4, 4).mean(3)
    _, weight = module._summaries(q[:, :, 39:], means, means, block)
    assert weight.shape == (1, 2, 1, 9)
    torch.testing.assert_close(weight.sum(-1), torch.full_like(weight[..., 0], 2.0))
    assert not weight.requires_grad


def test_gates_begin_at_one_half_and_learn() -> None:
    module = NativeSparseAttentionModule(
        NativeSparseAttention(num_heads=2), MixerContext(16, 64)
    ).double()
    torch.nn.init.zeros_(module.gate.bias)
    zero = torch.zeros(1, 3, 16, dtype=torch.float64)
    assert (module.gate(zero).sigmoid() == 0.5).all()
    module(contract.noise(1, 64)).square().sum().backward()
    assert module.gate.weight.grad is not None
    assert (module.gate.weight.grad.abs().sum(1) > 0).all()


@settings(max_examples=80, deadline=None)
@given(
    size=st.one_of(st.integers(1, 9), st.integers(60, 140)),  # wider than a tile is long, too
    count=st.integers(1, 5),
    length=st.integers(2, 400),
    skewed=st.booleans(),
    seed=st.integers(0, 100),
)
def test_every_pair_has_a_slot_in_a_tile_of_its_block(
    size: int, count: int, length: int, skewed: bool, seed: int
) -> None:
    cut = picking(size, count, length)
    if not cut.rest:
        return
    generator = torch.Generator().manual_seed(seed)
    top = 1 if skewed else cut.num_blocks
    chosen = torch.randint(top, (2, cut.rest, count), generator=generator)
    tiles = _tiles(chosen, cut)
    pairs = torch.arange(chosen.numel())
    assert torch.equal(tiles.pair[tiles.slot], pairs)
    block = tiles.block.repeat_interleave(cut.rows)[tiles.slot].view(chosen.shape)
    assert torch.equal(block, chosen + torch.tensor([0, cut.num_blocks])[:, None, None])
    assert len(tiles.block) == 2 * cut.tiles
    assert len(tiles.empty) == 2 * cut.tiles * cut.rows - len(pairs)
    assert not torch.isin(tiles.slot, tiles.empty).any()


def test_growth_follows_the_block() -> None:
    assert NativeSparseAttention().flops_form(64).growth.power == 1.5
    form = NativeSparseAttention(block=16).flops_form(64)
    assert form.growth.power == 2
    assert form.terms[0].coefficient == 4 * 64 / (2 * 16)
    # four blocks of sqrt(N) are more than a quarter of fewer than 256 positions
    assert NativeSparseAttention().flops_form(64, n_max=256).growth.power == 1.5
    assert NativeSparseAttention().flops_form(64, n_max=255).growth.power == 2
    assert NativeSparseAttention(window=65).flops_form(64, n_max=256).growth.power == 2


def test_no_quadratic_tensor_with_many_heads_and_blocks() -> None:
    module = contract.build(NAME, {"num_heads": 16, "num_selected": 11})
    assert contract.largest_tensor(module, 4096) < 4096**2 / 2


def test_designs_that_are_the_same_are_merged() -> None:
    one_block = NativeSparseAttention(block="N/1", num_selected=3, window="N/1").component()
    assert NativeSparseAttention(block=64, num_selected=9, window=70).merged(64) == one_block
    assert NativeSparseAttention(block=64, num_selected=9).merged(65).options["block"] == 64


@given(
    block=st.one_of(
        st.integers(1, 400), st.sampled_from(["sqrt", "cbrt", "N/1", "N/2", "N/7", "N/50"])
    ),
    n_max=st.integers(1, 400),
)
def test_most_blocks_are_counted_over_all_lengths(block: int | str, n_max: int) -> None:
    every = (math.ceil(n / reach_at(block, n)) for n in range(1, n_max + 1))
    assert most_blocks(block, n_max) == max(every)


@pytest.mark.parametrize(
    ("block", "n_max", "most", "longest"),
    [(16, 64, 4, 64), ("N/4", 64, 4, 64), ("sqrt", 64, 8, 64), ("cbrt", 65, 16, 64)],
)
def test_more_blocks_than_there_are_are_not_asked_for(
    block: int | str, n_max: int, most: int, longest: int
) -> None:
    # a sequence that is shorter than n_max may have the most
    for count in (most, most + 5, 64):
        spec = NativeSparseAttention(block=block, num_selected=count)
        assert spec.merged(n_max).options["num_selected"] == most
    fewer = NativeSparseAttention(block=block, num_selected=most - 1)
    assert fewer.merged(n_max).options["num_selected"] == most - 1
    modules = [
        contract.build(NAME, {"block": block, "num_selected": n})
        for n in (most - 1, most, most + 5)
    ]
    x = contract.noise(2, longest)
    assert contract.distance(modules[0](x), modules[1](x)) > 1e-6
    assert contract.distance(modules[2](x), modules[1](x)) < 1e-12
    twice = NativeSparseAttention(block="N/4", num_selected=8)
    assert twice.canonical().options["num_selected"] == 4

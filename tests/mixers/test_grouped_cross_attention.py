from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from archsearch.mixers.base import MixerContext, reach_at, reach_term
from archsearch.mixers.grouped_cross_attention.module import GroupedCrossAttentionModule
from archsearch.mixers.grouped_cross_attention.spec import GroupedCrossAttention
from tests.mixers import contract

OPTIONS = [
    {"num_heads": 4, "num_kv_heads": 2, "chunk": 5, "top_k": 3},
    {"num_heads": 2, "chunk": 16, "top_k": 2},
]
NAME = "grouped_cross_attention"


def _module(**options: Any) -> GroupedCrossAttentionModule:
    module = contract.build(NAME, options)
    assert isinstance(module, GroupedCrossAttentionModule)
    return module


def _read(module: GroupedCrossAttentionModule, x_BLD: Tensor, i: int) -> list[int]:
    """The positions that the output at ``i`` depends on."""
    x = x_BLD.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(module(x)[0, i].sum(), x)
    return gradient[0].abs().sum(-1).nonzero().flatten().tolist()


def test_price_is_the_published_one() -> None:
    spec = GroupedCrossAttention(chunk=16, top_k=2)
    priced = [spec.cost(64, n).flops_useful / 1e6 for n in (64, 256, 1024)]
    assert priced == pytest.approx((2.361, 10.256, 42.205), abs=5.1e-4)
    assert spec.cost(64, 64).params == 4 * 64**2 + 64
    # keys and values, landmarks, and the weights of the two chunks that are being read
    assert spec.cost(64, 1024).state_floats == 2 * 1024 * 64 + 64 * 64 + 2


@pytest.mark.parametrize("length", [1, 7, 8, 9, 30])
@pytest.mark.parametrize("training", [False, True])
def test_the_first_two_chunks_get_exactly_zero(length: int, training: bool) -> None:
    module = _module(chunk=4, num_heads=2).train(training)
    x = contract.noise(2, length).requires_grad_()
    y = module(x)
    assert torch.equal(y[:, :8], torch.zeros_like(y[:, :8]))
    assert (y[:, 8:] != 0).all()
    y.sum().backward()
    for tensor in (x, *module.parameters()):
        assert tensor.grad is None or tensor.grad.isfinite().all()


def test_neither_the_own_chunk_nor_the_one_before_is_read() -> None:
    module = _module(chunk=4, top_k=3)
    x = contract.noise(1, 30)
    # chunk 3: all of chunks 0 and 1, position 11 decides, and the query itself
    assert _read(module, x, 13) == [*range(8), 11, 13]
    # the last chunk is not whole: three of the chunks 0 to 5, position 27 decides
    read = _read(module, x, 29)
    assert read[-2:] == [27, 29]
    assert len(read) == 14
    assert {j // 4 for j in read[:-2]} < set(range(6))


def test_tokens_do_not_steer_their_own_retrieval() -> None:
    module = _module(chunk=4, top_k=1)
    x = contract.noise(1, 32)
    other = x.clone()
    other[:, 29] *= -5
    moved = (module(other) - module(x)).abs().sum(-1)[0].nonzero().flatten().tolist()
    assert moved == [29]


def test_fewer_chunks_than_asked_for_are_those_that_there_are() -> None:
    module = _module(chunk=4, top_k=8)
    x = contract.noise(1, 40)
    q, k, v = (part[0, 0] for part in module.heads(x))
    only = (q[8:12] @ k[:4].T / 4).softmax(-1) @ v[:4]
    assert contract.distance(module(x)[0, 8:12], module.output(only)) < 1e-12
    score = module.retrieval_norm(x[0, 11]) @ torch.stack([x[0, :4].mean(0), x[0, 4:8].mean(0)]).T
    weight = (score / 4).softmax(0)
    each = [(q[12:16] @ k[s : s + 4].T / 4).softmax(-1) @ v[s : s + 4] for s in (0, 4)]
    both = weight[0] * each[0] + weight[1] * each[1]
    assert contract.distance(module(x)[0, 12:16], module.output(both)) < 1e-12


def test_the_residual_is_not_owned() -> None:
    module = _module(chunk=4)
    torch.nn.init.zeros_(module.output.weight)
    y = module(contract.noise(1, 40))
    assert torch.equal(y, torch.zeros_like(y))


@pytest.mark.parametrize(("top_k", "learns"), [(1, False), (2, True)])
def test_the_choice_learns_by_the_weights_of_what_it_chose(top_k: int, learns: bool) -> None:
    module = _module(chunk=4, top_k=top_k)
    module(contract.noise(1, 64)).square().sum().backward()
    assert module.retrieval_norm.weight.grad is not None
    assert bool((module.retrieval_norm.weight.grad.abs() > 1e-9).all()) is learns


def test_rotary_positions_change_nothing() -> None:
    turned = contract.build(NAME, {"chunk": 4}, rotary=True)
    x = contract.noise(1, 40)
    assert torch.equal(turned(x), _module(chunk=4)(x))


def test_noise_moves_the_choice_in_training_only() -> None:
    spec = GroupedCrossAttention(chunk=4, top_k=2, noise=5.0)
    assert spec.noisy
    assert not GroupedCrossAttention().noisy
    module, plain = _module(chunk=4, top_k=2, noise=5.0), _module(chunk=4, top_k=2)
    module.load_state_dict(plain.state_dict(), strict=False)
    x = contract.noise(1, 64)
    assert torch.equal(module(x), plain(x))
    module.train()
    first, second = module(x), module(x)
    # chunks 2 and 3 have no choice, and the weights are those of the scores without noise
    assert contract.distance(first[:, :16], plain(x)[:, :16]) < 1e-12
    assert not torch.equal(first, second)
    everything = _module(chunk=4, top_k=14, noise=5.0).train()
    assert contract.distance(everything(x), everything.eval()(x)) < 1e-12


def test_noise_goes_on_after_a_checkpoint() -> None:
    def fresh() -> GroupedCrossAttentionModule:
        spec = GroupedCrossAttention(chunk=4, top_k=2, noise=5.0)
        module = GroupedCrossAttentionModule(spec, MixerContext(16, 64)).double()
        module.initialise(torch.Generator().manual_seed(0))
        return module

    module, resumed, x = fresh(), fresh(), contract.noise(1, 64)
    module(x)
    resumed.load_state_dict(module.state_dict())
    assert torch.equal(module(x), resumed(x))
    assert set(_module(chunk=4).state_dict()) == {
        "query_key_value.weight",
        "output.weight",
        "retrieval_norm.weight",
    }


@given(length=st.integers(1, 2**48))
def test_cube_roots_are_rounded_up(length: int) -> None:
    root = reach_at("cbrt", length)
    assert (root - 1) ** 3 < length <= root**3


def test_cube_roots_of_cubes_are_exact() -> None:
    for root in (*range(1, 300), 2**16, 2**16 + 1):
        assert reach_at("cbrt", root**3) == root
        assert reach_at("cbrt", root**3 + 1) == root + 1
    assert reach_term("cbrt", None).power == Fraction(1, 3)
    assert reach_term("cbrt", 64).power == Fraction(1, 3)


def test_growth_follows_the_chunk() -> None:
    assert GroupedCrossAttention().flops_form(64).growth.power == Fraction(4, 3)
    assert GroupedCrossAttention(chunk="sqrt").flops_form(64).growth.power == 1.5
    form = GroupedCrossAttention(chunk=16).flops_form(64)
    assert form.growth.power == 2
    assert form.terms[0].coefficient == 2 * 64 / 16**2
    assert GroupedCrossAttention(chunk="N/5").flops_form(64).growth.power == 2
    # 8 chunks of 7 are less than a quarter of 256, and more than a quarter of 220
    assert GroupedCrossAttention().flops_form(64, n_max=256).growth.power == Fraction(4, 3)
    assert GroupedCrossAttention().flops_form(64, n_max=220).growth.power == 2


@pytest.mark.parametrize("k", [1, 2, 3, 7, 49, 98, 1000])
def test_fractions_of_the_length_have_their_exact_form(k: int) -> None:
    spec = GroupedCrossAttention(chunk=f"N/{k}", top_k=4)
    length = 2**20 * 3 * 49 * 1000
    useful = spec.cost(64, length).flops_useful
    assert spec.flops_form(64).at(length) == pytest.approx(useful, rel=1e-5)


def test_no_quadratic_tensor_with_many_heads_and_chunks() -> None:
    module = contract.build(NAME, {"num_heads": 16, "chunk": "sqrt", "top_k": 16})
    assert contract.largest_tensor(module, 4096) < 4096**2 / 2


def test_designs_that_are_the_same_are_merged() -> None:
    nothing = GroupedCrossAttention(chunk="N/1", top_k=1).component()
    assert GroupedCrossAttention(chunk="N/2").canonical() == nothing
    assert GroupedCrossAttention(chunk=32).merged(64) == nothing
    assert GroupedCrossAttention(chunk=32).merged(65).options["chunk"] == 32
    assert GroupedCrossAttention(chunk="N/6").canonical().options["top_k"] == 4
    noisy = GroupedCrossAttention(chunk="N/1", noise=1.0)
    assert noisy.canonical() == noisy.merged(64) == nothing
    assert GroupedCrossAttention(chunk="sqrt", noise=1.0).merged(4) == nothing


@pytest.mark.parametrize(
    ("chunk", "n_max", "most", "longest"),
    [(16, 64, 2, 64), ("N/6", 64, 4, 64), ("sqrt", 64, 6, 64), ("cbrt", 65, 14, 64)],
)
def test_more_chunks_than_there_are_are_not_asked_for(
    chunk: int | str, n_max: int, most: int, longest: int
) -> None:
    # a sequence that is shorter than n_max may have the most
    for top_k in (most, most + 6, 64):
        spec = GroupedCrossAttention(chunk=chunk, top_k=top_k, noise=5.0)
        assert spec.merged(n_max) == GroupedCrossAttention(chunk=chunk, top_k=most).component()
    fewer = GroupedCrossAttention(chunk=chunk, top_k=most - 1, noise=5.0)
    assert fewer.merged(n_max) == fewer.component()
    x = contract.noise(8, longest)
    options = [
        {"top_k": most - 1},
        {"top_k": most - 1, "noise": 5.0},
        {"top_k": most + 6, "noise": 5.0},
    ]
    plain, found = _module(chunk=chunk, top_k=most), []
    for each in options:
        module = _module(chunk=chunk, **each).train()
        module.load_state_dict(plain.state_dict(), strict=False)
        found.append(module(x))
    less, moved, more = found
    y = plain(x)
    assert contract.distance(less, y) > 1e-6
    # noise moves the choice where there is one
    assert contract.distance(moved, less) > 1e-6
    assert contract.distance(more, y) < 1e-12


def test_of_equal_chunks_the_earliest_are_read() -> None:
    module = _module(chunk=4, top_k=2)
    tokens = contract.noise(1, 4)[0]
    x = torch.cat([tokens[torch.arange(4).roll(b)] for b in range(11)])[None]
    assert _read(module, x, 41) == [*range(8), 39, 41]
    assert contract.distance(module(x), module.reference(x)) < 1e-12
    assert contract.distance(contract.decoded(module, x)[0], module(x)) < 1e-12

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from archsearch.canonical import spec_of
from archsearch.mixers._noise import Noise
from archsearch.mixers._selection import chunked_rank, prefix_rank, select
from archsearch.mixers.base import MixerContext
from archsearch.mixers.learned_selection.module import LearnedSelectionModule
from archsearch.mixers.learned_selection.spec import LearnedSelection
from tests.mixers import contract

OPTIONS = [
    {"rule": "prefix_rank", "rank": 3, "cap": 20},
    {
        "num_heads": 4,
        "num_kv_heads": 2,
        "rule": "chunked",
        "rank": 2,
        "chunk": 9,
        "cap": "N/6",
        "sparsity": 0.5,
    },
    {"num_heads": 2, "cap": 5},
    {"num_heads": 2, "cap": 40},
]


def _module(cap: int, penalty: float = 1.0) -> LearnedSelectionModule:
    module = LearnedSelectionModule(LearnedSelection(cap=cap, penalty=penalty), MixerContext(8, 64))
    module.initialise(torch.Generator().manual_seed(0))
    return module


def test_the_first_open_positions_are_served() -> None:
    is_open = torch.tensor([[0, 1, 1, 0, 1], [0, 0, 0, 1, 0]], dtype=torch.bool)
    position, filled = select(is_open, 2)
    assert position.tolist() == [[1, 2], [3, 0]]
    assert filled.tolist() == [[True, True], [True, False]]


def test_nothing_selected_gives_zero_and_no_nan() -> None:
    module = _module(4)
    torch.nn.init.constant_(module.gate.bias, -1.0)
    x = torch.randn(2, 10, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    y = module(x)
    y.sum().backward()
    assert torch.equal(y, torch.zeros_like(y))
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_all_gates_start_open() -> None:
    module = _module(10)
    y = module(torch.randn(1, 10, 8, generator=torch.Generator().manual_seed(0)))
    assert (y.abs().sum(-1) > 0).all()


def test_the_penalty_closes_gates_only_while_too_many_are_open() -> None:
    x = torch.randn(1, 10, 8, generator=torch.Generator().manual_seed(0))
    module = _module(4)
    module(x)
    assert module.penalty is not None
    assert module.penalty > 0
    module.penalty.backward()
    assert module.gate.bias.grad is not None
    assert module.gate.bias.grad > 0
    module.eval()(x)
    assert module.penalty is None
    enough = _module(10)
    enough(x)
    assert enough.penalty == 0
    assert enough.penalty.requires_grad


def test_the_penalty_opens_gates_where_none_is() -> None:
    module = _module(4)
    torch.nn.init.constant_(module.gate.bias, -1.0)
    module(torch.randn(1, 10, 8, generator=torch.Generator().manual_seed(0)))
    assert module.penalty is not None
    module.penalty.backward()
    assert module.gate.bias.grad is not None
    assert module.gate.bias.grad < 0


def test_those_who_hold_the_slots_pay() -> None:
    module = _module(2)
    x = torch.randn(1, 5, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    torch.nn.init.constant_(module.gate.weight, 1e-3)
    torch.nn.init.constant_(module.gate.bias, 1.0)
    module(x)
    assert module.penalty is not None
    (gradient,) = torch.autograd.grad(module.penalty, x)
    assert (gradient[0].abs().sum(-1) > 0).tolist() == [True, True, False, False, False]


@settings(max_examples=60, deadline=None)
@given(
    rank=st.integers(1, 90),
    length=st.integers(1, 300),
    values=st.sampled_from([3, 10**6]),  # few values: many are equal
    seed=st.integers(0, 100),
)
def test_the_rank_is_that_of_a_sort(rank: int, length: int, values: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    score = torch.randint(values, (2, length), generator=generator).double()
    expected = [
        [sum(earlier >= row[i] for earlier in row[:i]) < rank for i in range(length)]
        for row in score.tolist()
    ]
    assert prefix_rank(score, rank).tolist() == expected
    restarted = [prefix_rank(part, rank) for part in score.split(37, dim=1)]
    assert torch.equal(chunked_rank(score, rank, 37), torch.cat(restarted, dim=1))


def test_random_scores_open_about_as_many_gates_as_published() -> None:
    score = torch.rand(200, 1024, generator=torch.Generator().manual_seed(0))
    opened = prefix_rank(score, 32).sum(1).double().mean().item()
    assert opened == pytest.approx(142.42, rel=0.02)  # sum of min(1, 32/i)


def test_rising_scores_open_every_gate_and_the_cap_holds() -> None:
    rising = torch.arange(100.0)[None]
    assert prefix_rank(rising, 4).all()
    assert prefix_rank(-rising, 4).sum() == 4
    for rule in ("threshold", "prefix_rank", "chunked"):
        spec = LearnedSelection(rule=rule, rank=4, chunk=10, cap=7)
        module = LearnedSelectionModule(spec, MixerContext(8, 64))
        module.initialise(torch.Generator().manual_seed(0))
        torch.nn.init.ones_(module.gate.weight)
        x = torch.linspace(0.1, 1, 100)[None, :, None].expand(1, 100, 8)
        served = (module(x).abs().sum(-1) > 0)[0]
        assert served.tolist() == [True] * 7 + [False] * 93
        # nothing beyond the cap is computed either
        assert spec.cost(8, 100).flops_executed == 4 * 107 * 64 + 1600 + 4 * 700 * 8


def test_ranking_makes_no_quadratic_tensor_at_the_longest_rank() -> None:
    module = contract.build("learned_selection", {"rule": "prefix_rank", "rank": 1024})
    assert contract.largest_tensor(module, 4096) < 4096**2 / 4


def test_options_of_other_rules_are_no_difference() -> None:
    spec = LearnedSelection(rank=3, chunk=9)
    assert spec.canonical() == LearnedSelection().component()
    assert "rule" not in spec.canonical().options
    ranked = LearnedSelection(rule="prefix_rank", rank=3, chunk=9)
    assert ranked.canonical().options["rank"] == 3
    assert "chunk" not in ranked.canonical().options
    chunked = LearnedSelection(rule="chunked", rank=30, chunk=20)
    assert chunked.canonical().options["rank"] == 20
    assert spec_of(chunked.merged(20)) == LearnedSelection(rule="prefix_rank", rank=20, cap="N/1")
    assert chunked.merged(21).options["rule"] == "chunked"


def test_noise_moves_the_choice_in_training_only() -> None:
    spec = LearnedSelection(rule="prefix_rank", rank=3, noise=5.0)
    assert spec.noisy
    assert not LearnedSelection().noisy
    module = LearnedSelectionModule(spec, MixerContext(8, 64))
    module.initialise(torch.Generator().manual_seed(0))
    x = torch.randn(1, 64, 8, generator=torch.Generator().manual_seed(1))
    first, second = module(x), module(x)
    assert not torch.equal(first == 0, second == 0)
    # the score itself is not moved: a position served twice gets the same
    both = ((first != 0) & (second != 0)).all(-1)
    assert both.any()
    torch.testing.assert_close(first[both], second[both])
    module.eval()
    assert torch.equal(module(x), module(x))


def test_noise_goes_on_after_a_checkpoint() -> None:
    noise = Noise()
    noise.initialise(torch.Generator().manual_seed(0))
    like = torch.zeros(2, 3)
    first = noise.normal(like)
    saved = copy.deepcopy(noise.state_dict())
    expected = noise.normal(like)
    resumed = Noise()
    resumed.load_state_dict(saved)
    assert torch.equal(resumed.normal(like), expected)
    assert not torch.equal(first, expected)
    other = Noise()
    other.initialise(torch.Generator().manual_seed(1))
    assert not torch.equal(other.normal(like), first)


def test_without_noise_weights_are_those_of_earlier_designs() -> None:
    weights = _module(4).state_dict()
    assert set(weights) == {
        "gate.weight",
        "gate.bias",
        "query.weight",
        "key_value.weight",
        "output.weight",
    }
    assert tuple(weights["key_value.weight"].shape) == (16, 8)


def test_sparsity_presses_on_all_scores() -> None:
    spec = LearnedSelection(cap=4, penalty=0.0, sparsity=2.0)
    module = LearnedSelectionModule(spec, MixerContext(8, 64))
    module.initialise(torch.Generator().manual_seed(0))
    x = torch.randn(1, 10, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    module(x)
    assert module.penalty is not None
    score = torch.tensor(1.0).sigmoid()
    torch.testing.assert_close(module.penalty.detach(), 2 * (score - 0.4))
    module(x[:, :4])  # as many slots as positions
    assert module.penalty == 0


def test_remembered_scores_are_priced() -> None:
    plain = LearnedSelection().cost(64, 1024).state_floats
    assert plain == 2 * 1024 * 64
    ranked = LearnedSelection(rule="prefix_rank", rank=20).cost(64, 1024).state_floats
    assert ranked == plain + 20
    chunked = LearnedSelection(rule="chunked", rank=20, chunk=8).cost(64, 1024).state_floats
    assert chunked == plain + 8

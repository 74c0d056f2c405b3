from __future__ import annotations

import copy
from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from archsearch.canonical import spec_of
from archsearch.mixers._noise import Noise
from archsearch.mixers._selection import chunked_rank, prefix_rank, select, select_in_chunks
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
        "cap": "N/2",
        "sparsity": 0.5,
    },
    {"rule": "chunked", "rank": 2, "chunk": "sqrt", "cap": 4},
    {"num_heads": 2, "cap": 5},
    {"num_heads": 2, "cap": 40},
]


RANKING = [
    {"rule": "prefix_rank", "rank": 2, "cap": 5},
    {"rule": "chunked", "rank": 2, "cap": 5, "chunk": 12},
    {"rule": "chunked", "rank": 2, "cap": 3, "chunk": "sqrt"},
]


def _built(**options: Any) -> LearnedSelectionModule:
    spec = LearnedSelection(**options)
    assert not spec.problems(8)
    module = LearnedSelectionModule(spec, MixerContext(8, 64))
    module.initialise(torch.Generator().manual_seed(0))
    return module


def _module(cap: int, penalty: float = 1.0) -> LearnedSelectionModule:
    return _built(cap=cap, penalty=penalty)


def _scored(module: LearnedSelectionModule, logits: Tensor) -> Tensor:
    """Inputs (B, L, 8) to which the gate gives these logits (B, L)."""
    nn.init.zeros_(module.gate.bias)
    nn.init.zeros_(module.gate.weight)
    nn.init.ones_(module.gate.weight[:, :1])
    x = torch.randn(*logits.shape, 8, generator=torch.Generator().manual_seed(3))
    return torch.cat((logits[..., None], x[..., 1:]), dim=-1)


def _trained_by_penalty(module: LearnedSelectionModule, x: Tensor, rate: float = 0.5) -> Tensor:
    """The scores after some steps on the auxiliary loss alone."""
    optimizer = torch.optim.SGD(module.parameters(), rate)
    for _ in range(200):
        optimizer.zero_grad()
        module(x)
        if module.penalty is not None:
            module.penalty.backward()
            optimizer.step()
    return module.gate(x).sigmoid().squeeze(-1).detach()


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
        module = _built(rule=rule, rank=4, chunk=30, cap=7)
        served = (module(_scored(module, rising + 1)).abs().sum(-1) > 0)[0]
        held = [i % (30 if rule == "chunked" else 100) < 7 for i in range(100)]
        assert served.tolist() == held
        # nothing beyond the cap is computed either
        m = 28 if rule == "chunked" else 7
        cost = module.spec.cost(8, 100)
        assert cost.flops_executed == 4 * (100 + m) * 64 + 1600 + 4 * m * 100 * 8


@pytest.mark.parametrize("options", [{"rule": "prefix_rank"}, {"rule": "chunked", "chunk": 64}])
def test_the_first_positions_up_to_the_rank_are_always_picked(options: dict[str, Any]) -> None:
    module = _built(rank=3, cap=8, **options)
    closed = torch.full((1, 100), -5.0)
    served = (module(_scored(module, closed)).abs().sum(-1) > 0)[0]
    start = 64 if options["rule"] == "chunked" else 100
    assert served.tolist() == [i % start < 3 for i in range(100)]


@pytest.mark.parametrize(("chunk", "size"), [(64, 64), ("sqrt", 32), ("N/8", 128)])
def test_a_perfect_gate_serves_the_queries_of_every_chunk(chunk: int | str, size: int) -> None:
    # as many queries as the rank in each chunk, behind the positions that are always picked
    module = _built(rule="chunked", rank=4, cap=8, chunk=chunk)
    generator = torch.Generator().manual_seed(0)
    query = torch.zeros(2, 1024, dtype=torch.bool)
    for b in range(2):
        for first in range(0, 1024, size):
            late = torch.randperm(size - 4, generator=generator)[:4] + 4 + first
            query[b, late] = True
    query[0, :512] = False  # and where there are none for long
    served = module(_scored(module, torch.where(query, 5.0, -5.0))).abs().sum(-1) > 0
    assert served[query].all()
    first = (torch.arange(1024) % size < 4).expand(2, -1)
    assert torch.equal(served, query | first)


@pytest.mark.parametrize("options", [{"cap": 5}, *RANKING[:2], {**RANKING[1], "cap": "N/3"}])
def test_no_constant_depends_on_the_length(options: dict[str, Any]) -> None:
    module = _built(**options)
    x = torch.randn(2, 100, 8, generator=torch.Generator().manual_seed(0))
    for length in (1, 11, 12, 40):
        torch.testing.assert_close(module(x[:, :length]), module(x)[:, :length])


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(1, 200),
    chunk=st.integers(1, 90) | st.sampled_from(["sqrt", "cbrt", "N/4", "N/1"]),
    cap=st.integers(1, 90) | st.sampled_from(["sqrt", "N/3"]),
    rank=st.integers(1, 20),
    seed=st.integers(0, 100),
)
def test_slots_are_priced(
    length: int, chunk: int | str, cap: int | str, rank: int, seed: int
) -> None:
    spec = LearnedSelection(rule="chunked", chunk=chunk, cap=cap, rank=rank)
    most, size = spec.caps(length)
    score = torch.rand(2, length, generator=torch.Generator().manual_seed(seed))
    picked = chunked_rank(score, rank, size)
    position, filled = select_in_chunks(picked, most, size)
    assert position.shape == filled.shape == (2, spec.served(length))
    assert spec.served(length) <= min(length, most * -(-length // size))
    for b in range(2):
        parts = [part.nonzero()[:most, 0] for part in picked[b].split(size)]
        expected = [i * size + int(j) for i, part in enumerate(parts) for j in part]
        assert position[b][filled[b]].tolist() == expected
    assert position.max() < length
    # rising scores fill them all
    everything = chunked_rank(torch.arange(float(length))[None], rank, size)
    assert select_in_chunks(everything, most, size)[1].all()


def test_the_price_of_chunks() -> None:
    spec = LearnedSelection(rule="chunked", chunk=64, cap=32)
    assert [spec.served(n) for n in (20, 64, 80, 120, 1024)] == [20, 32, 48, 64, 512]
    # a policy is one of the length of a chunk
    assert LearnedSelection(rule="chunked", chunk=64, cap="sqrt").served(1024) == 16 * 8
    assert LearnedSelection(rule="chunked", chunk="sqrt", cap=40).served(1024) == 1024
    assert LearnedSelection(rule="chunked").served(4096) == 4 * 64


@pytest.mark.parametrize(
    ("options", "n_max", "power"),
    [
        ({"chunk": 64, "cap": 17}, None, 2),
        ({"chunk": 64, "cap": 17}, 4096, 2),
        ({"chunk": "sqrt", "cap": 17}, None, "3/2"),
        ({"chunk": "sqrt", "cap": 17}, 8192, "3/2"),
        ({"chunk": "sqrt", "cap": 17}, 512, 2),  # most of each chunk is served up to there
        ({"chunk": "cbrt", "cap": 17}, None, "5/3"),
        ({"chunk": "sqrt", "cap": "sqrt"}, 512, "7/4"),
        ({"chunk": "sqrt", "cap": "N/4"}, 512, 2),
        ({"chunk": "N/4", "cap": 17}, 512, 1),
        ({"chunk": "N/4", "cap": "sqrt"}, 512, "3/2"),
    ],
)
def test_the_growth_of_chunks(options: dict[str, Any], n_max: int | None, power: int | str) -> None:
    spec = LearnedSelection(rule="chunked", **options)
    assert spec.flops_form(64, n_max).growth == (Fraction(power), 0)
    # policies round
    served = spec.served_term(n_max)
    length = 2**24 if n_max is None else n_max
    expected = served.coefficient * length ** float(served.power)
    assert spec.served(length) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("options", RANKING)
def test_the_penalty_is_that_of_the_threshold_alone(options: dict[str, Any]) -> None:
    x = torch.randn(2, 40, 8, generator=torch.Generator().manual_seed(1))
    module = _built(**options, penalty=5.0)
    before = module.gate(x).sigmoid().squeeze(-1).detach()
    assert torch.equal(_trained_by_penalty(module, x), before)
    assert module.penalty is None
    threshold = _built(cap=5, penalty=5.0)
    before = threshold.gate(x).sigmoid().squeeze(-1).detach()
    assert (_trained_by_penalty(threshold, x, 0.02) - before).abs().max() > 0.1


@pytest.mark.parametrize("options", [{"cap": 5, "penalty": 0.0}, *RANKING])
def test_sparsity_stops_at_its_target(options: dict[str, Any]) -> None:
    x = torch.randn(1, 40, 8, generator=torch.Generator().manual_seed(1))
    module = _built(**options, sparsity=1.0)
    target = module.spec.served(40) / 40
    assert module.gate(x).sigmoid().mean() > 1.2 * target
    scores = _trained_by_penalty(module, x)
    assert 0.95 * target < scores.mean() < 1.02 * target
    assert module.penalty is not None


@pytest.mark.parametrize(
    ("options", "most"),
    [
        ({"rule": "prefix_rank", "rank": 8, "cap": 8}, 8),
        ({"rule": "prefix_rank", "rank": 9, "cap": 8}, 8),
        ({"rule": "chunked", "rank": 8, "cap": 8, "chunk": 64}, 8),
        ({"rule": "chunked", "rank": 8, "cap": 8, "chunk": "sqrt"}, 8),
        ({"rule": "chunked", "rank": 8, "cap": 64, "chunk": 8}, 8),
        ({"rule": "chunked", "rank": 8, "cap": "N/8", "chunk": 64}, 8),
        ({"rule": "prefix_rank", "rank": 7, "cap": 8}, None),
        ({"rule": "prefix_rank", "rank": 64, "cap": "sqrt"}, None),
        ({"rule": "chunked", "rank": 7, "cap": 8, "chunk": 64}, None),
        ({"rule": "chunked", "rank": 7, "cap": 64, "chunk": 8}, None),
        ({"rule": "chunked", "rank": 7, "cap": "N/8", "chunk": 64}, None),
        ({"rank": 100, "cap": 8}, None),
        ({"rule": "prefix_rank"}, None),
        ({"rule": "chunked"}, None),
    ],
)
def test_a_rank_that_leaves_the_gate_nothing_is_refused(
    options: dict[str, Any], most: int | None
) -> None:
    problems = LearnedSelection(**options).problems(8)
    assert len(problems) == (most is not None)
    for problem in problems:
        assert f"rank={options['rank']} must be below the {most} positions" in problem
        assert ("each chunk" in problem) == (options["rule"] == "chunked")


class _Ranking(nn.Module):
    def forward(self, x_BLD: Tensor) -> Tensor:
        return prefix_rank(x_BLD[..., 0], 1024)


def test_ranking_makes_no_quadratic_tensor_at_the_longest_rank() -> None:
    assert contract.largest_tensor(_Ranking(), 4096) < 4096**2 / 4


def test_designs_of_the_first_release_are_written_as_then() -> None:
    assert LearnedSelection().component().options == {"num_heads": 1, "cap": 64, "penalty": 1.0}


def test_options_of_other_rules_are_no_difference() -> None:
    spec = LearnedSelection(rank=3, chunk=9)
    assert spec.canonical() == LearnedSelection().component()
    assert LearnedSelection(penalty=0.5).canonical().options["penalty"] == 0.5
    ranked = LearnedSelection(rule="prefix_rank", rank=3, chunk=9, penalty=0.0)
    assert ranked.canonical() == LearnedSelection(rule="prefix_rank", rank=3).component()
    chunked = LearnedSelection(rule="chunked", rank=3, chunk=9, cap=5, penalty=0.0)
    same = LearnedSelection(rule="chunked", rank=3, chunk=9, cap="N/2")
    assert chunked.canonical() == same.canonical()
    assert chunked.canonical().options["penalty"] == 1.0
    assert chunked.canonical().options["chunk"] == 9


def test_chunks_that_are_no_difference() -> None:
    def chunked(**options: Any) -> LearnedSelection:
        return LearnedSelection(rule="chunked", **options)

    one = chunked(chunk="N/1", cap=20)
    assert spec_of(one.canonical()) == LearnedSelection(rule="prefix_rank", cap=20)
    # no cap that holds a whole chunk binds
    wide = [chunked(chunk=40, cap=cap).canonical() for cap in (40, 64, "N/1")]
    assert wide[0] == wide[1] == wide[2]
    assert chunked(chunk=40, cap=39).canonical() != wide[0]
    # nor are chunks shorter than the sequence there
    long = chunked(chunk=40, cap=20)
    assert spec_of(long.merged(40)) == LearnedSelection(rule="prefix_rank", cap=20)
    assert long.merged(41) == long.canonical()
    assert spec_of(long.merged(20)) == LearnedSelection(rule="prefix_rank", cap="N/1")
    grows = chunked(chunk="sqrt", cap=20)
    assert spec_of(grows.merged(400)) == chunked(chunk="sqrt", cap="N/1")
    assert grows.merged(401) == grows.canonical()


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
    module = _built(cap=4, penalty=0.0, sparsity=2.0)
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
    chunked = LearnedSelection(rule="chunked", rank=20, chunk="cbrt").cost(64, 1024).state_floats
    assert chunked == plain + 11

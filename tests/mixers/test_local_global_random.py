from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from archsearch.architecture import Component
from archsearch.mixers import modules
from archsearch.mixers.base import MixerContext
from archsearch.mixers.local_global_random.module import LocalGlobalRandomModule, draw_blocks
from archsearch.mixers.local_global_random.spec import LocalGlobalRandom
from tests.mixers import contract

OPTIONS = [
    {"num_heads": 2, "block_size": 4, "num_global": 2, "num_local": 1, "num_random": 3},
    {"num_heads": 4, "num_kv_heads": 2, "block_size": 5, "num_random": 0},
]


def _module(length: int = 256, layer: int = 0, **options: int) -> LocalGlobalRandomModule:
    spec = LocalGlobalRandom(**options)
    return modules.get(spec.name)(spec, MixerContext(16, length, layer_index=layer, num_layers=2))


@settings(max_examples=100, deadline=None)
@given(
    size=st.integers(4, 9),
    first=st.integers(0, 3),
    near=st.integers(1, 3),
    drawn=st.integers(0, 3),
    length=st.integers(1, 150),
)
def test_pairs_and_state_are_counted_exactly(
    size: int, first: int, near: int, drawn: int, length: int
) -> None:
    options = {"block_size": size, "num_global": first, "num_local": near, "num_random": drawn}
    position = torch.arange(length)
    module = _module(length, **options)
    mask = module.allowed(position[:, None], position, length) & (position[:, None] >= position)
    cost = LocalGlobalRandom(**options).cost(16, length)
    assert cost.flops_useful == 8 * length * 256 + 4 * int(mask.sum()) * 16
    # a random block may be any of the past
    kept = length if drawn else min(length, (first + near) * size)
    assert cost.state_floats == 2 * kept * 16


def test_random_blocks_are_earlier_and_listed_nowhere_else() -> None:
    module = _module(num_heads=2, block_size=4, num_global=2, num_local=3, num_random=4)
    for head in module.random_blocks(256):
        for n, row in enumerate(head.tolist()):
            valid = row[: max(0, n + 1 - 5)]
            assert len(set(valid)) == len(valid)
            assert all(2 <= block <= n - 3 for block in valid)


def test_every_earlier_block_is_drawn_equally_often() -> None:
    drawn = torch.cat([draw_blocks(str(seed), torch.full((500,), 6), 3) for seed in range(4)])
    counts = np.bincount(drawn.flatten(), minlength=6)
    assert counts.sum() == 6000
    assert np.abs(counts - 1000).max() < 100


def test_draws_are_those_of_seed_layer_and_head() -> None:
    options = {"num_heads": 2, "block_size": 4}
    drawn = _module(**options).random_blocks(256)
    assert torch.equal(drawn, _module(**options).random_blocks(256))
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn, _module(layer=1, **options).random_blocks(256))
    assert not torch.equal(drawn, _module(seed=1, **options).random_blocks(256))
    # a longer maximum extends the list and leaves the weights file as it is
    assert torch.equal(drawn, _module(length=1024, **options).random_blocks(256))
    assert torch.equal(drawn, _module(length=8, **options).random_blocks(256))
    assert set(_module().state_dict()) == {"query_key_value.weight", "output.weight"}


def test_two_calls_agree() -> None:
    module = contract.build("local_global_random", {"block_size": 4}).train()
    x = contract.noise(1, 100)
    assert torch.equal(module(x), module(x))


def test_a_block_both_global_and_local_counts_once() -> None:
    # equal scores: the output is the plain mean of all values up to here
    module = contract.build("local_global_random", {"block_size": 4, "num_global": 2})
    module.query_key_value.weight.data[:32].zero_()
    x = contract.noise(1, 40)
    value = module.query_key_value(x)[0, :, 32:]
    for last in (3, 6, 11, 14, 19):
        expected = module.output(value[: last + 1].mean(0))
        assert contract.distance(module(x)[0, last], expected) < 1e-12


def test_growth_is_linear_for_blocks_that_were_tested() -> None:
    spec = LocalGlobalRandom(block_size=16, num_global=1, num_local=2, num_random=1)
    assert spec.flops_form(64, n_max=256).growth.power == 1
    assert spec.flops_form(64, n_max=255).growth.power == 2


def test_blocks_over_everything_are_attention() -> None:
    spec = LocalGlobalRandom(num_heads=2, num_random=0, seed=5)
    attention = Component(name="attention", options={"num_heads": 2})
    assert spec.merged(48) == attention
    assert spec.merged(49) == LocalGlobalRandom(num_heads=2, num_random=0).component()

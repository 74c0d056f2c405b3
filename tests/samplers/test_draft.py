"""Parameters as a stack of layers: moves keep what belongs together, steps go to neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from archsearch.samplers._draft import Draft, neighbour

PLACED: dict[str, BaseDistribution] = {
    name.replace("*", str(i)): distribution
    for i in range(4)
    for name, distribution in {
        "attention_at*": CategoricalDistribution((False, True)),
        "layer*.base.sequence": CategoricalDistribution(("short_conv", "hyena")),
        "layer*.base.short_conv.kernel_size": IntDistribution(2, 5),
        "layer*.placed.sequence": CategoricalDistribution(("window", "based", "attention")),
        "layer*.placed.window.window": CategoricalDistribution((16, 64, 256, "sqrt")),
        "layer*.placed.based.feature_dim": CategoricalDistribution((8, 16)),
    }.items()
}
SPACE: dict[str, BaseDistribution] = {
    **PLACED,
    "depth": CategoricalDistribution((2, 3, 4)),
    "attention_count": CategoricalDistribution((1, 2)),
    **{
        f"positions[depth={depth},count={count}]": CategoricalDistribution(choices)
        for (depth, count), choices in {
            (2, 1): ("0", "1"),
            (3, 1): ("0", "1", "2"),
            (4, 1): ("0", "1", "2", "3"),
            (3, 2): ("0,1", "0,2", "1,2"),
            (4, 2): ("0,1", "0,2", "0,3", "1,2", "1,3", "2,3"),
        }.items()
    },
    "offset[every=2]": IntDistribution(0, 1),
    "offset[every=3]": IntDistribution(0, 2),
}
SPACE = dict(sorted(SPACE.items()))

BASE = {"base.sequence": "short_conv", "base.short_conv.kernel_size": 3}
WINDOW = {"placed.sequence": "window", "placed.window.window": 64}
OTHER = {"placed.sequence": "based", "placed.based.feature_dim": 16}


def stack(*layers: dict[str, Any], **others: Any) -> dict[str, Any]:
    return others | {f"layer{i}.{k}": v for i, layer in enumerate(layers) for k, v in layer.items()}


def layer(params: dict[str, Any], i: int, part: str) -> dict[str, Any]:
    prefix = f"layer{i}."
    return {k[len(prefix) :]: v for k, v in params.items() if k.startswith(prefix + part)}


def mutants(params: dict[str, Any], seeds: int = 400) -> list[dict[str, Any]]:
    found = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        draft = Draft.read(params)
        draft.mutate(SPACE, rng)
        found.append(draft.params(SPACE, rng))
    return found


def test_a_draft_is_what_it_was_read_from() -> None:
    by_count = stack(
        WINDOW, BASE, OTHER, depth=3, attention_count=2, **{"positions[depth=3,count=2]": "0,2"}
    )
    by_stripe = stack(WINDOW, BASE, OTHER, **{"offset[every=2]": 0})
    for params in (by_count, by_stripe):
        read = Draft.read(params).params(SPACE, np.random.default_rng(0))
        assert params.items() <= read.items()


def test_a_moved_layer_keeps_its_mixer_and_options() -> None:
    counted = stack(
        WINDOW, BASE, OTHER, depth=3, attention_count=2, **{"positions[depth=3,count=2]": "0,2"}
    )
    moved = 0
    for mutant in mutants(counted):
        if mutant["depth"] == 3 and mutant["attention_count"] == 2:
            where = mutant["positions[depth=3,count=2]"]
            if where != "0,2":
                moved += 1
                for i, expected in zip(map(int, where.split(",")), (WINDOW, OTHER), strict=True):
                    assert expected.items() <= layer(mutant, i, "placed").items()
                free = ({0, 1, 2} - set(map(int, where.split(",")))).pop()
                assert BASE.items() <= layer(mutant, free, "base").items()
    assert moved > 30


def test_a_flagged_layer_moves_with_its_flag() -> None:
    flagged = stack(WINDOW, BASE, BASE, depth=3) | {f"attention_at{i}": i == 0 for i in range(3)}
    moved = 0
    for mutant in mutants(flagged):
        placed = [i for i in range(3) if mutant[f"attention_at{i}"]]
        if mutant["depth"] == 3 and placed in ([1], [2]):
            moved += 1
            assert WINDOW.items() <= layer(mutant, placed[0], "placed").items()
            assert BASE.items() <= layer(mutant, 0, "base").items()
    assert moved > 20


def test_an_added_layer_is_like_its_neighbour() -> None:
    flagged = stack(WINDOW, BASE, BASE, depth=3) | {f"attention_at{i}": i == 0 for i in range(3)}
    added = [m for m in mutants(flagged) if m["attention_at0"] and m["attention_at1"]]
    assert len(added) > 10
    for mutant in added:
        assert WINDOW.items() <= layer(mutant, 1, "placed").items()


@pytest.mark.parametrize("depth", [2, 4])
def test_a_stack_grows_and_shrinks_by_whole_layers(depth: int) -> None:
    params = stack(
        BASE, WINDOW, {"base.sequence": "hyena"}, depth=3, **{"positions[depth=3,count=1]": "1"}
    )
    resized = [m for m in mutants(params) if m["depth"] == depth]
    assert len(resized) > 10
    kinds = set()
    for mutant in resized:
        placed = int(mutant[f"positions[depth={depth},count=1]"])
        assert WINDOW.items() <= layer(mutant, placed, "placed").items()
        bases = [layer(mutant, i, "base")["base.sequence"] for i in range(depth) if i != placed]
        kinds.add((placed, *bases))
        assert "short_conv" in bases or depth == 2
    assert len(kinds) > 1


def test_one_more_placed_layer_leaves_the_others() -> None:
    params = stack(
        WINDOW, BASE, BASE, depth=3, attention_count=1, **{"positions[depth=3,count=1]": "0"}
    )
    more = [m for m in mutants(params) if m["attention_count"] == 2]
    assert {m["positions[depth=3,count=2]"] for m in more} == {"0,1", "0,2"}
    for mutant in more:
        for i in map(int, mutant["positions[depth=3,count=2]"].split(",")):
            assert WINDOW.items() <= layer(mutant, i, "placed").items()


def test_the_same_question_on_another_condition_has_the_same_answer_if_it_can() -> None:
    rng = np.random.default_rng(0)
    assert Draft.read({"offset[every=2]": 1}).params(SPACE, rng)["offset[every=3]"] == 1
    narrow = Draft.read({"offset[every=3]": 2}).params(SPACE, rng)
    assert "offset[every=2]" not in narrow


def test_what_fits_no_distribution_is_left_out() -> None:
    """Layers of a list have domains of their own."""
    space = {
        "layer0.sequence": CategoricalDistribution(("attention", "base_conv")),
        "layer1.sequence": CategoricalDistribution(("attention", "window")),
        "layer1.size": IntDistribution(1, 3),
    }
    draft = Draft.read({"layer0.sequence": "base_conv", "layer0.size": 9})
    assert draft.params(space, np.random.default_rng(0)) == {"layer0.sequence": "base_conv"}


def test_layers_of_both_parents_are_in_a_cross() -> None:
    one, other = stack(BASE, BASE, BASE, BASE, depth=4), stack(*[{"base.sequence": "hyena"}] * 4)
    seen = set()
    for seed in range(50):
        rng = np.random.default_rng(seed)
        draft = Draft.read(one)
        draft.cross(Draft.read(other), rng)
        params = draft.params(SPACE, rng)
        assert params["depth"] == 4
        seen.add(tuple(params[f"layer{i}.base.sequence"] for i in range(4)))
    assert len(seen) > 10


def test_numbers_among_choices_have_an_order_and_names_have_none() -> None:
    windows = CategoricalDistribution((256, "sqrt", 16, 64))
    rng = np.random.default_rng(0)
    steps = [neighbour(windows, 16, rng) for _ in range(400)]
    assert steps.count(64) > 150
    assert min(steps.count(256), steps.count("sqrt")) > 50
    assert 16 not in steps
    norms = CategoricalDistribution(("a", "b", "c", True))
    named = [neighbour(norms, "a", rng) for _ in range(400)]
    assert {named.count(choice) > 80 for choice in ("b", "c", True)} == {True}


numbers = st.one_of(
    st.tuples(st.integers(1, 50), st.integers(1, 400), st.integers(1, 7)).map(
        lambda t: IntDistribution(t[0], t[0] + t[2] * -(-t[1] // t[2]), step=t[2])
    ),
    st.tuples(st.integers(1, 50), st.integers(1, 4000)).map(
        lambda t: IntDistribution(t[0], t[0] + t[1], log=True)
    ),
    st.tuples(st.floats(-9, 9), st.floats(0.1, 99)).map(
        lambda t: FloatDistribution(t[0], t[0] + t[1])
    ),
    st.tuples(st.floats(1e-6, 9), st.floats(1.1, 999)).map(
        lambda t: FloatDistribution(t[0], t[0] * t[1], log=True)
    ),
    st.tuples(st.integers(-4, 4), st.integers(1, 60)).map(
        lambda t: FloatDistribution(t[0], t[0] + t[1] / 4, step=0.25)
    ),
)


@given(numbers, st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_a_number_moves_by_at_most_a_quarter(
    distribution: IntDistribution | FloatDistribution, where: float, seed: int
) -> None:
    low, high, step = distribution.low, distribution.high, distribution.step
    value: float = low + where * (high - low)
    if step:
        value = min(low + step * round((value - low) / step), high)
    value = min(value, high)
    if isinstance(distribution, IntDistribution):
        value = int(value)
    moved = neighbour(distribution, value, np.random.default_rng(seed))
    assert type(moved) is type(value)
    assert distribution._contains(moved)
    assert moved != value
    ends = np.array([low, high, value, moved], dtype=float)
    least, most, before, after = np.log(ends) if distribution.log else ends
    if abs(moved - value) > (step or 0) * (1 + 1e-9):
        slack = 0.5 * (step or 0) / (min(moved, value) if distribution.log else 1)
        assert abs(after - before) <= (most - least) / 4 + slack + 1e-9


def test_a_size_in_a_logarithmic_range_is_about_halved_or_doubled() -> None:
    rng = np.random.default_rng(0)
    sizes = IntDistribution(16, 1024, log=True)
    moved = np.array([neighbour(sizes, 128, rng) for _ in range(500)])
    assert moved.min() >= 45
    assert moved.max() <= 362
    assert np.mean(moved < 128) == pytest.approx(0.5, abs=0.08)

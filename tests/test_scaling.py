"""Larger designs of the same pattern: shape, size, price, and what cannot be."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from archsearch import scaling
from archsearch.architecture import Architecture, Block, Component
from archsearch.canonical import canonicalise, spec_of
from archsearch.costs import flops_at, num_params, price
from archsearch.errors import InputError
from archsearch.mixers import specs
from archsearch.model import build_model
from archsearch.scaling import METHODS, compared, flops_of, in_short, of_size, params_of, scaled

CONV, WINDOW = Component(name="short_conv"), Component(name="sliding_window")
GATED = Component(name="swiglu")


def small(*blocks: Block, d_model: int = 64) -> Architecture:
    return canonicalise(Architecture(d_model=d_model, blocks=blocks))


HYBRID = small(
    Block(sequence=CONV, channel=GATED),
    Block(sequence=CONV, channel=GATED),
    Block(sequence=WINDOW, channel=GATED),
)


def test_stack_repeats_the_pattern_and_stretch_each_block() -> None:
    stacked = scaled(HYBRID, depth=6, d_model=128, method="stack")
    stretched = scaled(HYBRID, depth=6, d_model=128, method="stretch")
    names = [[b.sequence.name for b in d.blocks] for d in (stacked, stretched)]
    assert names[0] == ["short_conv", "short_conv", "sliding_window"] * 2
    assert names[1] == ["short_conv"] * 4 + ["sliding_window"] * 2
    # heads keep their width: one of 64, then two
    assert [b.sequence.options.get("num_heads") for b in stretched.blocks][-1] == 2
    assert in_short(stacked) == (
        "d128: 2 x (short_conv+swiglu > short_conv+swiglu > sliding_window(num_heads=2)+swiglu)"
    )
    assert in_short(stretched) == (
        "d128: 4 x short_conv+swiglu > 2 x sliding_window(num_heads=2)+swiglu"
    )


@given(depth=st.integers(3, 200), count=st.integers(1, 3))
def test_relative_placement_is_kept(depth: int, count: int) -> None:
    places = scaling.pattern(count, depth, "stretch")
    assert places == sorted(places)
    assert set(places) == set(range(count))
    sizes = [places.count(i) for i in range(count)]
    assert max(sizes) - min(sizes) <= 1
    stacked = scaling.pattern(count, depth, "stack")
    assert all(place == i % count for i, place in enumerate(stacked))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("target", [2e6, 125e6, 350e6, 7e9])
def test_a_target_of_parameters_is_met(method: scaling.Method, target: float) -> None:
    large = of_size(HYBRID, target, params_of(2048), method)
    found = price(large, 2048).params
    assert abs(found / target - 1) < 0.04
    assert found == num_params(large, 2048)
    assert large.d_model % 64 == 0
    if method == "stack":
        assert len(large.blocks) % 3 == 0
    if target >= 125e6:
        assert 20 < large.d_model / len(large.blocks) < 120


def test_heads_are_as_many_as_the_width_allows() -> None:
    def heads(name: str, before: int, after: int, **options: int) -> dict[str, object]:
        one = small(Block(sequence=Component(name=name, options=options)), d_model=before)
        large = scaled(one, depth=1, d_model=after, method="stack")
        return dict(large.blocks[0].sequence.options)

    assert heads("attention", 96, 2944, num_heads=6)["num_heads"] == 184
    grouped = heads("attention", 128, 448, num_heads=4, num_kv_heads=1)
    assert (grouped["num_heads"], grouped["num_kv_heads"]) == (8, 2)
    # at most 256: the next that divides
    assert heads("gla", 64, 4160, num_heads=4)["num_heads"] == 208
    assert heads("masked_mixer", 64, 1024, num_heads=4)["num_heads"] == 8


def test_a_target_of_flops_is_met() -> None:
    large = of_size(HYBRID, 1e12, flops_of(4096), "stack")
    assert abs(flops_at(large, 4096) / 1e12 - 1) < 0.04


def test_350_million_parameters_are_built_without_memory() -> None:
    large = of_size(HYBRID, 350e6, params_of(2048), "stretch")
    with torch.device("meta"):
        model = build_model(large, 50_304, 2048)
    assert all(p.is_meta for p in model.parameters())
    total = sum(p.numel() for p in model.parameters())
    assert total == num_params(large, 2048) + 50_304 * large.d_model


@pytest.mark.parametrize("name", [n for n in specs.names() if not specs.get(n).skipped])
def test_every_mixer_widens(name: str) -> None:
    block = Block(sequence=Component(name=name))
    if specs.get(name).kind == "channel":
        block = Block(sequence=CONV, channel=Component(name=name))
    large = scaled(small(block), depth=4, d_model=512, method="stack")
    assert (large.d_model, len(large.blocks)) == (512, 4)
    for part in (large.blocks[0].sequence, large.blocks[0].channel):
        assert not spec_of(part).problems(512)


def test_beside_full_attention_of_the_same_shape() -> None:
    large = scaled(HYBRID, depth=12, d_model=512, method="stack")
    rows = compared(large, (1024, 65536))
    full = Component(name="attention", options={"num_heads": 8})
    same = small(*[Block(sequence=full, channel=GATED)] * 12, d_model=512)
    assert [row.attention_flops for row in rows] == [flops_at(same, n) for n in (1024, 65536)]
    assert [row.flops for row in rows] == [flops_at(large, n) for n in (1024, 65536)]
    # caches of keys and values, against windows of 64
    assert rows[1].attention_state_floats == 64 * rows[0].attention_state_floats
    assert rows[1].state_floats == rows[0].state_floats


def test_a_depth_must_hold_the_whole_pattern() -> None:
    for method in METHODS:
        with pytest.raises(InputError, match=r"got 2; the design has 3 .* give at least 3"):
            scaled(HYBRID, depth=2, d_model=64, method=method)
    with pytest.raises(InputError, match=r"multiple of 3 such as 3 or 6, or --method stretch"):
        scaled(HYBRID, depth=5, d_model=64, method="stack")
    assert len(scaled(HYBRID, depth=5, d_model=64, method="stretch").blocks) == 5


def test_what_cannot_be_reached_says_what_is_near() -> None:
    with pytest.raises(InputError, match=r"nearest is .* at depth 51\d and width 65536"):
        of_size(HYBRID, 1e20, params_of(2048), "stack")
    # no two heads share a width of 63
    delta = small(Block(sequence=Component(name="delta_net")))
    odd = scaled(delta, depth=2, d_model=63, method="stack")
    assert odd.blocks[0].sequence.options["num_heads"] == 1

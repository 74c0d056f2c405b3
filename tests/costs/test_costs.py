from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from fractions import Fraction

import pytest

from archsearch.architecture import Architecture, Block, Component
from archsearch.canonical import spec_of
from archsearch.costs import (
    Price,
    cost_form,
    crossover_length,
    executed_flops_at,
    flops_at,
    local_exponent,
    num_params,
    price,
    state_floats,
)
from archsearch.costs.growth import LONGEST
from archsearch.errors import InputError
from archsearch.mixers.base import Growth

CROSSING = [
    Component(name="based"),
    Component(name="delta_net"),
    Component(name="landmark_attention"),
    Component(name="native_sparse_attention"),
    Component(name="short_conv", options={"kernel_size": 3}),
    Component(name="attention"),
]
"""Some are dearer than attention at some lengths; two work in blocks, whose price jumps."""


def conv(kernel_size: int = 3) -> Component:
    return Component(name="short_conv", options={"kernel_size": kernel_size})


def attention() -> Component:
    return Component(name="attention")


def window(width: int | str) -> Component:
    return Component(name="sliding_window", options={"window": width})


def design(*sequence: Component, d_model: int = 64, **settings) -> Architecture:
    blocks = tuple(Block(sequence=component) for component in sequence)
    return Architecture(d_model=d_model, blocks=blocks, **settings)


def test_two_layers_by_hand():
    """Convolution of 3 taps and attention at d = 64, N = 256."""
    found = price(design(conv(), attention()), 256, vocab_size=8192)
    projections = 8 * 256 * 64**2
    assert found == Price(
        n_max=256,
        flops=2 * 3 * 256 * 64 + projections + 4 * 64 * (256 * 257 // 2),
        # blocks of 64 queries meet 64, 128, 192 and 256 keys
        flops_executed=2 * 3 * 258 * 64 + projections + 4 * 64 * 64 * (64 + 128 + 192 + 256),
        params=(3 * 64 + 64) + 4 * 64**2 + 3 * 2 * 64,
        embedding_params=8192 * 64,
        state_floats=2 * 64 + 2 * 256 * 64,
        growth=(2, 1, 0),
        growth_text="N^2",
        leading_coefficient=2 * 64,
        form="128 N^2 + 33280 N",
        crossover_length=1,
    )
    assert found.flops == 98_304 + 16_809_984
    assert price(design(conv(), attention()), 256).embedding_params is None


def test_norms_positions_and_channel_mixers():
    plain = design(attention(), attention())
    mixers = 2 * 4 * 64**2
    assert num_params(plain, 512) == mixers + 3 * 2 * 64
    assert num_params(design(attention(), attention(), norm="rmsnorm"), 512) == mixers + 3 * 64
    learned = design(attention(), attention(), position="learned")
    assert num_params(learned, 512) == num_params(plain, 512) + 512 * 64
    rotary = design(attention(), attention(), position="rotary")
    assert num_params(rotary, 512) == num_params(plain, 512)

    wide = Component(name="swiglu")
    block = Block(sequence=attention(), channel=wide)
    with_channel = Architecture(d_model=64, blocks=(block, Block(sequence=attention())))
    added = spec_of(wide).cost(64, 512)
    assert num_params(with_channel, 512) == num_params(plain, 512) + added.params + 2 * 64
    assert flops_at(with_channel, 512) == flops_at(plain, 512) + added.flops_useful
    assert state_floats(with_channel, 512) == state_floats(plain, 512) + added.state_floats
    # channel mixers stand on both sides of the comparison
    assert crossover_length(with_channel) is None


@pytest.mark.parametrize(
    ("sequence", "growth", "text"),
    [
        ((conv(), attention()), Growth(Fraction(2)), "N^2"),
        ((conv(), conv(5)), Growth(Fraction(1)), "N"),
        ((conv(), window(64)), Growth(Fraction(1)), "N"),
        ((conv(), window("sqrt")), Growth(Fraction(3, 2)), "N^1.5"),
        ((conv(), window("N/8")), Growth(Fraction(2)), "N^2"),
        ((window("sqrt"), attention()), Growth(Fraction(2)), "N^2"),
    ],
)
def test_growth_certificates(sequence, growth, text):
    found = price(design(*sequence), 2048)
    assert found.growth_class == growth
    assert found.growth_text == text
    assert (found.growth_class < Growth(Fraction(2))) == (text != "N^2")


@pytest.mark.parametrize(
    ("width", "n_max", "text"),
    [(512, 512, "N^2"), (512, 1024, "N^2"), (513, 2048, "N^2"), (512, 2048, "N")],
)
def test_a_reach_that_was_not_outgrown_is_a_fraction_of_the_length(width, n_max, text):
    assert price(design(window(width)), n_max).growth_text == text


def test_a_window_that_covers_everything_is_attention():
    covering, full = price(design(window(512)), 512), price(design(attention()), 512)
    assert covering == full
    assert covering.crossover_length is None
    # as built, it is linear
    assert cost_form(design(window(512))).growth == Growth(Fraction(1))


@pytest.mark.parametrize(
    "sequence",
    [
        (attention(), attention()),
        (conv(), attention()),
        (conv(), conv()),
        (conv(), window(64)),
        (conv(), window("sqrt")),
        (window("N/8"), window("sqrt")),
    ],
)
def test_doubling_agrees_with_the_certificate(sequence):
    built = design(*sequence)
    form = cost_form(built)
    at = 2**40
    assert local_exponent(built, at) == pytest.approx(float(form.growth.power), abs=1e-3)
    assert form.at(at) == pytest.approx(flops_at(built, at), rel=1e-6)
    leading = form.terms[0]
    assert flops_at(built, at) / at ** float(leading.power) == pytest.approx(
        leading.coefficient, rel=1e-2
    )


def test_a_fit_at_short_lengths_would_certify_attention():
    assert local_exponent(design(attention()), 512) == pytest.approx(1.74, abs=0.005)


def test_crossover():
    assert crossover_length(design(conv(), attention())) == 1
    assert crossover_length(design(attention(), attention())) is None
    assert crossover_length(design(window(16))) == 17
    assert crossover_length(design(attention(), window(300))) == 301
    # between two that are compared, and at one of them
    assert crossover_length(design(window(5000))) == 5001
    assert crossover_length(design(window(4095))) == 4096
    assert crossover_length(design(window(4096))) == 4097
    assert crossover_length(design(window(LONGEST - 1))) == LONGEST
    assert crossover_length(design(window(LONGEST))) is None


def test_what_is_dearer_in_between_crosses_at_the_last_turn():
    # 16 features of order 2 cost more than short attention, and what they cost does not fall
    built = Architecture(
        d_model=64,
        blocks=(Block(sequence=conv()), Block(sequence=Component(name="based"))),
    )
    found = crossover_length(built)
    assert found == 87
    depth = len(built.blocks)
    full = design(*[attention()] * depth)
    cheaper = [flops_at(built, n) < flops_at(full, n) for n in range(1, found + 64)]
    assert cheaper[0]
    assert not cheaper[found - 2]
    assert all(cheaper[found - 1 :])


@pytest.mark.parametrize("d_model", [32, 64])
def test_crossover_is_that_of_all_lengths(d_model):
    """By looking at each length; beyond those that are looked at here the lead only grows."""
    lengths = range(1, 2049)
    flops = [[flops_at(design(m, d_model=d_model), n) for n in lengths] for m in CROSSING]
    full = flops[CROSSING.index(attention())]
    several = [itertools.combinations_with_replacement(range(len(CROSSING)), k) for k in (1, 2, 3)]
    for chosen in itertools.chain(*several):
        ours = [sum(each) for each in zip(*(flops[i] for i in chosen), strict=True)]
        dearer = [n for n in lengths if ours[n - 1] >= len(chosen) * full[n - 1]]
        found = crossover_length(design(*(CROSSING[i] for i in chosen), d_model=d_model))
        if found is not None and found <= 2048:
            assert found == max(dearer, default=0) + 1
        else:
            assert 2048 in dearer


def test_what_is_dearer_at_the_longest_is_not_cheaper_for_good():
    masked = Component(name="masked_mixer", options={"num_heads": 2, "expansion": 2})
    built = design(masked, Component(name="hyena"))
    found = price(built, 512)
    full = design(attention(), attention())
    assert flops_at(built, 512) < flops_at(full, 512)
    assert flops_at(built, LONGEST) >= flops_at(full, LONGEST)
    assert found.crossover_length is None
    assert found.crossover_text == "not for good up to 16,777,216 tokens"
    assert price(design(conv()), 512).crossover_text == "at every length"
    assert price(design(window(1024)), 8192).crossover_text == "from 1,025 tokens on"


def test_executed_is_never_less_than_useful():
    for built in (design(conv(), attention()), design(conv(), window(64), window("sqrt"))):
        for length in (1, 2, 63, 64, 65, 2048):
            assert executed_flops_at(built, length) >= flops_at(built, length)


def test_equal_layers_are_counted_each():
    one, three = design(window(8)), design(window(8), window(8), window(8))
    assert flops_at(three, 100) == 3 * flops_at(one, 100)
    assert state_floats(three, 100) == 3 * state_floats(one, 100)
    assert cost_form(three).at(100) == pytest.approx(3 * cost_form(one).at(100))


def test_large_designs_are_priced_at_once():
    built = design(*[conv(), attention(), window("sqrt"), window(128)] * 12, d_model=1600)
    assert num_params(built, 2048) > 350e6
    price(built, 2048)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        price(built, 2048)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.05


def test_json_round_trip():
    found = price(design(conv(), window("sqrt")), 2048, vocab_size=8192)
    assert Price.model_validate_json(found.model_dump_json()) == found
    assert Price.model_validate(json.loads(json.dumps(found.model_dump(mode="json")))) == found


def test_unknown_mixers_are_refused():
    with pytest.raises(InputError, match="unknown mixer 'atention'; did you mean 'attention'"):
        price(design(Component(name="atention")), 2048)
    with pytest.raises(InputError, match=r"short_conv\.kernel_size: got 1"):
        price(design(conv(1)), 2048)


def test_pricing_needs_no_torch():
    program = (
        "import sys\n"
        "from archsearch.architecture import Architecture, Block, Component\n"
        "from archsearch.costs import price\n"
        "block = Block(sequence=Component(name='attention'))\n"
        "price(Architecture(d_model=64, blocks=(block,)), 2048)\n"
        "print('torch' in sys.modules)\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "False"

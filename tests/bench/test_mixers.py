from __future__ import annotations

import pytest

from archsearch.bench.mixers import MixerBench, Timing, _exponent, measure


def _timing(length: int, milliseconds: float) -> Timing:
    return Timing(length, milliseconds, milliseconds, 0.0, 1.0)


def test_the_exponent_is_that_of_a_sequence() -> None:
    # equal times for equally many tokens: linear; four times the time: quadratic
    assert _exponent([_timing(4096, 10), _timing(16_384, 10)]) == pytest.approx(1.0)
    assert _exponent([_timing(4096, 10), _timing(16_384, 40)]) == pytest.approx(2.0)
    assert _exponent([_timing(1024, 10), _timing(4096, 10)]) is None


def test_a_mixer_is_measured_beside_attention() -> None:
    found = list(measure(["short_conv", "swiglu"], lengths=(64, 256), repeats=1))
    assert [(f.name, f.kind, f.growth) for f in found] == [
        ("short_conv", "sequence", "N"),
        ("swiglu", "channel", "N"),
    ]
    for result in found:
        assert isinstance(result, MixerBench)
        assert [t.length for t in result.timings] == [64, 256]
        for timing in result.timings:
            assert 0 < timing.fastest_milliseconds <= timing.milliseconds
            assert timing.vs_attention > 0
            assert timing.peak_mebibytes >= 0


@pytest.mark.slow
def test_long_sequences_are_not_asked_of_quadratic_mixers() -> None:
    lengths = (64, 8192)
    (dense,) = measure(["masked_mixer"], lengths=lengths, repeats=1)
    (sparse,) = measure(["short_conv"], lengths=lengths, repeats=1)
    assert [t.length for t in dense.timings] == [64]
    assert [t.length for t in sparse.timings] == [64, 8192]

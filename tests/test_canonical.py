"""Equal functions have one form; what a campaign cannot tell apart has one key."""

from __future__ import annotations

import pytest

from archsearch.architecture import Architecture, Block, Component
from archsearch.canonical import campaign_key, canonicalise, check, merged, spec_of
from archsearch.errors import InputError, UnknownNameError


def built(*components: Component, **changes: object) -> Architecture:
    blocks = tuple(Block(sequence=c) for c in components)
    return Architecture(d_model=16, blocks=blocks).model_copy(update=changes)


def window(size: object) -> Component:
    return Component(name="sliding_window", options={"window": size})  # type: ignore[dict-item]


ATTENTION = Component(name="attention")


def test_defaults_are_written_out_and_nothing_changes_twice() -> None:
    short = canonicalise(built(ATTENTION, window(4)))
    assert short.blocks[0].sequence.options["num_heads"] == 1
    assert canonicalise(short) == short
    long = built(Component(name="attention", options={"num_heads": 1}), window(4))
    assert canonicalise(long).digest == short.digest


def test_a_digest_does_not_depend_on_the_order_of_options() -> None:
    one = Component(name="learned_selection", options={"cap": 4, "num_heads": 2})
    other = Component(name="learned_selection", options={"num_heads": 2, "cap": 4})
    assert built(one).digest == built(other).digest


def test_a_window_that_covers_everything_is_attention_in_this_campaign() -> None:
    narrow, wide, full = (canonicalise(built(c)) for c in (window(8), window(64), ATTENTION))
    assert campaign_key(wide, 64) == campaign_key(full, 64)
    assert campaign_key(wide, 65) != campaign_key(full, 65)
    assert campaign_key(narrow, 64) != campaign_key(full, 64)
    assert wide.digest != full.digest
    assert merged(wide, 64).blocks == full.blocks


def test_rotary_without_a_mixer_that_turns_is_none() -> None:
    conv = Component(name="short_conv")
    assert canonicalise(built(conv, position="rotary")).position == "none"
    assert canonicalise(built(conv, ATTENTION, position="rotary")).position == "rotary"
    assert canonicalise(built(conv, position="learned")).position == "learned"


def test_every_reason_is_told_at_once() -> None:
    impossible = built(
        Component(name="atention"),
        Component(name="attention", options={"num_heads": 3}),
        Component(name="short_conv", options={"kernel_size": 0}),
        Component(name="mlp"),
    )
    with pytest.raises(InputError) as caught:
        check(impossible)
    problems = caught.value.problems
    assert [p.split(":")[0] for p in problems] == [f"blocks[{i}].sequence" for i in range(4)]
    assert "did you mean 'attention'?" in problems[0]
    assert "kernel_size" in problems[2]
    assert "'mlp' is a channel mixer" in problems[3]


def test_rotary_needs_even_heads() -> None:
    heads = Component(name="attention", options={"num_heads": 16})
    with pytest.raises(InputError, match="rotary positions need an even head width"):
        check(built(heads, position="rotary"))
    check(built(heads))


def test_specs_refuse_what_they_do_not_know() -> None:
    with pytest.raises(UnknownNameError):
        spec_of(Component(name="no"))
    with pytest.raises(InputError, match=r"short_conv\.odd: got 1"):
        spec_of(Component(name="short_conv", options={"odd": 1}))

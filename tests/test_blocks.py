"""Blocks with two mixers side by side, and with a convolution in front."""

from __future__ import annotations

import json

import pytest
import torch

from archsearch.architecture import Architecture, Block, Component
from archsearch.canonical import campaign_key, canonicalise, has_oracle, readable, spec_of
from archsearch.costs import cost_form, crossover_length, flops_at, num_params, price, state_floats
from archsearch.errors import InputError
from archsearch.mixers import specs
from archsearch.mixers._module import SequenceMixer
from archsearch.mixers.base import MixerContext
from archsearch.model import HybridModel, build_model, initialise

VOCAB, LENGTH = 23, 40
ATTENTION, CONV = Component(name="attention"), Component(name="short_conv")
BASED, NONE = Component(name="based"), Component(name="none")


def of(*blocks: Block, d_model: int = 16, **more: object) -> Architecture:
    return Architecture(d_model=d_model, blocks=blocks, **more)  # type: ignore[arg-type]


def built(design: Architecture, seed: int = 0) -> HybridModel:
    model = build_model(design, VOCAB, LENGTH)
    initialise(model, seed)
    return model.eval()


def tokens(batch: int = 2, length: int = LENGTH) -> torch.Tensor:
    return torch.randint(0, VOCAB, (batch, length), generator=torch.Generator().manual_seed(1))


def test_absent_parts_leave_no_trace_in_plain_data() -> None:
    plain = Block(sequence=CONV)
    assert plain.model_dump() == {
        "sequence": {"name": "short_conv", "options": {}},
        "channel": {"name": "none", "options": {}},
    }
    full = Block(sequence=CONV, parallel=ATTENTION, local_conv=4)
    assert {"parallel", "local_conv"} <= full.model_dump().keys()
    for block in (plain, full):
        assert Block.model_validate(json.loads(block.model_dump_json())) == block
    assert str(full) == "conv4:(short_conv & attention)"


def test_a_digest_from_before_these_parts_holds() -> None:
    design = canonicalise(of(Block(sequence=CONV), Block(sequence=ATTENTION), d_model=64))
    assert design.digest == "7cc3d79820c6767e"


def test_a_sum_has_no_order_and_none_adds_nothing() -> None:
    one = canonicalise(of(Block(sequence=ATTENTION, parallel=CONV)))
    other = canonicalise(of(Block(sequence=CONV, parallel=ATTENTION)))
    assert one == other
    assert one.digest != canonicalise(of(Block(sequence=ATTENTION))).digest
    assert canonicalise(of(Block(sequence=ATTENTION, parallel=NONE))) == canonicalise(
        of(Block(sequence=ATTENTION))
    )
    window = Component(name="sliding_window", options={"window": 64})
    assert campaign_key(of(Block(sequence=window, parallel=CONV)), 32) == campaign_key(one, 32)
    assert readable(one) == readable(other)


def test_only_a_sequence_mixer_stands_in_parallel() -> None:
    with pytest.raises(InputError, match=r"blocks\[0\]\.parallel: 'mlp' is a channel mixer"):
        build_model(of(Block(sequence=CONV, parallel=Component(name="mlp"))), VOCAB, LENGTH)


def test_the_sum_is_gated_channel_by_channel() -> None:
    model = built(of(Block(sequence=CONV, parallel=ATTENTION)))
    block = model.blocks[0]
    x = torch.randn(2, 9, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        block.gates.copy_(torch.randn(2, 16, generator=torch.Generator().manual_seed(2)))
        u = block.norm(x)
        # the canonical order is by name
        expected = x + block.gates[0] * block.sequence(u) + block.gates[1] * block.parallel(u)
        torch.testing.assert_close(block(x, tokens(2, 9)), expected)
    assert block.sequence.name == "attention"


def test_the_convolution_stands_in_front_of_both() -> None:
    model = built(of(Block(sequence=CONV, parallel=ATTENTION, local_conv=3)))
    block = model.blocks[0]
    x = torch.randn(2, 9, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        u = block.local_conv.taps(block.norm(x))
        expected = x + block.gates[0] * block.sequence(u) + block.gates[1] * block.parallel(u)
        torch.testing.assert_close(block(x, tokens(2, 9)), expected)


def test_the_price_is_the_sum_of_the_parts() -> None:
    block = Block(
        sequence=ATTENTION, parallel=BASED, local_conv=4, channel=Component(name="swiglu")
    )
    design = of(block, block, d_model=64)
    parts = [specs.get(name)().cost(64, 512) for name in ("attention", "based", "swiglu")]
    parts.append(specs.get("short_conv")(kernel_size=4).cost(64, 512))
    assert flops_at(design, 512) == 2 * sum(part.flops_useful for part in parts)
    assert state_floats(design, 512) == 2 * sum(part.state_floats for part in parts)
    # 2 norms of 2d a block and one at the end; 2d gates a block
    norms_and_gates = 5 * 2 * 64 + 2 * 2 * 64
    assert num_params(design, 512) == 2 * sum(part.params for part in parts) + norms_and_gates
    counted = sum(
        p.numel() for n, p in built(design).named_parameters() if not n.startswith("embedding")
    )
    assert counted == num_params(design, LENGTH)
    assert str(cost_form(design).growth) == "N^2"
    assert price(design, 512).growth_text == "N^2"


def test_a_block_of_two_mixers_is_compared_with_one_attention() -> None:
    two = of(Block(sequence=ATTENTION, parallel=CONV), d_model=64)
    assert crossover_length(two) is None
    convs = of(Block(sequence=CONV, parallel=CONV, local_conv=3), d_model=64)
    assert crossover_length(convs) == 1


@pytest.mark.parametrize("position", ["none", "learned", "rotary"])
def test_token_by_token_is_all_at_once(position: str) -> None:
    design = of(
        Block(sequence=CONV, channel=Component(name="mlp")),
        Block(sequence=ATTENTION, parallel=BASED, local_conv=4),
        Block(sequence=Component(name="sliding_window", options={"window": 8, "num_heads": 2})),
        position=position,
    )
    model = built(design).double()
    given = tokens()
    with torch.no_grad():
        expected = model(given)
        state = model.initial_state(2, LENGTH)
        for i in range(LENGTH):
            logits, state = model.step(given[:, i], state)
            torch.testing.assert_close(logits, expected[:, i], rtol=1e-9, atol=1e-9)
    assert state.num_read == LENGTH
    assert state.floats == state_floats(canonicalise(design), LENGTH)


class Whole(SequenceMixer):
    """Has no step form."""


def test_blocks_of_two_widths_are_no_model() -> None:
    narrow = built(canonicalise(Architecture(d_model=8, blocks=(Block(sequence=CONV),))))
    wide = built(of(Block(sequence=CONV)))
    blocks = [*wide.blocks, *narrow.blocks]
    with pytest.raises(ValueError, match=r"one width; got \[8, 16\]"):
        HybridModel(blocks, vocab_size=8, max_length=8, norm="layernorm")
    with pytest.raises(ValueError, match=r"one width; got \[\]"):
        HybridModel([], vocab_size=8, max_length=8, norm="layernorm")


def test_what_cannot_decode_says_so() -> None:
    model = built(of(Block(sequence=ATTENTION)))
    model.blocks[0].sequence = Whole(spec_of(ATTENTION), MixerContext(16, LENGTH))
    with pytest.raises(InputError, match=r"blocks\[0\]\.sequence: 'attention' cannot read"):
        model.initial_state(1, LENGTH)
    with pytest.raises(ValueError, match=f"length {LENGTH + 1} exceeds"):
        model.initial_state(1, LENGTH + 1)


def test_an_oracle_is_known_wherever_it_stands() -> None:
    told = Component(name="programmatic_selection")
    assert has_oracle(of(Block(sequence=told)))
    assert has_oracle(of(Block(sequence=CONV), Block(sequence=CONV, parallel=told)))
    assert not has_oracle(of(Block(sequence=ATTENTION)))


def test_a_mixer_that_reads_tokens_is_given_them() -> None:
    told = Component(name="programmatic_selection")
    for block in (Block(sequence=told), Block(sequence=CONV, parallel=told)):
        model = built(of(block))
        given = tokens()
        given[:, 20] = given[:, 3] = 5
        changed = given.clone()
        # another first occurrence: position 20 has nothing to look up any more
        changed[:, 3] = 6
        changed[changed == 5] = 6
        assert not torch.equal(model(given)[:, 20], model(changed)[:, 20])

"""Every mixer makes a model that is counted as priced and drawn from one seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from archsearch.architecture import Architecture, Block, Component
from archsearch.canonical import canonicalise
from archsearch.costs.params import embedding_params, num_params
from archsearch.errors import InputError
from archsearch.mixers import specs
from archsearch.model import build_model, initialise
from tests.helpers import design

VOCAB, LENGTH, WIDTH = 64, 16, 16


def designs() -> list[Architecture]:
    """Each mixer alone and behind a convolution, with each position and norm."""
    found = []
    for name in specs:
        component = Component(name=name)
        if specs.get(name).kind == "sequence":
            blocks = (Block(sequence=Component(name="short_conv")), Block(sequence=component))
        else:
            blocks = (Block(sequence=Component(name="attention"), channel=component),)
        for position, norm in (
            ("none", "layernorm"),
            ("learned", "rmsnorm"),
            ("rotary", "layernorm"),
        ):
            plain: dict[str, Any] = {"d_model": WIDTH, "position": position, "norm": norm}
            found.append(canonicalise(Architecture(**plain, blocks=blocks)))
    return found


PRESCRIBED = {
    "key_mix",  # RWKV channel mixing: a ramp over the channels
    "gate_mix",
    "receptance_mix",
    "log_decay",  # RWKV v4: a ramp over the channels
    "bonus",
    "value_mix",
    "filter.features",  # Hyena: positions
    "ssm.frequency",  # H3: S4D-Lin
    "log_rate",  # Mamba: 1, .., s
}
"""Parameters whose start is published as fixed by some mixer: the same for every seed."""

every_design = pytest.mark.parametrize("architecture", designs(), ids=str)


@every_design
def test_parameters_are_counted_as_priced(architecture: Architecture) -> None:
    model = build_model(architecture, VOCAB, LENGTH)
    counted = sum(p.numel() for p in model.parameters())
    assert counted == num_params(architecture, LENGTH) + embedding_params(architecture, VOCAB)


@every_design
def test_one_seed_decides_every_parameter(architecture: Architecture) -> None:
    models = [build_model(architecture, VOCAB, LENGTH) for _ in range(3)]
    with torch.no_grad():
        for parameter in models[0].parameters():
            parameter.fill_(torch.nan)
    for model, seed in zip(models, (1, 1, 2), strict=True):
        initialise(model, seed)
    for name, parameter in models[0].named_parameters():
        assert torch.isfinite(parameter).all(), name
    for (name, one), same, other in zip(
        models[0].named_parameters(), models[1].parameters(), models[2].parameters(), strict=True
    ):
        assert torch.equal(one, same), name
        constant = bool((one == one.flatten()[0]).all())
        prescribed = name.split(".", 3)[-1] in PRESCRIBED
        assert constant or prescribed or not torch.equal(one, other), name
    tokens = torch.randint(0, VOCAB, (2, LENGTH), generator=torch.Generator().manual_seed(0))
    logits = [model.eval()(tokens) for model in models]
    assert logits[0].shape == (2, LENGTH, VOCAB)
    assert torch.equal(logits[0], logits[1])
    assert not torch.equal(logits[0], logits[2])


@every_design
def test_building_leaves_the_callers_generators_alone(architecture: Architecture) -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].tobytes()  # type: ignore[index, union-attr]  # noqa: NPY002
    initialise(build_model(architecture, VOCAB, LENGTH), 3)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tobytes() == before[1]  # type: ignore[index, union-attr]  # noqa: NPY002


def test_the_model_is_causal_and_reads_shorter_sequences() -> None:
    model = build_model(design("short_conv", "attention", d_model=8), VOCAB, LENGTH)
    initialise(model, 0)
    model.eval()
    tokens = torch.arange(LENGTH)[None]
    changed = tokens.clone()
    changed[0, 9:] += 1
    torch.testing.assert_close(model(tokens)[:, :9], model(changed)[:, :9], rtol=0, atol=0)
    torch.testing.assert_close(model(tokens)[:, :5], model(tokens[:, :5]))
    with pytest.raises(ValueError, match="exceeds the model's max_length 16"):
        model(torch.zeros(1, LENGTH + 1, dtype=torch.int64))


@pytest.mark.parametrize(
    "last",
    [
        Block(sequence=Component(name="attention")),
        Block(sequence=Component(name="short_conv"), channel=Component(name="swiglu")),
        Block(sequence=Component(name="based"), channel=Component(name="rwkv_channel_mix")),
        Block(
            sequence=Component(name="sliding_window", options={"window": 5}),
            parallel=Component(name="programmatic_selection"),
            local_conv=3,
        ),
    ],
    ids=lambda block: f"{block.sequence}, {block.parallel}, {block.channel}",
)
def test_hidden_states_at_positions_are_those_of_all(last: Block) -> None:
    first = Block(sequence=Component(name="short_conv"))
    model = build_model(Architecture(d_model=8, blocks=(first, last)), VOCAB, LENGTH).double()
    initialise(model, 0)
    tokens = torch.randint(0, VOCAB, (3, LENGTH), generator=torch.Generator().manual_seed(0))
    positions = torch.tensor([[1, 15], [0, 3], [7, 7]])
    picked = model.hidden_at(tokens, positions)
    everywhere = model.hidden(tokens)
    expected = torch.stack([everywhere[b, p] for b in range(3) for p in positions[b]])
    torch.testing.assert_close(picked, expected, rtol=0, atol=1e-12)
    few = model.hidden_at(tokens, positions[:, :1])
    torch.testing.assert_close(few, expected[::2], rtol=0, atol=1e-12)


def test_the_head_is_the_embedding() -> None:
    model = build_model(design("short_conv", d_model=8), VOCAB, LENGTH)
    initialise(model, 0)
    tokens = torch.zeros(1, 4, dtype=torch.int64)
    torch.testing.assert_close(model(tokens), model.hidden(tokens) @ model.embedding.weight.T)
    assert sum("embedding" in n for n, _ in model.named_parameters()) == 1


@pytest.mark.parametrize("position", ["none", "learned", "rotary"])
def test_no_more_tokens_are_read_than_the_model_is_built_for(position: str) -> None:
    model = build_model(design("attention", "mamba2", d_model=16, position=position), VOCAB, LENGTH)
    initialise(model, 0)
    state, token = model.initial_state(1, LENGTH), torch.zeros(1, dtype=torch.int64)
    for _ in range(LENGTH):
        _, state = model.step(token, state)
    with pytest.raises(ValueError, match="length 17 exceeds the model's max_length 16"):
        model.step(token, state)


def test_an_impossible_design_is_refused_with_every_reason() -> None:
    blocks = (Block(sequence=Component(name="atention")), Block(sequence=Component(name="mlp")))
    with pytest.raises(InputError) as caught:
        build_model(Architecture(d_model=8, blocks=blocks), VOCAB, LENGTH)
    assert len(caught.value.problems) == 2

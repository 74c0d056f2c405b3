from __future__ import annotations

import torch

from archsearch.architecture import Architecture, Block, Component
from archsearch.mixers.zoology_identity.spec import ZoologyIdentity
from archsearch.model import build_model, initialise


def test_costs_nothing() -> None:
    cost = ZoologyIdentity().cost(64, 256)
    assert (cost.flops_executed, cost.params, cost.state_floats) == (0, 0, 0)


def test_adds_the_normalised_stream_where_none_leaves_it() -> None:
    tokens = torch.arange(8)[None]
    streams = {}
    for channel in ("none", "zoology_identity"):
        block = Block(sequence=Component(name="short_conv"), channel=Component(name=channel))
        model = build_model(Architecture(d_model=16, blocks=(block,)), vocab_size=8, max_length=8)
        initialise(model, seed=1)
        streams[channel] = model.blocks[0](model.embedding(tokens), tokens)
    plain = streams["none"]
    normed = torch.nn.functional.layer_norm(plain, (16,))
    torch.testing.assert_close(streams["zoology_identity"], plain + normed)
    assert not torch.allclose(streams["zoology_identity"], plain, atol=0.1)

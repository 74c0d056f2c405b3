from __future__ import annotations

import pytest
import torch

from archsearch.architecture import Architecture, Block, Component
from archsearch.costs import num_params
from archsearch.mixers.masked_mixer.spec import MaskedMixer
from archsearch.model import build_model
from tests.mixers import contract

OPTIONS = [{"num_heads": 2, "expansion": 2}]


def test_price() -> None:
    cost = [MaskedMixer().cost(64, n) for n in (64, 256, 1024)]
    executed = [c.flops_executed / 1e6 for c in cost]
    assert executed == pytest.approx((0.524, 8.389, 134.218), abs=5.1e-4)
    assert cost[2].flops_useful == 1024 * 1025 * 64
    assert cost[2].params == 1024**2 + 1024
    assert cost[2].state_floats == 1024 * 64
    heads = MaskedMixer(num_heads=4).cost(64, 256)
    assert heads.flops_executed == 4 * 256 * 64**2 + 2 * 256**2 * 64
    assert MaskedMixer().flops_form(64).growth.power == 2


@pytest.mark.parametrize("options", [{}, {"expansion": 3}, {"num_heads": 2}])
def test_upper_triangle_keeps_its_value_and_gets_no_gradient(options: dict[str, int]) -> None:
    module = contract.build("masked_mixer", options).train()
    before = module.weight.detach().clone()
    longest = contract.MAX_LENGTH
    module(contract.noise(2, longest)).square().sum().backward()
    assert torch.equal(module.weight, before)
    past = torch.ones(longest, longest).tril().bool()
    weights = [module.weight, *([module.hidden_weight] if module.expansion else [])]
    for weight in weights:
        assert (weight.grad[..., ~past] == 0).all()
        # every block of an expansion is read, each weight of its triangle
        assert (weight.grad[..., past] != 0).all()


def test_weights_are_not_normalised() -> None:
    """A softmax behind the mask would give future positions a weight of exp(0)."""
    module = contract.build("masked_mixer", {})
    with torch.no_grad():
        module.weight.zero_()
        module.bias.zero_()
        assert module(contract.noise(1, 20)).abs().max() == 0


def test_shorter_sequences_use_the_first_rows() -> None:
    module = contract.build("masked_mixer", {"num_heads": 2, "expansion": 2})
    x = contract.noise(2, 100)
    torch.testing.assert_close(module(x[:, :40]), module(x)[:, :40])


def test_parameters_are_priced_at_the_longest_length_of_the_model() -> None:
    block = Block(sequence=Component(name="masked_mixer"), channel=Component(name="none"))
    design = Architecture(d_model=16, blocks=(block,))
    model = build_model(design, vocab_size=8, max_length=40)
    counted = sum(p.numel() for p in model.parameters()) - model.embedding.weight.numel()
    assert counted == num_params(design, max_length=40)
    with pytest.raises(ValueError, match="exceeds"):
        model(torch.zeros(1, 41, dtype=torch.long))

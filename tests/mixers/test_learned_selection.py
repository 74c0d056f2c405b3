from __future__ import annotations

import torch

from archsearch.mixers.base import MixerContext
from archsearch.mixers.learned_selection.module import LearnedSelectionModule, select
from archsearch.mixers.learned_selection.spec import LearnedSelection

OPTIONS = [
    {"num_heads": 2, "cap": 5},
    {"num_heads": 2, "cap": 40},
]


def _module(cap: int, penalty: float = 1.0) -> LearnedSelectionModule:
    module = LearnedSelectionModule(LearnedSelection(cap=cap, penalty=penalty), MixerContext(8, 64))
    module.initialise(torch.Generator().manual_seed(0))
    return module


def test_the_first_open_positions_are_served() -> None:
    is_open = torch.tensor([[0, 1, 1, 0, 1], [0, 0, 0, 1, 0]], dtype=torch.bool)
    position, filled = select(is_open, 2)
    assert position.tolist() == [[1, 2], [3, 0]]
    assert filled.tolist() == [[True, True], [True, False]]


def test_nothing_selected_gives_zero_and_no_nan() -> None:
    module = _module(4)
    torch.nn.init.constant_(module.gate.bias, -1.0)
    x = torch.randn(2, 10, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    y = module(x)
    y.sum().backward()
    assert torch.equal(y, torch.zeros_like(y))
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_all_gates_start_open() -> None:
    module = _module(10)
    y = module(torch.randn(1, 10, 8, generator=torch.Generator().manual_seed(0)))
    assert (y.abs().sum(-1) > 0).all()


def test_the_penalty_closes_gates_only_while_too_many_are_open() -> None:
    x = torch.randn(1, 10, 8, generator=torch.Generator().manual_seed(0))
    module = _module(4)
    module(x)
    assert module.penalty is not None
    assert module.penalty > 0
    module.penalty.backward()
    assert module.gate.bias.grad is not None
    assert module.gate.bias.grad > 0
    module.eval()(x)
    assert module.penalty is None
    enough = _module(10)
    enough(x)
    assert enough.penalty == 0
    assert enough.penalty.requires_grad


def test_the_penalty_opens_gates_where_none_is() -> None:
    module = _module(4)
    torch.nn.init.constant_(module.gate.bias, -1.0)
    module(torch.randn(1, 10, 8, generator=torch.Generator().manual_seed(0)))
    assert module.penalty is not None
    module.penalty.backward()
    assert module.gate.bias.grad is not None
    assert module.gate.bias.grad < 0


def test_those_who_hold_the_slots_pay() -> None:
    module = _module(2)
    x = torch.randn(1, 5, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    torch.nn.init.constant_(module.gate.weight, 1e-3)
    torch.nn.init.constant_(module.gate.bias, 1.0)
    module(x)
    assert module.penalty is not None
    (gradient,) = torch.autograd.grad(module.penalty, x)
    assert (gradient[0].abs().sum(-1) > 0).tolist() == [True, True, False, False, False]

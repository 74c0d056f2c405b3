"""The chunked engine by itself, at decays of every strength."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from archsearch.mixers._linear_attention import (
    carry,
    channel_decayed_attention,
    decayed_attention,
    dense_decayed_attention,
    recurrent_attention,
)
from archsearch.mixers._linear_channel import channel_scores

Attention = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def _streams(length: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(length)
    q, k = torch.randn(2, 2, 3, length, 6, generator=generator, dtype=dtype)
    return q, k, torch.randn(2, 3, length, 5, generator=generator, dtype=dtype)


def _decays(q: Tensor, strength: float, *, per_channel: bool) -> Tensor:
    """Logarithms between almost 0 and many times ``strength``, weak ones beside strong ones."""
    generator = torch.Generator().manual_seed(1)
    width = q.shape[-1] if per_channel else 1
    noise = torch.randn(*q.shape[:-1], width, generator=generator, dtype=q.dtype)
    return -strength * (2 * noise).exp()


def _per_head(q: Tensor, k: Tensor, v: Tensor, log: Tensor) -> Tensor:
    return decayed_attention(q, k, v, log[..., 0])


def _gradients(form: Attention, *inputs: Tensor) -> list[Tensor]:
    leaves = [x.clone().requires_grad_() for x in inputs]
    y = form(*leaves)
    weight = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)
    return [y.detach(), *torch.autograd.grad(y, leaves, weight)]


@pytest.mark.parametrize(
    ("form", "per_channel"), [(_per_head, False), (channel_decayed_attention, True)]
)
@pytest.mark.parametrize("strength", [1e-6, 0.05, 1.0, 30.0, 3000.0])
@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 64, 65, 200])
def test_equals_the_recurrence_at_every_strength(
    form: Attention, per_channel: bool, strength: float, length: int
) -> None:
    q, k, v = _streams(length)
    log = _decays(q, strength, per_channel=per_channel)
    found, expected = (_gradients(f, q, k, v, log) for f in (form, recurrent_attention))
    for a, b in zip(found, expected, strict=True):
        assert float((a - b).abs().max()) < 1e-9 * max(1.0, float(b.abs().max()))


@pytest.mark.parametrize(
    ("form", "per_channel"), [(_per_head, False), (channel_decayed_attention, True)]
)
def test_decay_that_overflows_the_factored_form(form: Attention, per_channel: bool) -> None:
    q, k, v = _streams(128, torch.float32)
    log = _decays(q, 4.0, per_channel=per_channel)
    assert not (-log.cumsum(-2)[:, :, :64]).exp().isfinite().all()  # exp(-c), as factored
    found = _gradients(form, q, k, v, log)
    assert all(x.isfinite().all() for x in found)
    expected = _gradients(recurrent_attention, *(x.double() for x in (q, k, v, log)))
    for a, b in zip(found, expected, strict=True):
        assert float((a - b).abs().max()) < 1e-4 * max(1.0, float(b.abs().max()))


def test_weak_decay_behind_a_very_strong_one_keeps_its_digits() -> None:
    q, k, v = _streams(64, torch.float32)
    for form, per_channel in ((_per_head, False), (channel_decayed_attention, True)):
        log = torch.full_like(q if per_channel else q[..., :1], -0.01)
        log[:, :, 3] = -1e6
        exact = recurrent_attention(*(x.double() for x in (q, k, v, log)))
        assert float((form(q, k, v, log) - exact).abs().max()) < 1e-3


def test_constant_decay_is_one_number_per_head() -> None:
    q, k, v = _streams(150)
    log_H = torch.tensor([-0.5, -0.01, 0.0], dtype=torch.float64)
    constant = log_H[None, :, None]
    y = decayed_attention(q, k, v, constant)
    torch.testing.assert_close(y, dense_decayed_attention(q, k, v, constant))
    each = constant.expand(2, 3, 150)
    torch.testing.assert_close(y, decayed_attention(q, k, v, each))
    torch.testing.assert_close(y, recurrent_attention(q, k, v, each[..., None]))


def test_heads_may_share_queries_and_keys() -> None:
    q, k, v = _streams(100)
    log = _decays(q, 0.1, per_channel=False)

    def shared(q: Tensor, k: Tensor, v: Tensor, log: Tensor) -> Tensor:
        return decayed_attention(q[:, :1], k[:, :1], v, log[..., 0])

    def copied(q: Tensor, k: Tensor, v: Tensor, log: Tensor) -> Tensor:
        return recurrent_attention(q[:, :1].expand_as(q), k[:, :1].expand_as(k), v, log)

    for a, b in zip(
        _gradients(shared, q, k, v, log), _gradients(copied, q, k, v, log), strict=True
    ):
        torch.testing.assert_close(a, b)


def test_custom_gradients_are_those_of_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, 32, 2, generator=generator, dtype=torch.float64)
    total = -torch.rand(1, 32, 2, generator=generator, dtype=torch.float64).cumsum(1)
    inputs = [x.requires_grad_() for x in (q, k, total)]
    assert torch.autograd.gradcheck(channel_scores, inputs)
    summary = torch.randn(1, 2, 3, 2, 2, generator=generator, dtype=torch.float64)
    decay = torch.rand(1, 2, 3, 2, 1, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(carry, [decay.requires_grad_(), summary.requires_grad_()])

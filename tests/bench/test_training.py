from __future__ import annotations

import math

import pytest
import torch

from archsearch.architecture import Architecture, Block, Component
from archsearch.bench import _naive
from archsearch.bench.training import (
    NAIVE,
    NAIVE_LABELLED,
    OURS,
    TRAINERS,
    Subject,
    measure,
    request_of,
)
from archsearch.tasks.mqar import Cell
from archsearch.training import PHASES, start, train_step


def design(*mixers: str) -> Architecture:
    blocks = tuple(Block(sequence=Component(name=name)) for name in mixers)
    return Architecture(d_model=16, blocks=blocks)


@pytest.mark.parametrize("labelled_only", [False, True])
@pytest.mark.parametrize(
    "mixers", [("short_conv", "attention"), ("short_conv", "based"), ("attention", "short_conv")]
)
def test_ten_steps_are_those_of_the_naive_trainer(
    mixers: tuple[str, ...], labelled_only: bool
) -> None:
    # 10 pairs of 80 tokens are few to the last layer, and 80 tokens more than one block
    subject = Subject(design(*mixers), Cell(length=80, pairs=10), batch=6, precision="float32")
    ours, theirs = start(request_of(subject)), start(request_of(subject))
    optimizer = _naive.optimizer_of(theirs.model, theirs.config)
    first = None
    for number in range(10):
        batch = theirs.data.batch(number)
        loss = _naive.step(
            theirs.model, optimizer, batch, theirs.config, number, labelled_only=labelled_only
        )
        first = first or loss
        assert train_step(ours) == pytest.approx(loss, abs=1e-5)
    assert abs(loss - first) > 1e-3, "nothing was learnt, so equal losses mean nothing"
    for mine, other in zip(ours.model.parameters(), theirs.model.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-4)


def test_batches_of_the_published_configuration() -> None:
    found = [_naive.published_batch(length) for length in (16, 64, 128, 256, 512, 2048, 2**20)]
    assert found == [512, 512, 512, 256, 128, 32, 1]


def test_trainers_are_measured_in_turns() -> None:
    subject = Subject(design("short_conv", "attention"), Cell(length=16, pairs=2), batch=4)
    (found,) = measure([subject], repeats=1)
    assert found.failures == ()
    assert [t.trainer for t in found.trainers] == list(TRAINERS)
    assert [t.batch for t in found.trainers] == [4, 512, 512]
    ours = found.trainers[0]
    assert tuple(ours.phase_milliseconds) == PHASES
    assert 0 < sum(ours.phase_milliseconds.values()) <= 1.5 * ours.step_milliseconds
    assert ours.start_milliseconds > 0
    assert ours.tokens_per_second == pytest.approx(64e3 / ours.step_milliseconds)
    # 3 x (forward + head): the design at 16 tokens, and 2 labelled positions
    per_sequence = 3 * (2 * 3 * 16 * 16 + 8 * 16 * 16**2 + 4 * 136 * 16 + 2 * 2 * 8192 * 16)
    assert ours.flops_per_second == pytest.approx(4e3 * per_sequence / ours.step_milliseconds)
    assert found.ratios.keys() == {NAIVE, NAIVE_LABELLED}
    assert all(math.isfinite(x) and x > 0 for x in found.ratios.values())
    assert found.step_share is not None
    assert 0 < found.step_share < 1


def test_a_trainer_that_fails_is_named() -> None:
    subject = Subject(design("short_conv"), Cell(length=16, pairs=2), batch=0)
    (found,) = measure([subject], trainers=[OURS], repeats=1)
    assert found.trainers == ()
    assert found.failures[0].startswith("archsearch: ValidationError")
    assert found.step_share is None

"""Devices, types and the feed; an accelerator's path runs here on the CPU."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from archsearch.architecture import Architecture, Block, Component
from archsearch.device import AHEAD, Feed, matmul_dtype, moved, resolve
from archsearch.errors import InputError
from archsearch.mixers import specs
from archsearch.records import RunOutcome
from archsearch.tasks.base import Split
from archsearch.training import advance, start, train_step
from tests.helpers import request

CPU = torch.device("cpu")
SEQUENCE = [name for name in specs if specs.get(name).kind == "sequence"]
CHANNEL = [name for name in specs if specs.get(name).kind == "channel"]


def test_the_device_that_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve("cpu") == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve("auto") == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve("auto") == torch.device("cuda")


@pytest.mark.parametrize("name", ["cuda:99", "gpu"])
def test_a_device_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(InputError, match=f"device '{name}' cannot be used here .*'auto' takes"):
        resolve(name)


@pytest.mark.parametrize("native", [False, True])
def test_types_by_what_the_processor_can_do(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": native})
    assert matmul_dtype("auto", CPU) is (torch.bfloat16 if native else torch.float32)
    assert matmul_dtype("auto", torch.device("cuda")) is torch.bfloat16
    for device in (CPU, torch.device("cuda")):
        assert matmul_dtype("float32", device) is torch.float32
        assert matmul_dtype("bfloat16", device) is torch.bfloat16


@pytest.mark.parametrize("name", SEQUENCE + CHANNEL)
def test_every_mixer_trains_in_half_precision(name: str) -> None:
    """In the last layer and in another, where other forms run; the contract compares outputs."""
    conv, own = Component(name="short_conv"), Component(name=name)
    is_channel = name in CHANNEL
    block = Block(sequence=conv, channel=own) if is_channel else Block(sequence=own)
    design = Architecture(d_model=16, blocks=(block, block))
    losses = {}
    for precision in ("float32", "bfloat16"):
        run = start(request(design, training={"precision": precision}))
        assert str(run.dtype) == f"torch.{precision}"
        losses[precision] = [train_step(run) for _ in range(3)]
        assert all(p.dtype is torch.float32 for p in run.model.parameters())
        assert all(torch.isfinite(p).all() for p in run.model.parameters())
    # at the start a loss is about log V whatever a mixer does: this only says that none is broken
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.02)
    assert losses["bfloat16"] != losses["float32"], "nothing ran in half precision"


def test_a_run_in_half_precision_is_scored_too() -> None:
    run = start(request(training={"precision": "bfloat16", "eval_every": 2}))
    assert advance(run, 2) is RunOutcome.PAUSED
    assert len(run.curve) == 1


def test_a_thread_makes_the_next_batch_and_no_other() -> None:
    run = start(request())
    made: list[tuple[int, str]] = []

    def make(number: int):  # type: ignore[no-untyped-def]
        made.append((number, threading.current_thread().name))
        return run.data.batch(number)

    feed, plain = Feed(make, CPU, threaded=True), Feed(run.data.batch, CPU)
    # on, back, and far ahead: what was made in vain is thrown away
    for number in (0, 1, 2, 1, 7, 8):
        for mine, other in zip(feed(number), plain(number), strict=True):
            assert np.array_equal(mine, other)
    feed(9)
    numbers = [number for number, _ in made]
    assert numbers[:2] == [0, 1]
    assert numbers.count(2) == 2
    assert {n for n, thread in made if "feed" in thread} >= {1, 2, 3, 8, 9}


def test_the_processor_makes_several_batches_at_a_time() -> None:
    run = start(request())
    made: list[int] = []

    def make(number: int):  # type: ignore[no-untyped-def]
        made.append(number)
        return run.data.batch(number)

    feed = Feed(make, CPU)
    for number in (0, 1, 2, AHEAD, 1, 2, 40):
        for mine, other in zip(feed(number), moved(run.data.batch(number), CPU), strict=True):
            assert np.array_equal(mine, other)
    blocks = [list(range(first, first + AHEAD)) for first in (0, AHEAD, 1, 40)]
    assert made == [number for block in blocks for number in block]
    # of large ones no more than takes little memory
    large = run.task.batch(run.task.cells[0], Split.TRAIN, 0, 2**13, 0)
    made.clear()
    Feed(lambda number: made.append(number) or large, CPU)(5)  # type: ignore[func-returns-value]
    assert made == [5, 6]


def test_no_thread_on_the_cpu() -> None:
    before = threading.active_count()
    run = start(request())
    train_step(run)
    # a thread of an earlier test may end meanwhile
    assert threading.active_count() <= before

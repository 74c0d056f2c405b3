"""Worker functions that do what a design's training must not be able to do to a campaign."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from archsearch.records import Evaluation, EvaluationRequest, Failure, RunOutcome


def done(request: EvaluationRequest, detail: str = "") -> Evaluation:
    return Evaluation(
        outcome=RunOutcome.FINISHED,
        learning_rate=request.training.learning_rate,
        seed=request.seed,
        step=request.to_step,
        detail=detail,
    )


class Unpicklable(Exception):  # noqa: N818
    """Neither a copy nor a text of it can be had in another process."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.handle = open(os.devnull)  # noqa: PTH123, SIM115

    def __reduce__(self) -> NoReturn:
        raise TypeError("cannot be pickled")


def _raise(_: EvaluationRequest) -> Any:
    raise ValueError("no such thing")


def _raise_nothing(_: EvaluationRequest) -> Any:
    raise ValueError


def _unpicklable(_: EvaluationRequest) -> Any:
    raise Unpicklable("mine alone")


def _exit(_: EvaluationRequest) -> Any:
    sys.exit(0)


def _hard_exit(_: EvaluationRequest) -> Any:
    os._exit(3)


def _segfault(_: EvaluationRequest) -> Any:
    ctypes.string_at(0)


def _sleep(_: EvaluationRequest) -> Any:
    time.sleep(60)


def _catch_all(_: EvaluationRequest) -> Any:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with contextlib.suppress(BaseException):
            time.sleep(60)


def _nothing(_: EvaluationRequest) -> Any:
    return None


def _text(_: EvaluationRequest) -> Any:
    return "an answer"


def _memory(request: EvaluationRequest) -> Evaluation | Failure:
    """Through the real border, which sets the limit and takes it off again."""
    import archsearch.evaluate as border

    def hungry(asked: EvaluationRequest) -> Evaluation:
        import torch

        kept = torch.ones(2**31, dtype=torch.float32)
        return done(asked, str(float(kept[0])))

    real = border._evaluate
    border._evaluate = hungry
    try:
        return border.evaluate(request)
    finally:
        border._evaluate = real


KINDS = {
    function.__name__.removeprefix("_"): function
    for function in (
        _raise,
        _raise_nothing,
        _unpicklable,
        _exit,
        _hard_exit,
        _segfault,
        _sleep,
        _catch_all,
        _nothing,
        _text,
        _memory,
    )
}


def act(request: EvaluationRequest) -> Evaluation | Failure:
    """Does what the request's directory is called; leaves a line for each execution."""
    kind = Path(request.directory or "ok").name
    if request.checkpoint is not None:
        with Path(request.checkpoint).open("a") as log:
            log.write(f"{request.seed.run} {os.getpid()}\n")
    if kind == "ok":
        return done(request, str(os.getpid()))
    if kind == "environment":
        return done(request, os.environ.get("MALLOC_TRIM_THRESHOLD_", ""))
    return KINDS[kind](request)  # type: ignore[no-any-return, operator]

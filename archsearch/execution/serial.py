"""One worker process beside the driver, without Ray.

A process rather than a call, so that the contract holds here too: a crash, a hang or a full memory
ends the worker and not the campaign. It is started once and kept warm.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import time
from collections import deque
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

from archsearch.execution.base import (
    Answer,
    Executor,
    ExecutorOptions,
    carry_out,
    received,
    worker_environment,
)
from archsearch.records import Evaluation, EvaluationRequest, Failure, FailureKind

_PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    # A killed driver must not leave a worker that trains on: Linux can promise that.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _worker(connection: Connection, function: str, parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to interpret
    _die_with_parent()
    if os.getppid() != parent:
        return
    while True:
        try:
            request = connection.recv_bytes()
        except EOFError:
            return
        connection.send(carry_out(function, request))


class SerialExecutor(Executor):
    """See ``base.Executor``; one request at a time, in the order of submission."""

    def __init__(self, options: ExecutorOptions) -> None:
        self._function = options.function
        self._waiting: deque[tuple[int, EvaluationRequest]] = deque()
        self._current: int | None = None
        self._deadline: float | None = None
        self._tickets = 0
        self._process: SpawnProcess | None = None
        self._connection: Connection | None = None

    @property
    def slots(self) -> int:
        return 1

    def submit(self, request: EvaluationRequest) -> int:
        self._tickets += 1
        self._waiting.append((self._tickets, request))
        self._send_next()
        return self._tickets

    def poll(self, timeout_seconds: float) -> list[Answer]:
        self._send_next()
        if self._current is None or self._connection is None:
            return []
        wait = timeout_seconds
        if self._deadline is not None:
            wait = min(wait, max(0.0, self._deadline - time.monotonic()))
        result: Evaluation | Failure
        try:
            if self._connection.poll(wait):
                result = received(*self._connection.recv())
            elif self._deadline is not None and time.monotonic() >= self._deadline:
                self._end_worker()
                result = Failure(kind=FailureKind.TIMEOUT, message="the deadline passed")
            else:
                return []
        except (EOFError, ConnectionResetError):
            result = Failure(kind=FailureKind.CRASHED, message=self._death())
        answer = Answer(self._current, result)
        self._current = None
        self._send_next()
        return [answer]

    def cancel(self) -> None:
        self._waiting.clear()
        self._current = None
        self._end_worker()

    def close(self) -> None:
        self.cancel()

    def _send_next(self) -> None:
        if self._current is not None or not self._waiting:
            return
        ticket, request = self._waiting.popleft()
        self._current = ticket
        self._deadline = (
            None
            if request.deadline_seconds is None
            else time.monotonic() + request.deadline_seconds
        )
        connection = self._running_worker()
        # a worker that is already dead shows as end of file at the next poll
        with contextlib.suppress(BrokenPipeError):
            connection.send_bytes(request.model_dump_json().encode())

    def _running_worker(self) -> Connection:
        if self._connection is not None and self._process is not None and self._process.is_alive():
            return self._connection
        self._end_worker()
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self._process = context.Process(
            target=_worker, args=(theirs, self._function, os.getpid()), daemon=True
        )
        with worker_environment():
            self._process.start()
        theirs.close()
        self._connection = ours
        return ours

    def _death(self) -> str:
        code = None
        if self._process is not None:
            self._process.join(5)
            code = self._process.exitcode
        self._end_worker()
        if code is not None and code < 0:
            return f"the worker was ended by {signal.Signals(-code).name}"
        return f"the worker exited with code {code}"

    def _end_worker(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join(10)
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = None


EXECUTOR = SerialExecutor

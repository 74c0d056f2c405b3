"""A fresh process for each task, set up as a campaign's workers are; whatever ends it is an answer.

A pool of the standard library never answers for a worker that was killed, and all would wait.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from multiprocessing import connection
from multiprocessing.connection import Connection
from typing import Any, Final, Generic, NamedTuple, TypeVar

from archsearch.execution.base import worker_environment

TRAINING: Final = "archsearch.bench._preload"
"""To be preloaded by benches that train: all that a run imports."""

_GRACE_SECONDS = 10.0
"""What a standing process has to leave by itself."""

T = TypeVar("T")
R = TypeVar("R")


class Lost(NamedTuple):
    """There is no result: the process raised, or went."""

    reason: str


def run_each(
    function: Callable[[T], R], tasks: Iterable[T], *, preload: str, count: int = 1
) -> Iterator[tuple[T, R | Lost]]:
    """Carries out each task in a process of its own; yields results as they come.

    Args:
        function: At the top level of a module.
        tasks: Its arguments; they and the results can be pickled.
        preload: A module that is imported once, in the process from which the others are forked.
        count: Processes at a time.
    """
    waiting = deque(tasks)
    running: dict[Connection, tuple[Any, T]] = {}
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([preload])
    # closed by the kernel when this process ends, however it ends
    lifeline, ours = context.Pipe(duplex=False)
    try:
        while waiting or running:
            while waiting and len(running) < count:
                task = waiting.popleft()
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(
                    target=_carry_out, args=(function, task, sender, lifeline), daemon=True
                )
                with worker_environment():
                    process.start()
                sender.close()
                running[receiver] = (process, task)
            for ready in connection.wait(list(running)):
                assert isinstance(ready, Connection)
                process, task = running.pop(ready)
                yield task, _answer(ready, process)
    finally:
        for process, _ in running.values():
            process.terminate()
            process.join()
        ours.close()
        lifeline.close()


class Standing(Generic[R]):
    """A process that prepares once and then answers call by call, to be measured beside others."""

    def __init__(
        self, prepare: Callable[[T], Callable[[], R]], argument: T, *, as_worker: bool
    ) -> None:
        """Starts the process; ``prepare`` is at the top level of a module.

        Args:
            prepare: Called with ``argument`` in the process; each ``call`` calls what it returns.
            argument: Can be pickled.
            as_worker: Whether the process has the environment of a campaign's workers.
        """
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        # no daemon: it may have processes of its own; it leaves when the connection closes
        self._process = context.Process(target=_stand, args=(prepare, argument, theirs))
        with worker_environment() if as_worker else nullcontext():
            self._process.start()
        theirs.close()

    def call(self) -> R | Lost:
        """What the process answers to one call, waited for."""
        try:
            self._connection.send(None)
            result: R | Lost = self._connection.recv()
        except (EOFError, OSError):
            self._process.join()
            return Lost(f"the process ended without an answer (exit code {self._process.exitcode})")
        return result

    def close(self) -> None:
        """Ends the process."""
        self._connection.close()
        self._process.join(_GRACE_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def __enter__(self) -> Standing[R]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _stand(prepare: Callable[[T], Callable[[], R]], argument: T, connection: Connection) -> None:
    # Ctrl-C reaches the whole group; the bench closes the connection
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answer: Callable[[], R] | None = None
    while True:
        try:
            connection.recv()
        except EOFError:
            return
        result: R | Lost
        try:
            answer = answer or prepare(argument)
            result = answer()
        except Exception as error:  # noqa: BLE001  # the process's boundary
            result = _lost(error)
        connection.send(result)


def _lost(error: Exception) -> Lost:
    return Lost(f"{type(error).__name__}: {error}".splitlines()[0][:500])


def _answer(receiver: Connection, process: Any) -> Any:
    try:
        result = receiver.recv()
    except (EOFError, OSError):
        process.join()
        result = Lost(f"the process ended without an answer (exit code {process.exitcode})")
    receiver.close()
    process.join()
    return result


def _carry_out(
    function: Callable[[T], R], task: T, sender: Connection, lifeline: Connection
) -> None:
    threading.Thread(target=_leave_with, args=(lifeline,), daemon=True).start()
    result: R | Lost
    try:
        result = function(task)
    except Exception as error:  # noqa: BLE001  # the process's boundary: everything becomes text
        result = _lost(error)
    sender.send(result)


def _leave_with(lifeline: Connection) -> None:
    """Ends this process when the one that wants its result is gone."""
    try:
        lifeline.recv()
    except (EOFError, OSError):
        os._exit(1)

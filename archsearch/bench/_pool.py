"""Fresh processes to measure in, set up as a campaign's workers are."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.pool import Pool

from archsearch.execution.base import ENVIRONMENT


def _leave_with(parent: int) -> None:
    """Ends this process when the one that wanted its results is gone, however it went."""

    def watch() -> None:
        while _is_there(parent):
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def processes(preload: str, count: int = 1, tasks_each: int | None = None) -> Iterator[Pool]:
    """A pool that is forked from one process, which has imported ``preload``.

    Args:
        preload: A module.
        count: Processes.
        tasks_each: Tasks after which a process is replaced by a fresh one; None for never.
    """
    before = {name: os.environ.get(name) for name in ENVIRONMENT}
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([preload])
    try:
        # glibc reads its settings when the process begins from which the others are forked
        os.environ.update(ENVIRONMENT)
        with context.Pool(count, _leave_with, (os.getpid(),), tasks_each) as pool:
            yield pool
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value

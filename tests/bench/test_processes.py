from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from archsearch.bench._processes import Lost, Standing, run_each
from archsearch.execution.base import ENVIRONMENT
from tests.conftest import ROOT

CODE = """
import os, time
from archsearch.bench._processes import run_each
import tests.bench.test_processes as own
list(run_each(own.slow, [60], preload="json"))
"""


def found_environment(name: str) -> str | None:
    return os.environ.get(name)


def square(number: int) -> int:
    if number == 3:
        raise ValueError("three is not squared\nand this is not shown")
    if number == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 5:
        os._exit(7)
    return number**2


def counting(step: int) -> Callable[[], int]:
    if not step:
        raise ValueError("no step")
    count = 0

    def call() -> int:
        nonlocal count
        count += step
        if count > 7:
            os._exit(3)
        return count

    return call


def environment_of(name: str) -> Callable[[], str | None]:
    return lambda: os.environ.get(name)


def slow(seconds: float) -> None:
    print(os.getpid(), flush=True)
    time.sleep(seconds)


def _is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_every_task_is_answered_whatever_becomes_of_its_process() -> None:
    found = dict(run_each(square, range(8), preload="json", count=2))
    assert found.keys() == set(range(8))
    assert {k: v for k, v in found.items() if k not in (3, 4, 5)} == {
        k: k**2 for k in (0, 1, 2, 6, 7)
    }
    assert found[3] == Lost("ValueError: three is not squared")
    assert found[4] == Lost("the process ended without an answer (exit code -9)")
    assert found[5] == Lost("the process ended without an answer (exit code 7)")


def test_workers_have_the_environment_of_a_campaigns_and_leave_ours_alone() -> None:
    before = dict(os.environ)
    assert dict(run_each(found_environment, ENVIRONMENT, preload="json")) == ENVIRONMENT
    assert dict(os.environ) == before


def test_an_abandoned_run_leaves_no_process() -> None:
    results = run_each(slow, [0.0, 60.0, 60.0], preload="json", count=3)
    next(results)
    began = time.monotonic()
    results.close()
    assert time.monotonic() - began < 20


def test_no_worker_outlives_a_killed_bench() -> None:
    bench = subprocess.Popen(
        [sys.executable, "-c", CODE], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert bench.stdout is not None
    worker = int(bench.stdout.readline())
    assert _is_there(worker)
    bench.send_signal(signal.SIGKILL)
    bench.wait()
    bench.stdout.close()
    until = time.monotonic() + 30
    while _is_there(worker) and time.monotonic() < until:
        time.sleep(0.1)
    assert not _is_there(worker)


def test_a_standing_process_keeps_what_it_prepared() -> None:
    with (
        Standing(counting, 3, as_worker=False) as three,
        Standing(counting, 2, as_worker=True) as two,
    ):
        assert [three.call(), two.call(), three.call(), two.call()] == [3, 2, 6, 4]
        ended = Lost("the process ended without an answer (exit code 3)")
        assert [three.call(), three.call(), two.call()] == [ended, ended, 6]
    with Standing(counting, 0, as_worker=False) as broken:
        assert broken.call() == Lost("ValueError: no step")


def test_a_standing_process_is_set_up_as_a_worker_if_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "MALLOC_TRIM_THRESHOLD_"
    monkeypatch.delenv(name, raising=False)
    found = []
    for as_worker in (True, False):
        with Standing(environment_of, name, as_worker=as_worker) as process:
            found.append(process.call())
    assert found == [ENVIRONMENT[name], None]

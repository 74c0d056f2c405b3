"""The serial executor's worker: one, warm, and gone with its driver."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from archsearch.execution.base import Executor
from archsearch.records import Evaluation
from tests.conftest import ROOT
from tests.execution.test_contract import answers, asked

DRIVER = """
import sys, time
from archsearch.execution.base import ExecutorOptions
from archsearch.execution.serial import SerialExecutor
from tests.execution.test_contract import asked
executor = SerialExecutor(ExecutorOptions(function="tests.execution.faults:act"))
executor.submit(asked("ok"))
while not (found := executor.poll(1.0)):
    pass
executor.submit(asked("sleep"))
print(found[0].result.detail, flush=True)
time.sleep(60)
"""


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_worker_does_not_outlive_a_killed_driver() -> None:
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert driver.stdout is not None
    worker = int(driver.stdout.readline())
    assert alive(worker)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    driver.stdout.close()
    end = time.monotonic() + 30
    while alive(worker):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_one_worker_answers_in_order_and_is_kept(serial_executor: Executor) -> None:
    sent = [serial_executor.submit(asked("ok", run=i)) for i in range(5)]
    got = answers(serial_executor, 5)
    assert [a.ticket for a in got] == sent
    pids = {a.result.detail for a in got if isinstance(a.result, Evaluation)}
    assert len(pids) == 1
    assert serial_executor.slots == 1


def test_a_deadline_starts_when_its_request_does(serial_executor: Executor) -> None:
    """Two that hang, one behind the other, and one that would be late if it had been waiting."""
    for kind in ("sleep", "sleep", "ok"):
        serial_executor.submit(asked(kind, deadline_seconds=2.0))
        if kind == "ok":
            continue
    kinds = [type(a.result).__name__ for a in answers(serial_executor, 3)]
    assert kinds[:2] == ["Failure", "Failure"]
    # a new worker has to start within its own two seconds: either may win, but it is answered
    assert len(kinds) == 3


def test_a_worker_killed_while_idle_is_replaced(serial_executor: Executor) -> None:
    serial_executor.submit(asked("ok"))
    [answer] = answers(serial_executor, 1)
    assert isinstance(answer.result, Evaluation)
    os.kill(int(answer.result.detail), signal.SIGKILL)
    end = time.monotonic() + 30
    while alive(int(answer.result.detail)):
        assert time.monotonic() < end
    serial_executor.submit(asked("ok"))
    [answer] = answers(serial_executor, 1)
    assert isinstance(answer.result, Evaluation)

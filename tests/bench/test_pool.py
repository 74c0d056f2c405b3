from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from archsearch.bench._pool import _is_there, processes
from archsearch.execution.base import ENVIRONMENT
from tests.conftest import ROOT

CODE = """
import os, sys, time
from archsearch.bench._pool import processes
with processes("json") as pool:
    waiting = pool.apply_async(time.sleep, (60,))
    print(pool._pool[0].pid, flush=True)
    waiting.get()
"""


def test_workers_have_the_environment_of_a_campaigns_and_leave_ours_alone() -> None:
    before = dict(os.environ)
    with processes("json") as pool:
        found = {name: pool.apply(os.getenv, (name,)) for name in ENVIRONMENT}
    assert found == ENVIRONMENT
    assert dict(os.environ) == before


def test_no_worker_outlives_a_killed_bench() -> None:
    bench = subprocess.Popen(
        [sys.executable, "-c", CODE], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert bench.stdout is not None
    worker = int(bench.stdout.readline())
    assert _is_there(worker)
    time.sleep(0.5)
    bench.send_signal(signal.SIGKILL)
    bench.wait()
    bench.stdout.close()
    until = time.monotonic() + 30
    while _is_there(worker) and time.monotonic() < until:
        time.sleep(0.1)
    assert not _is_there(worker)

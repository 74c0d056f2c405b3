"""What all tests share: determinism, and one Ray cluster for those that need it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import hypothesis
import pytest

hypothesis.settings.register_profile("ci", derandomize=True, deadline=None)
hypothesis.settings.load_profile("ci")

ROOT = Path(__file__).resolve().parent.parent
PUBLISHED = ROOT / "results" / "conv_attention_hybrid-002"
OLDER = ROOT / "tests" / "older_campaign"
"""Of 0.1.0: one rate a design, no order of telling, nothing confirmed. It is to stay readable."""

os.environ.setdefault("OMP_NUM_THREADS", "1")

# a shell's background job ignores Ctrl-C, and so would the commands that are interrupted here
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _one_preload() -> None:
    """The first bench of a process decides what its forks find imported: here all that any needs.

    Otherwise each run of a later bench would import torch for itself.
    """
    from multiprocessing import forkserver

    from archsearch.bench._processes import TRAINING
    from archsearch.execution.base import worker_environment

    forkserver.set_forkserver_preload([TRAINING])
    with worker_environment():
        forkserver.ensure_running()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files are shared out between processes whole; all that needs Ray shares one start of it."""
    for item in items:
        group = "ray" if item.get_closest_marker("ray") else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))

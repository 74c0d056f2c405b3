"""Executors that are shared: a worker is quick to reuse and slow to start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from archsearch.execution import executors
from archsearch.execution.base import Executor, ExecutorOptions
from tests.conftest import ROOT

FUNCTION = "tests.execution.faults:act"


def make(name: str) -> Executor:
    return executors.get(name)(ExecutorOptions(workers=2, function=FUNCTION))


@pytest.fixture(scope="session")
def ray_executor() -> Iterator[Executor]:
    """The one Ray cluster of a test session."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        with make("ray") as executor:
            yield executor


@pytest.fixture(scope="session")
def serial_executor() -> Iterator[Executor]:
    with make("serial") as executor:
        yield executor


@pytest.fixture(params=["serial", pytest.param("ray", marks=pytest.mark.ray)])
def executor(request: pytest.FixtureRequest) -> Executor:
    found: Executor = request.getfixturevalue(f"{request.param}_executor")
    return found

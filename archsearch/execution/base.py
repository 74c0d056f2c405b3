"""The contract of an executor.

* Each submitted request is answered once, by an ``Evaluation`` or a ``Failure``, in any order.
* Nothing that a worker does (raise, exit, crash, hang beyond its deadline, run out of memory) is
  raised here, stops another request or keeps its slot for good.
* A request is carried out at most once; the driver decides about another attempt.
* Only plain records cross the border. Workers never see a study, a trial or a storage.
"""

from __future__ import annotations

import importlib
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from pydantic import ValidationError

from archsearch.records import Evaluation, EvaluationRequest, Failure

EVALUATE = "archsearch.evaluate:evaluate"
"""The function that workers call, as ``module:name``; named, so that drivers need not import it."""

ENVIRONMENT = {
    # The evaluation's large tensors come and go at every step: without these glibc gives each back
    # to the kernel and faults it in again. Huge pages (THP_MEM_ALLOC_ENABLE, glibc.malloc.hugetlb)
    # and MALLOC_TOP_PAD_ changed nothing beyond the noise, nor did pinning.
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "OMP_NUM_THREADS": "1",
}
"""What a worker's process is started with; ``torch.set_num_threads`` follows in each request."""


@contextmanager
def worker_environment() -> Iterator[None]:
    """Within, a process is started with ``ENVIRONMENT``; what the user set stays as it is.

    glibc reads its settings when a process begins.
    """
    added = {key: value for key, value in ENVIRONMENT.items() if key not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for key in added:
            del os.environ[key]


class Answer(NamedTuple):
    """What became of the request that ``submit`` gave this ticket."""

    ticket: int
    result: Evaluation | Failure


@dataclass(frozen=True)
class ExecutorOptions:
    """What a user may choose about execution.

    Attributes:
        workers: Requests carried out at a time; None takes what there is.
        address: A running Ray cluster to join.
        cpus_per_trial: Processors (and torch threads) of a request.
        gpus_per_trial: Accelerators of a request, in Ray's units.
        function: The worker's function, as ``module:name``.
    """

    workers: int | None = None
    address: str | None = None
    cpus_per_trial: int = 1
    gpus_per_trial: float = 0.0
    function: str = EVALUATE


class Executor(ABC):
    """Carries out requests; used as a context manager by one thread."""

    @abstractmethod
    def __init__(self, options: ExecutorOptions) -> None: ...

    @property
    @abstractmethod
    def slots(self) -> int:
        """How many requests may be in flight to keep every worker busy."""

    @abstractmethod
    def submit(self, request: EvaluationRequest) -> int:
        """Hands a request over without waiting; returns its ticket."""

    @abstractmethod
    def poll(self, timeout_seconds: float) -> list[Answer]:
        """Answers that have arrived, after at most about that long; empty if none has.

        Raises:
            ClusterError: The executor itself is gone; unanswered requests are lost.
        """

    def now(self) -> float:
        """Seconds on the clock by which requests are carried out."""
        return time.monotonic()

    @abstractmethod
    def cancel(self) -> None:
        """Ends all that is in flight; nothing more is answered."""

    @abstractmethod
    def close(self) -> None:
        """Frees everything."""

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def carry_out(function: str, request_json: str | bytes) -> tuple[str, str]:
    """Answers one request in a worker: a kind and JSON; what the function raises is text."""
    try:
        result = worker_function(function)(EvaluationRequest.model_validate_json(request_json))
        return type(result).__name__, result.model_dump_json()
    except Exception as error:  # noqa: BLE001  # the worker's boundary
        return Failure.__name__, Failure.of(error).model_dump_json()


def received(kind: str, text: str) -> Evaluation | Failure:
    """What a worker answered; an answer that is none counts as its failure."""
    try:
        if kind == Evaluation.__name__:
            return Evaluation.model_validate_json(text)
        return Failure.model_validate_json(text)
    except ValidationError as error:
        return Failure.of(error)


def worker_function(path: str) -> Callable[[EvaluationRequest], Evaluation | Failure]:
    """The function that ``module:name`` stands for."""
    module, _, name = path.partition(":")
    function: Callable[[EvaluationRequest], Evaluation | Failure] = getattr(
        importlib.import_module(module), name
    )
    return function

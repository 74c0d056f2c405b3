"""One run of a table in a process of its own; little is imported, as every run pays for it."""

from __future__ import annotations

import signal
import time
from typing import NamedTuple

import numpy as np

from archsearch.records import Evaluation, EvaluationRequest, Failure

Task = tuple[tuple[str, int, int], EvaluationRequest]
"""Where the run stands in the table, and what is to be run."""


class Answer(NamedTuple):
    """What became of a run.

    Attributes:
        result: The evaluation, or why there is none.
        cpu_seconds: Of the whole process, start and test included.
        versions: Of what the result may depend on.
    """

    result: Evaluation | Failure
    cpu_seconds: float
    versions: dict[str, str]


def carry_out(task: Task) -> Answer:
    """Evaluates the request; nothing is raised."""
    from archsearch.bench.machine import describe
    from archsearch.evaluate import evaluate

    # Ctrl-C reaches the whole group; the recorder ends its workers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    result = evaluate(task[1])
    # forked for this run: the process's time is the run's
    seconds = time.process_time()
    versions = {"numpy": np.__version__, "processor": str(describe()["processor"])}
    if isinstance(result, Evaluation):
        versions = {**result.versions, "precision": result.precision, **versions}
    return Answer(result, seconds, versions)

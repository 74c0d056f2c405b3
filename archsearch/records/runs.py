"""What goes to a worker, and its two answers."""

from __future__ import annotations

import platform
import traceback
from enum import StrEnum
from typing import Literal

from pydantic import Field

from archsearch.architecture import Architecture
from archsearch.protocol import TrainingConfig
from archsearch.records.base import Record, checksum
from archsearch.tasks.mqar import MQARConfig


class RunSeed(Record):
    """Names the random streams of one run: equal seeds give equal runs.

    Attributes:
        campaign: The campaign's seed; alone it fixes validation and test data, but for the fresh
            runs of a confirmation, which have others.
        trial: Number of the trial; references count down from -1.
        run: Number of the run within the trial.
        paired: Whether weights and batches are those of run 0, as of runs that race: they differ in
            their learning rate alone.
    """

    campaign: int = Field(ge=0)
    trial: int = 0
    run: int = Field(0, ge=0)
    paired: bool = False

    @classmethod
    def of_design(cls, campaign: int, digest: str, run: int) -> RunSeed:
        """Outside campaigns, where designs have no numbers.

        As in a campaign, designs share what they are tested on and nothing else: with equal batches
        the luck of one would be that of all.

        Args:
            campaign: As ever.
            digest: Hexadecimal, of the design or of its key.
            run: As ever.
        """
        return cls(campaign=campaign, trial=int(digest[:7], 16), run=run)


class EvaluationRequest(Record):
    """Advance one run of one design from a checkpoint (or from scratch) to a step.

    Attributes:
        to_step: Where to stop; the schedule's horizon is ``training.steps`` all the same.
        checkpoint: The rung directory to start from; None starts a new run.
        directory: Where to leave the rung; None leaves nothing.
        threads: CPU threads of the worker.
        deadline_seconds: The executor ends the worker after this long.
        memory_limit_bytes: Largest data segment of the worker on a CPU; None sets no limit.
        device: Where the model is trained: ``auto``, or as torch names it.
    """

    schema_version: Literal[1] = 1
    architecture: Architecture
    task: MQARConfig
    training: TrainingConfig
    seed: RunSeed
    to_step: int = Field(ge=1)
    checkpoint: str | None = None
    directory: str | None = None
    threads: int = Field(1, ge=1)
    deadline_seconds: float | None = Field(None, gt=0)
    memory_limit_bytes: int | None = Field(None, gt=0)
    device: str = "cpu"

    @property
    def key(self) -> str:
        """SHA-256 of all that decides the answer: not where it runs, nor where it is left."""
        decisive = {"architecture", "task", "training", "seed", "to_step"}
        return checksum(self.model_dump(mode="json", include=decisive))


class DistanceBin(Record):
    """Accuracy of the queries whose pair lies ``low`` to ``high`` tokens back."""

    low: int
    high: int
    accuracy: float
    queries: int


class CellScore(Record):
    """Result on one cell of the task."""

    length: int
    pairs: int
    power_a: float
    accuracy: float
    log_probability: float
    queries: int
    by_distance: tuple[DistanceBin, ...] = ()

    @property
    def label(self) -> str:
        """``(length,pairs)``, with the power where it is not the usual one."""
        extra = "" if self.power_a == 0.01 else f",a={self.power_a:g}"
        return f"({self.length},{self.pairs}{extra})"


class CurvePoint(Record):
    """One validation: mean training loss since the last one, and each cell's result."""

    step: int
    train_loss: float
    accuracy: tuple[float, ...]
    log_probability: tuple[float, ...]


class RunOutcome(StrEnum):
    """How a run ended. All but PAUSED are final."""

    SOLVED = "solved"
    """Every validation cell passed the success threshold; training stopped there."""
    FINISHED = "finished"
    """The budget is spent."""
    PAUSED = "paused"
    """The rung is done, the run is not."""
    DIVERGED = "diverged"
    """A loss or gradient was not finite."""
    OOM = "oom"
    """The design did not fit into the worker's memory."""


class Evaluation(Record):
    """What a worker answers.

    Attributes:
        test: Test scores by cell; empty unless the run ended with a usable model.
        seconds: Wall time of this rung.
        train_flops: FLOPs spent in training so far, 3 x forward, head included.
    """

    schema_version: Literal[1] = 1
    outcome: RunOutcome
    learning_rate: float
    seed: RunSeed
    step: int
    curve: tuple[CurvePoint, ...] = ()
    test: tuple[CellScore, ...] = ()
    seconds: float = 0.0
    train_flops: float = 0.0
    precision: str = "float32"
    detail: str = ""
    versions: dict[str, str] = Field(default_factory=dict)
    node: str = ""


class FailureKind(StrEnum):
    """Why there is no evaluation. Only LOST and CRASHED are worth another attempt."""

    ERROR = "error"
    """An exception in our code: the traceback tells."""
    CRASHED = "crashed"
    """The worker process ended."""
    TIMEOUT = "timeout"
    """The deadline passed and the worker was ended."""
    LOST = "lost"
    """The node or the cluster went away, or took the worker's memory."""


class Failure(Record):
    """A request without an answer, with its story as text."""

    schema_version: Literal[1] = 1
    kind: FailureKind
    message: str
    traceback: str = ""
    node: str = ""

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """An exception as text, for it need not survive the way to another process itself."""
        return cls(
            kind=FailureKind.ERROR,
            message=f"{type(error).__name__}: {error}".splitlines()[0][:500],
            traceback="".join(traceback.format_exception(error))[-8000:],
            node=platform.node(),
        )

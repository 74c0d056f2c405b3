"""What crosses a process boundary or a disk: frozen, JSON-able, versioned plain data."""

from __future__ import annotations

import hashlib
import json
import platform
import traceback
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from archsearch.architecture import Architecture, Scalar
from archsearch.costs import Price
from archsearch.errors import StoreError
from archsearch.protocol import TrainingConfig
from archsearch.tasks.mqar import MQARConfig


def now_text() -> str:
    """The time in UTC, for people; nothing is decided by it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class RunSeed(_Record):
    """Names the random streams of one run: equal seeds give equal runs.

    Attributes:
        campaign: The campaign's seed; alone it fixes validation and test data.
        trial: Number of the trial; references count down from -1.
        run: Number of the run within the trial.
    """

    campaign: int = Field(ge=0)
    trial: int = 0
    run: int = Field(0, ge=0)


class EvaluationRequest(_Record):
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
        return _checksum(self.model_dump(mode="json", include=decisive))


class DistanceBin(_Record):
    """Accuracy of the queries whose pair lies ``low`` to ``high`` tokens back."""

    low: int
    high: int
    accuracy: float
    queries: int


class CellScore(_Record):
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


class CurvePoint(_Record):
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


class Evaluation(_Record):
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


class Failure(_Record):
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


class TrialOutcome(StrEnum):
    """What became of a trial."""

    RUNNING = "running"
    SOLVED = "solved"
    FINISHED = "finished"
    DIVERGED = "diverged"
    OOM = "oom"
    STOPPED = "stopped"
    """Its runs were ended at a rung; the accuracy is the last validation's."""
    INFEASIBLE = "infeasible"
    DUPLICATE = "duplicate"
    FAILED = "failed"

    @property
    def was_trained(self) -> bool:
        """Whether there are test scores."""
        return self in (TrialOutcome.SOLVED, TrialOutcome.FINISHED)

    @property
    def was_evaluated(self) -> bool:
        """Whether the trial counts against the budget."""
        return self not in (
            TrialOutcome.RUNNING,
            TrialOutcome.INFEASIBLE,
            TrialOutcome.DUPLICATE,
        )


class VerdictKind(StrEnum):
    """Why a run is not to go on."""

    LOST = "lost"
    """Another learning rate of the same design did better."""
    STOPPED = "stopped"
    """The stopping rule expects nothing of it."""


class RunVerdict(_Record):
    """A decision against a run.

    Attributes:
        audited: The run is finished all the same, to learn whether the decision was right.
    """

    run: int
    kind: VerdictKind
    audited: bool = False


class Judgement(_Record):
    """What was decided when all runs of a trial had come to a rung.

    Attributes:
        step: The rung.
        known: Trials told by then, as the stopping rule saw them: the highest ``told_order``.
        verdicts: Against whom; the others go on.
    """

    step: int
    known: int
    verdicts: tuple[RunVerdict, ...] = ()


class TrialRecord(_Record):
    """All that is known of one trial; the one source for fronts, tables and exports.

    Attributes:
        number: The study's number; references count down from -1.
        reference: The reference's name, or None for a searched design.
        params: What the sampler proposed.
        campaign_key: Equal for designs that this campaign cannot tell apart.
        accuracy: Mean over the test cells, each capped at the success threshold.
        evaluations: Rungs in the order of (step, run); a curve stands with the last of its run.
        judgements: What was decided about the runs, rung by rung.
        learnability: Decades of learning rate that work; None where it cannot be told.
        scored_run: The run whose test scores are the trial's; None where there are none.
        violations: Relative violation by constraint, those above zero only.
        attempts: Requests sent, retries included.
        known: Trials told when this one was asked: the highest ``told_order``.
    """

    schema_version: Literal[1] = 1
    number: int
    outcome: TrialOutcome
    architecture: Architecture | None = None
    reference: str | None = None
    params: dict[str, Scalar] = Field(default_factory=dict)
    digest: str = ""
    campaign_key: str = ""
    price: Price | None = None
    accuracy: float = 0.0
    evaluations: tuple[Evaluation, ...] = ()
    judgements: tuple[Judgement, ...] = ()
    scored_run: int | None = None
    learnability: float | None = None
    violations: dict[str, float] = Field(default_factory=dict)
    duplicate_of: int | None = None
    failure: Failure | None = None
    attempts: int = 0
    known: int = 0
    told_order: int | None = None
    started_at: str = ""
    finished_at: str = ""

    @property
    def runs(self) -> dict[int, Evaluation]:
        """The last rung of each run, by the run's number."""
        return {e.seed.run: e for e in self.evaluations}

    @property
    def verdicts(self) -> dict[int, RunVerdict]:
        """What was decided against runs, by the run's number."""
        return {v.run: v for judgement in self.judgements for v in judgement.verdicts}

    @property
    def scored(self) -> Evaluation | None:
        """The evaluation that the trial's scores come from; the last one where none was chosen."""
        if self.scored_run is not None:
            return self.runs[self.scored_run]
        return self.evaluations[-1] if self.evaluations else None

    @property
    def test(self) -> tuple[CellScore, ...]:
        """Test scores, cell by cell; empty where there are none."""
        return () if self.scored is None else self.scored.test

    @property
    def worst_cell(self) -> float:
        """Lowest test accuracy of a cell; 0 where nothing was trained."""
        return min((cell.accuracy for cell in self.test), default=0.0)


FRESH_RUNS = 1000
"""Confirmations number their runs from here on: their seeds are no race's."""


class Confirmation(_Record):
    """A design trained again: with a fresh seed, at the rate that it is scored at.

    Attributes:
        number: The trial's; references count down from -1.
        reference: The reference's name, or None for a searched design.
        batch: Which batch of seeds it belongs to, from 1; a batch is decided by those before it.
        evaluation: The whole run, from its first step to its end.
        attempts: Requests sent, retries included.
    """

    schema_version: Literal[1] = 1
    number: int
    reference: str | None = None
    batch: int = Field(ge=1)
    evaluation: Evaluation
    attempts: int = 1
    finished_at: str = ""

    @property
    def seed(self) -> int:
        """Which fresh seed of its design this is, from 0."""
        return self.evaluation.seed.run - FRESH_RUNS


class FrontRow(_Record):
    """One design as tables and pictures show it.

    Attributes:
        name: ``trial n``, or the reference's name.
        oracle_bias: Some mixer is told where the answers are.
        accuracy: Best estimate: the mean over the fresh seeds, or the search's score without any.
        search_accuracy: The search's score: one seed, chosen for being high.
        low: Lower end of the 95 % interval of the mean; None where it cannot be told.
        high: Its upper end.
        worst_cell: Lowest of ``cell_accuracy``.
        solved: Every test cell reaches the solved threshold.
        cells: Labels of the test cells, in the order of the accuracies.
        cell_accuracy: Estimates for the cells, as ``accuracy`` is.
        gap_closed: Share of the way from convolutions only to full attention.
        cost: Value of the second objective.
        cost_vs_full_attention: Ratio to the full-attention reference.
        learning_rate: Of the run that is scored; None where nothing was trained.
        seeds: Behind the accuracy: fresh ones, or 1 where there is only the search's.
        p_on_front: Probability of being a member; None where the seeds do not tell yet, for
            references, and for designs far below the front.
        confirmed: Of a member: enough fresh seeds, and a probability that says so. Of a reference:
            enough fresh seeds.
        steps: Of the run that is scored.
        seconds: Of all runs, confirmations included.
    """

    number: int
    name: str
    is_reference: bool
    is_member: bool
    design: str
    digest: str
    outcome: TrialOutcome
    accuracy: float
    search_accuracy: float
    low: float | None
    high: float | None
    worst_cell: float
    solved: bool
    cells: tuple[str, ...]
    cell_accuracy: tuple[float, ...]
    gap_closed: float | None
    cell_gap_closed: tuple[float | None, ...]
    flops: int
    flops_executed: int
    cost: float
    cost_vs_full_attention: float | None
    growth: str
    subquadratic: bool
    params: int
    state_floats: int
    learning_rate: float | None
    seeds: int
    p_on_front: float | None
    confirmed: bool
    steps: int
    seconds: float
    oracle_bias: bool = False


class Front(_Record):
    """The non-dominated designs, cheapest first, with what stands beside them.

    Attributes:
        dominated: Trained designs that are not members.
        hypervolume: In (accuracy, log10 cost), bounded by the reference point; None before it is
            known.
        knee: Number of the member that bulges furthest towards the ideal.
        counts: Trials by outcome.
        winners_curse: By how much fresh seeds lower the scores of the designs that were members by
            the search's scores, mean over those that were trained again; None before any was.
    """

    schema_version: Literal[1] = 1
    objectives: tuple[str, ...]
    members: tuple[FrontRow, ...]
    dominated: tuple[FrontRow, ...]
    references: tuple[FrontRow, ...]
    hypervolume: float | None
    reference_point: tuple[float, float] | None
    knee: int | None
    counts: dict[str, int]
    winners_curse: float | None = None


R = TypeVar("R", bound=BaseModel)


def seal(record: BaseModel) -> str:
    """The record as JSON with a checksum: ``{"sha256": ..., "record": {...}}``."""
    body = record.model_dump(mode="json")
    return json.dumps({"sha256": _checksum(body), "record": body}, allow_nan=False)


def _checksum(body: Any) -> str:
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def unseal(kind: type[R], text: str, where: str) -> R:
    """The record again.

    Raises:
        StoreError: The text is not such a record, or not the one that was sealed.
    """
    try:
        sealed = json.loads(text)
        body = sealed["record"]
        if _checksum(body) != sealed["sha256"]:
            raise StoreError(
                f"{where}: the record's checksum does not match; it was changed or damaged"
            )
        return kind.model_validate(body)
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        detail = str(error).splitlines()[0]
        raise StoreError(f"{where}: not a {kind.__name__} record ({detail})") from None

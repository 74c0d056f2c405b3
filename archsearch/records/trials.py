"""What is known of a trial: its runs, what was decided about them, and its confirmations."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from archsearch.architecture import Architecture, Scalar
from archsearch.costs import Price
from archsearch.records.base import Record
from archsearch.records.runs import CellScore, Evaluation, Failure


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


class RunVerdict(Record):
    """A decision against a run.

    Attributes:
        audited: The run is finished all the same, to learn whether the decision was right.
    """

    run: int
    kind: VerdictKind
    audited: bool = False


class Judgement(Record):
    """What was decided when all runs of a trial had come to a rung.

    Attributes:
        step: The rung.
        known: Trials told by then, as the stopping rule saw them: the highest ``told_order``.
        verdicts: Against whom; the others go on.
    """

    step: int
    known: int
    verdicts: tuple[RunVerdict, ...] = ()


class TrialRecord(Record):
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
    def seconds(self) -> float:
        """Of training, all rungs of all runs; confirmations not."""
        return sum(rung.seconds for rung in self.evaluations)

    @property
    def train_flops(self) -> float:
        """Of training: counted from a run's start, so that its last rung has all."""
        return sum(run.train_flops for run in self.runs.values())

    @property
    def worst_cell(self) -> float:
        """Lowest test accuracy of a cell; 0 where nothing was trained."""
        return min((cell.accuracy for cell in self.test), default=0.0)


FRESH_RUNS = 1000
"""Confirmations number their runs from here on: their seeds are no race's."""


class Confirmation(Record):
    """A design trained again: with a fresh seed, at the rate that it is scored at.

    Attributes:
        number: The trial's; references count down from -1.
        reference: The reference's name, or None for a searched design.
        batch: Which batch of seeds it belongs to, from 1; a batch is decided by those before it.
        known: Trials told when it was asked for: the highest ``told_order``; None in older ones.
        wanted: Fresh seeds that each design was to get then; None in older ones.
        evaluation: The whole run, from its first step to its end.
        attempts: Requests sent, retries included.
    """

    schema_version: Literal[1] = 1
    number: int
    reference: str | None = None
    batch: int = Field(ge=1)
    known: int | None = None
    wanted: int | None = None
    evaluation: Evaluation
    attempts: int = 1
    finished_at: str = ""

    @property
    def seed(self) -> int:
        """Which fresh seed of its design this is, from 0."""
        return self.evaluation.seed.run - FRESH_RUNS

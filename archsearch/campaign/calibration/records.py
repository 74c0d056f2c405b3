"""What a calibration consists of: runs, rows, findings."""

from __future__ import annotations

import math
from enum import StrEnum
from statistics import fmean
from typing import Literal, NamedTuple

from archsearch.campaign.runs import KeptRun
from archsearch.records.base import Record


class Verdict(StrEnum):
    """What a check says."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(Record):
    """One thing that a calibration says.

    Attributes:
        check: What was looked at.
        text: What was found, in a sentence.
        proposal: What to change; empty where nothing is to be.
    """

    check: str
    verdict: Verdict
    text: str
    proposal: str = ""


class Place(NamedTuple):
    """One run of a calibration: a reference's name, a learning rate, the index of a seed."""

    name: str
    learning_rate: float
    seed: int

    def __str__(self) -> str:
        return f"{self.name}, rate {self.learning_rate:g}, seed {self.seed + 1}"


class CalibrationRun(KeptRun):
    """One run of a calibration.

    Attributes:
        name: The reference's.
    """

    name: str

    @property
    def place(self) -> Place:
        """Where it stands in the plan."""
        return Place(self.name, self.learning_rate, self.seed)


class CalibrationRow(Record):
    """A design at one learning rate: means over the seeds that there are.

    Attributes:
        best: The rate is the design's best, by validation alone.
        seeds: How many there are.
        solved: How many of them passed every validation cell.
        scores: Of each seed: the mean over the test cells, each capped; 0 if it diverged.
        accuracy: Mean of the scores.
        cell_accuracy: On each test cell; a diverged seed counts 0.
        worst_cell: The lowest of these.
        steps: Of each seed, to success or to the end of the budget.
        validation_accuracy: Mean over the training cells, each capped, at the last validation.
        log_probability: Of the answer at the last validation, in nats.
        seconds: Of training, validation and test, mean over the seeds.
        seconds_per_step: All seconds over all steps; None before a step was made.
    """

    name: str
    learning_rate: float
    best: bool = False
    seeds: int
    solved: int
    scores: tuple[float, ...]
    accuracy: float
    cell_accuracy: tuple[float, ...]
    worst_cell: float
    steps: tuple[int, ...]
    validation_accuracy: float
    log_probability: float
    seconds: float
    seconds_per_step: float | None

    @property
    def merit(self) -> tuple[float, float, float, float]:
        """Orders rates as a race does: by success, then validation; the test chooses nothing.

        Of rates that always succeed the sooner one is better: their accuracies say when they
        stopped.
        """
        all_solved = self.solved == self.seeds
        sooner = -fmean(self.steps) if all_solved else -math.inf
        return self.solved / self.seeds, sooner, self.validation_accuracy, self.log_probability


class Calibration(Record):
    """Whether cells and budget tell designs apart, and what that rests on.

    Attributes:
        key: Of all that the runs depend on.
        space: Name of the campaign file that it was made for.
        complete: No run is missing.
        discriminates: Attention solves, and both convolutions only and a window fall behind it;
            None before that is known.
        cells: Labels of the test cells.
        within_reach: Share of each test cell's queries whose key the window can read.
        yardstick: The better of the references with full attention; empty before there is one.
        runs: How many have a result.
        planned: How many there are when none is missing.
        failures: Why runs have no result, one line each.
        versions: Of what the numbers may depend on; several where runs were made under several.
    """

    schema_version: Literal[1] = 1
    key: str
    space: str
    complete: bool
    discriminates: bool | None
    seeds: int
    learning_rates: tuple[float, ...]
    cells: tuple[str, ...]
    within_reach: tuple[float, ...]
    yardstick: str
    runs: int
    planned: int
    rows: tuple[CalibrationRow, ...]
    findings: tuple[Finding, ...]
    failures: tuple[str, ...] = ()
    versions: tuple[dict[str, str], ...] = ()
    finished_at: str = ""

"""A front as tables and pictures show it."""

from __future__ import annotations

from typing import Literal

from archsearch.records.base import Record
from archsearch.records.trials import TrialOutcome


class FrontRow(Record):
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
        learnability: Decades of learning rate that work; None where it cannot be told.
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
    learnability: float | None = None


class Front(Record):
    """The non-dominated designs, cheapest first, with what stands beside them.

    Attributes:
        dominated: Trained designs that are not members.
        hypervolume: Of all objectives, cost as log10, bounded by the reference point; None before
            it is known.
        knee: Number of the member that bulges furthest towards the ideal, in accuracy and cost;
            where none does, of the most accurate.
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
    reference_point: tuple[float, ...] | None
    knee: int | None
    counts: dict[str, int]
    winners_curse: float | None = None

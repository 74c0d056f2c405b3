"""What a search trades off, which way is better, and the scores that summarise a design."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from archsearch.protocol import SOLVED_ACCURACY, SUCCESS_ACCURACY

LEAST_GAP = 0.05
"""Between convolutions only and full attention; with less, the task tells the two not apart."""

PerCell = Mapping[str, float] | Sequence[float]
"""An accuracy for each test cell, named or in order."""


class Objective(NamedTuple):
    """One thing to optimise.

    Attributes:
        name: What campaigns, records and tables call it.
        unit: Of the values; empty for a share.
        maximise: Whether more is better.
        log: Whether ratios rather than differences matter. Samplers, dominance and hypervolume then
            see log10 of the value.
    """

    name: str
    unit: str
    maximise: bool
    log: bool

    @property
    def scaled_name(self) -> str:
        """Of a value on that scale."""
        return f"log10 {self.name}" if self.log else self.name

    def scaled(self, value: float) -> float:
        """The value on the scale that samplers and fronts see, its direction kept.

        On a log scale anything below 1 counts as 1: those values are counts.

        Raises:
            ValueError: The value is not finite, or negative on a log scale.
        """
        if not math.isfinite(value) or (self.log and value < 0):
            raise ValueError(f"{self.name} must be finite{' and >= 0' * self.log}; got {value}")
        return math.log10(max(value, 1)) if self.log else float(value)

    def loss(self, value: float) -> float:
        """``scaled`` as a number to minimise: the one place where a sign is turned.

        Raises:
            ValueError: As for ``scaled``.
        """
        scaled = self.scaled(value)
        # not a bare minus, which would turn 0 into -0
        return 0.0 - scaled if self.maximise else scaled


_FORWARD = "FLOPs per sequence, forward"

OBJECTIVES: dict[str, Objective] = {
    objective.name: objective
    for objective in (
        Objective("accuracy", "", maximise=True, log=False),
        Objective("flops", _FORWARD, maximise=False, log=True),
        Objective(
            "flops_executed", "executed FLOPs per sequence, forward", maximise=False, log=True
        ),
        Objective("params", "parameters", maximise=False, log=True),
        Objective("state", "floats of state", maximise=False, log=True),
        Objective("learnability", "decades of learning rate", maximise=True, log=False),
    )
}


def _values(per_cell: PerCell) -> list[float]:
    values = list(per_cell.values() if isinstance(per_cell, Mapping) else per_cell)
    if not values:
        raise ValueError("there is no cell to summarise")
    for value in values:
        if not 0 <= value <= 1:
            raise ValueError(f"an accuracy must be between 0 and 1; got {value}")
    return values


def capped_accuracy(per_cell: PerCell) -> float:
    """The unweighted mean over the cells, none counted beyond ``SUCCESS_ACCURACY``.

    Runs stop at that accuracy, so what lies beyond it says when a run stopped, not how good it is.

    Raises:
        ValueError: There is no cell, or an accuracy is outside 0..1.
    """
    values = _values(per_cell)
    return math.fsum(min(value, SUCCESS_ACCURACY) for value in values) / len(values)


def worst_cell(per_cell: PerCell) -> float:
    """The lowest accuracy of any cell, uncapped."""
    return min(_values(per_cell))


def solves(per_cell: PerCell) -> bool:
    """Whether every cell reaches ``SOLVED_ACCURACY``."""
    return worst_cell(per_cell) >= SOLVED_ACCURACY


def gap_closed(value: float, floor: float, ceiling: float) -> float | None:
    """The share of the way from convolutions only to full attention (Zoology's 97.4 %).

    Args:
        value: Accuracy of the design.
        floor: Accuracy of the reference with convolutions only.
        ceiling: Accuracy of the reference with full attention.

    Returns:
        Below 0 or above 1 outside the two; None when they lie less than ``LEAST_GAP`` apart.
    """
    gap = ceiling - floor
    return (value - floor) / gap if gap >= LEAST_GAP else None

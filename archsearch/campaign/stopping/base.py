"""What a stopping rule sees: a run at a rung, and the trials told before.

With two objectives there is no best run to compare with, and the price of a design is known before
its first step. Accuracy on MQAR is flat for long and then jumps, so rules look at the mean
log-probability of the answer, cell by cell, which moves earlier.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Candidate:
    """A run at a rung.

    Attributes:
        cost: Of its design, on the objective's scale (log10 of a price), less is better.
        rung: Place of the rung among all, from 0.
        progress: Share of the full budget that the rung lies at.
        log_probability: (cells,), of the answer, mean over the queries, in nats.
    """

    cost: float
    rung: int
    progress: float
    log_probability: Floats


@dataclass(frozen=True)
class Past:
    """Trials told before, one row each, in the order in which they were told.

    Attributes:
        cost: (n,), as a candidate's.
        log_probability: (n, rungs, cells) of the scored run, or of the one that came furthest; NaN
            where it was ended before. A run that ended early with success keeps its last values.
        accuracy: (n,), the trial's score; NaN where it was not trained to its end.
        floor: The score that a member of the front has to reach at least.
    """

    cost: Floats
    log_probability: Floats
    accuracy: Floats
    floor: float


Rule = Callable[[Candidate, Past], bool]
"""Whether a run is to be ended."""

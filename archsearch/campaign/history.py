"""What the campaign has learned, in the order in which it was told."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from archsearch.campaign.standing import cost_of, is_oracle
from archsearch.campaign.stopping.base import Candidate, Past
from archsearch.objectives import Objective
from archsearch.records import Evaluation, RunOutcome, TrialRecord

_FIRST_ROWS = 64


class History:
    """Curves, costs and scores of the trials told, as stopping rules see them.

    Args:
        rungs: Steps at which runs are judged.
        cells: Number of training cells.
        cost: The second objective.
        oracles: Whether designs that are told the answers may be on the front; else they teach
            nothing.
    """

    def __init__(
        self, rungs: Sequence[int], cells: int, cost: Objective, *, oracles: bool = False
    ) -> None:
        self._oracles = oracles
        self._rungs = tuple(rungs)
        self._cost = cost
        self._size = 0
        self._order = np.zeros(_FIRST_ROWS, dtype=np.int64)
        self._costs = np.zeros(_FIRST_ROWS)
        self._curves = np.full((_FIRST_ROWS, len(self._rungs), cells), np.nan)
        self._accuracy = np.full(_FIRST_ROWS, np.nan)

    def add(self, record: TrialRecord) -> None:
        """A trial that was told; those without a curve teach nothing about curves."""
        run = _furthest(record)
        if run is None or record.price is None or record.told_order is None:
            return
        if is_oracle(record) and not self._oracles:
            return
        if self._size == len(self._order):
            self._grow()
        row = self._size
        self._order[row] = record.told_order
        self._costs[row] = self._scaled_cost(record)
        self._curves[row] = self._at_rungs(run)
        self._accuracy[row] = record.accuracy if record.outcome.was_trained else np.nan
        self._size += 1

    def _grow(self) -> None:
        for name in ("_order", "_costs", "_curves", "_accuracy"):
            old = getattr(self, name)
            setattr(self, name, np.concatenate([old, np.zeros_like(old)]))

    def _scaled_cost(self, record: TrialRecord) -> float:
        return self._cost.scaled(cost_of(record, self._cost))

    def _at_rungs(self, run: Evaluation) -> np.ndarray:
        found = np.full(self._curves.shape[1:], np.nan)
        for i, rung in enumerate(self._rungs):
            points = [p for p in run.curve if p.step <= rung]
            if points and (rung <= run.step or run.outcome is RunOutcome.SOLVED):
                found[i] = points[-1].log_probability
        return found

    def until(self, known: int, floor: float) -> Past:
        """What was known when the trial of that ``told_order`` had been told."""
        size = int(np.searchsorted(self._order[: self._size], known, side="right"))
        return Past(self._costs[:size], self._curves[:size], self._accuracy[:size], floor)

    def candidate(self, record: TrialRecord, run: Evaluation) -> Candidate:
        """A run that has come to a rung."""
        return Candidate(
            cost=self._scaled_cost(record),
            rung=self._rungs.index(run.step),
            progress=run.step / self._rungs[-1],
            log_probability=np.array(run.curve[-1].log_probability),
        )


def _furthest(record: TrialRecord) -> Evaluation | None:
    """The run that stands for its trial."""
    if record.scored_run is not None:
        return record.scored
    against = record.verdicts
    curves = [(run not in against, e.step, -run, e) for run, e in record.runs.items() if e.curve]
    return max(curves, key=lambda c: c[:3])[3] if curves else None

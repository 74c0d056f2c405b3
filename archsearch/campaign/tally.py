"""Counts of what was told, kept as it happens: long campaigns are not counted anew each time."""

from __future__ import annotations

from archsearch.records import TrialOutcome, TrialRecord


class Tally:
    """What a campaign has told so far.

    Attributes:
        last_order: The highest ``told_order``, references included.
        told: Trials told, rejected ones included.
        evaluated: Trials that count against the budget.
        failed: Trials without a result.
        failed_in_row: The last evaluated ones.
        training_seconds: Of all runs of the evaluated trials.
    """

    def __init__(self) -> None:
        self.last_order = 0
        self.told = 0
        self.evaluated = 0
        self.failed = 0
        self.failed_in_row = 0
        self.training_seconds = 0.0

    def add(self, record: TrialRecord) -> None:
        """A record that was just told, or is found told, in the order of telling."""
        self.last_order = max(self.last_order, record.told_order or 0)
        if record.reference is not None:
            return
        self.told += 1
        if not record.outcome.was_evaluated:
            return
        self.evaluated += 1
        self.training_seconds += record.seconds
        if record.outcome is TrialOutcome.FAILED:
            self.failed += 1
            self.failed_in_row += 1
        else:
            self.failed_in_row = 0

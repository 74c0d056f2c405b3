"""What the campaign does about a trial's runs, from all that it has learned by then."""

from __future__ import annotations

from functools import partial

from archsearch.campaign import policy, race
from archsearch.campaign.config import Campaign
from archsearch.campaign.history import History
from archsearch.campaign.race import Move, Plan
from archsearch.campaign.standing import conv_only
from archsearch.campaign.stopping import rules
from archsearch.objectives import LEAST_GAP
from archsearch.records import Evaluation, TrialRecord


class Judge:
    """Judges races and stops; a driver and a replay come to the same.

    Args:
        campaign: The campaign.

    Attributes:
        plan: How its designs are trained.
    """

    def __init__(self, campaign: Campaign) -> None:
        settings = campaign.settings
        self.plan: Plan = policy.plan_of(
            campaign.file, stopping=settings.stopping, seed=settings.seed
        )
        self._rule = rules.get(settings.stopping)
        cells = len(campaign.file.task.cells)
        self._history = History(
            self.plan.rungs,
            cells,
            campaign.objectives[1],
            oracles=campaign.file.search.oracles,
        )
        self._references: list[TrialRecord] = []

    def learn(self, record: TrialRecord) -> None:
        """Takes note of a trial or a reference that was told; trials in their order."""
        if record.reference is None:
            self._history.add(record)
        else:
            self._references.append(record)

    def advance(self, record: TrialRecord, known: int) -> tuple[TrialRecord, tuple[Move, ...]]:
        """What the runs of a trial do next; see ``race.advance``.

        References are trained to their end, and none of their losers is.

        Args:
            record: The trial; none of its runs is under way.
            known: The highest ``told_order`` of the trials that may be known.
        """
        if record.reference is not None:
            return race.advance(self.plan._replace(audit=0.0), record, _never, known)
        return race.advance(self.plan, record, partial(self._stops, record, known), known)

    def concluded(self, record: TrialRecord) -> TrialRecord:
        """The trial with its outcome and score; see ``race.concluded``."""
        return race.concluded(self.plan, record)

    def _stops(self, record: TrialRecord, known: int, run: Evaluation) -> bool:
        floor = conv_only([r for r in self._references if (r.told_order or 0) <= known])
        least = LEAST_GAP + (0.0 if floor is None else floor.accuracy)
        past = self._history.until(known, least)
        return self._rule(self._history.candidate(record, run), past)


def _never(run: Evaluation) -> bool:
    return False

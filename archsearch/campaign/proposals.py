"""From a sampler's draw to a priced, recognised design; nothing is trained here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np

from archsearch.architecture import Scalar
from archsearch.campaign.config import Campaign
from archsearch.campaign.feasibility import Priced, violations
from archsearch.campaign.standing import is_oracle, priced_at, value_of
from archsearch.canonical import campaign_key
from archsearch.objectives import Objective
from archsearch.records import FailureKind, TrialOutcome, TrialRecord, now_text
from archsearch.samplers import samplers
from archsearch.samplers.base import Prospect, TrialSuggest, draw_seed
from archsearch.space import CompletedSuggest
from archsearch.space.schema import SECOND_OBJECTIVES
from archsearch.storage import Store

_UNBUILDABLE_COST = 1e15
"""Told for a design that cannot be built and so has no price; its constraint is violated anyway."""

_LOOKS_KEPT = 4096
"""In a small space the same designs are looked at again and again."""


class Rejected(NamedTuple):
    """Numbers of proposals that were not trained."""

    known: int
    infeasible: int


class Proposer:
    """Asks the study, prices what comes, and recognises what was there before.

    Args:
        campaign: The campaign.
        store: Its study, open for writing.
        records: Trials known so far.
    """

    def __init__(self, campaign: Campaign, store: Store, records: Iterable[TrialRecord]) -> None:
        self._campaign = campaign
        self._store = store
        self._sampler = samplers.get(campaign.settings.sampler)
        self._random = samplers.get("random")
        # what is told passes through the study's sampler, so it is the campaign's from the start
        store.study.sampler = self._sampler(draw_seed(campaign.settings.seed, 0, "told"))
        self._owner: dict[str, int] = {}
        self._stopped: set[str] = set()
        self._looked_at: dict[tuple[tuple[str, Scalar], ...], Priced] = {}
        self._rejected: dict[int, TrialOutcome] = {}
        for record in records:
            self.remember(record)

    def remember(self, record: TrialRecord) -> None:
        """Takes note of a trial: later equal designs are duplicates of it.

        Failed ones too, for what ended a worker twice would do so again; not those that went down
        with their node.
        """
        if record.reference is not None:
            return
        if record.outcome in (TrialOutcome.DUPLICATE, TrialOutcome.INFEASIBLE):
            self._rejected[record.number] = record.outcome
        elif record.failure is not None and record.failure.kind is FailureKind.LOST:
            if self._owner.get(record.campaign_key) == record.number:
                del self._owner[record.campaign_key]
        elif record.campaign_key:
            self._owner.setdefault(record.campaign_key, record.number)
            if record.outcome is TrialOutcome.STOPPED:
                self._stopped.add(record.campaign_key)

    def duplicates_before(self, number: int) -> int:
        """Duplicates in an unbroken row just before a trial."""
        count = 0
        while self._rejected.get(number - 1 - count) is TrialOutcome.DUPLICATE:
            count += 1
        return count

    def rejected_before(self, number: int) -> Rejected:
        """What was rejected in an unbroken row just before a trial."""
        row: list[TrialOutcome] = []
        while (outcome := self._rejected.get(number - 1 - len(row))) is not None:
            row.append(outcome)
        known = row.count(TrialOutcome.DUPLICATE)
        return Rejected(known, len(row) - known)

    def draw(self, number: int, *, random: bool) -> TrialRecord:
        """The record of a running trial: to be trained, infeasible or a duplicate.

        An adopted trial keeps the parameters that it has and draws the rest as it would have.
        """
        suggest = TrialSuggest(
            self._store.trial(number),
            self._store.study,
            self._random if random else self._sampler,
            self._campaign.settings.seed,
            partial(self._look, number),
        )
        drawn = self._campaign.file.space.sample(suggest)
        design, price, violated = violations(self._campaign.file, drawn)
        self._store.constrain(number, violated)
        record = TrialRecord(
            number=number,
            outcome=TrialOutcome.RUNNING,
            architecture=design or drawn,
            params=dict(self._store.trial(number).params),
            price=price,
            violations={name: value for name, value in violated.items() if value > 0},
            started_at=now_text(),
        )
        if design is None or record.violations:
            changes: dict[str, object] = {"outcome": TrialOutcome.INFEASIBLE}
            if design is not None:
                changes["digest"] = design.digest
            record = record.model_copy(update=changes)
        else:
            record = self._recognised(record)
        self.remember(record)
        return record

    def _look(
        self, number: int, answers: Mapping[str, Scalar], generator: np.random.Generator
    ) -> Prospect | None:
        """A design as a sampler may see it before it proposes it as trial ``number``."""
        suggest = CompletedSuggest(answers, generator)
        drawn = self._campaign.file.space.sample(suggest)
        place = tuple(suggest.answers.items())
        if place not in self._looked_at:
            self._looked_at[place] = violations(self._campaign.file, drawn)
            if len(self._looked_at) > _LOOKS_KEPT:
                del self._looked_at[next(iter(self._looked_at))]
        design, price, violated = self._looked_at[place]
        if design is None or price is None:
            return None
        key = campaign_key(design, self._campaign.n_max)
        feasible = all(value <= 0 for value in violated.values())
        objective = self._campaign.objectives[1]
        return Prospect(
            params=suggest.answers,
            design=design,
            key=key,
            is_new=feasible and self._owner.get(key, number) >= number,
            was_stopped=key in self._stopped,
            cost=objective.loss(priced_at(price, objective)),
        )

    def _recognised(self, record: TrialRecord) -> TrialRecord:
        assert record.architecture is not None
        key = campaign_key(record.architecture, self._campaign.n_max)
        changes: dict[str, object] = {"digest": record.architecture.digest, "campaign_key": key}
        owner = self._owner.get(key)
        if owner is not None and owner != record.number:
            changes |= {"outcome": TrialOutcome.DUPLICATE, "duplicate_of": owner}
        return record.model_copy(update=changes)

    def told_values(self, record: TrialRecord) -> list[float] | None:
        """What the sampler is told; None for a trial that taught nothing.

        Infeasible, diverged and too large designs are results: accuracy 0 at their price. So are
        those that are told the answers, unless they may be members: they are not to be looked for.
        What failed without being the design's fault, and duplicates, are not.
        """
        if record.outcome in (TrialOutcome.DUPLICATE, TrialOutcome.FAILED):
            return None
        if not self._campaign.file.search.oracles and is_oracle(record):
            record = record.model_copy(update={"accuracy": 0.0})
        return [o.scaled(_told(record, o)) for o in self._campaign.objectives]


def _told(record: TrialRecord, objective: Objective) -> float:
    if record.price is None and objective.name in SECOND_OBJECTIVES:
        return _UNBUILDABLE_COST
    return value_of(record, objective)

"""The loop of a campaign: ask, price, submit, collect, judge, tell. The one writer of the study.

Every change of state is durable before it is acted on: whatever ends this process, a new driver
adopts the running trials under their numbers and goes on as if nothing had happened.
"""

from __future__ import annotations

from archsearch.campaign import policy, race, rungs
from archsearch.campaign.config import Campaign
from archsearch.campaign.dispatch import Arrival, Key, WorkerSettings, key_of
from archsearch.campaign.front import front_of
from archsearch.campaign.judge import Judge
from archsearch.campaign.loop import Loop
from archsearch.campaign.policy import Action, SearchState
from archsearch.campaign.progress import (
    Ending,
    EndKind,
    Observer,
    Snapshot,
    Stop,
    TrialLog,
    name_of,
)
from archsearch.campaign.proposals import Proposer
from archsearch.campaign.references import (
    FULL_ATTENTION,
    planned_references,
    reference_record,
    usual_designs,
    widths,
)
from archsearch.campaign.standing import conv_only, value_of
from archsearch.campaign.tally import Tally
from archsearch.execution.base import Executor
from archsearch.records import Failure, TrialOutcome, TrialRecord, now_text
from archsearch.storage import Store


class Driver(Loop):
    """Runs or continues a campaign's search; see ``Loop`` for what it is given."""

    def __init__(
        self,
        campaign: Campaign,
        store: Store,
        executor: Executor,
        observer: Observer,
        stop: Stop,
        worker: WorkerSettings,
    ) -> None:
        self._log = TrialLog(observer)
        super().__init__(campaign, store, executor, self._log, stop, worker)
        self._earlier_seconds = store.elapsed_seconds()
        self._records: dict[Key, TrialRecord] = {}
        self._tally = Tally()
        self._judge = Judge(campaign)
        self._confirmations = store.confirmations()  # of an earlier time: the front shows them
        known = store.records()
        # a driver killed while telling has left a record with its order, of a trial still running
        self._adopted = store.running()
        running = set(self._adopted)
        for record in sorted(known, key=lambda r: r.told_order or 0):
            self._records[key_of(record)] = record
            self._dispatcher.expect(record.evaluations)
            if record.reference is not None or record.number not in running:
                self._learn(record)
        self._proposer = Proposer(campaign, store, known)
        self._held: dict[int, TrialRecord] = {}
        self._held_references: dict[Key, TrialRecord] = {}
        self._reference_order: list[Key] = []
        self._lost_reference = ""
        self._next_number = 1 + max((n for name, n in self._records if name is None), default=-1)

    def run(self) -> Ending:
        """Trains the references and searches until the policy ends it."""
        for record in self._records.values():
            if record.told_order is not None:
                rungs.keep_scored(self._campaign, record)
        self._begin_references()
        self._adopt()
        try:
            ending = self._search()
        finally:
            self._log.flush()
        self._store.set_elapsed_seconds(self._elapsed_seconds())
        self._observer.update(self._snapshot)
        return ending

    def _learn(self, record: TrialRecord) -> None:
        """Takes note of a trial that was told, or of a finished reference."""
        self._tally.add(record)
        self._judge.learn(record)
        # the store has the curves, and the judge what rules need of them
        self._records[key_of(record)] = race.abridged(record)

    # references

    def _begin_references(self) -> None:
        """Lines up those that are missing: workers take them before any trial."""
        campaign = self._campaign
        planned = [
            record
            for record in planned_references(campaign.file, campaign.settings.reference_widths)
            if key_of(record) not in self._records
        ]
        self._reference_order = [key_of(r) for r in planned]
        for record in planned:
            self._records[key_of(record)] = record
            self._go_on(record)
        self._freeze_reference_point()

    def _freeze_reference_point(self) -> None:
        """Convolutions only for accuracy, two attention layers at the widest setting for cost.

        And no rate that works for learnability. Once, when all references are trained.
        """
        if self._reference_order or self._campaign.settings.reference_point is not None:
            return
        file = self._campaign.file
        floor = conv_only([r for r in self._records.values() if r.reference is not None])
        widest = usual_designs(file, max(widths(file)))[FULL_ATTENTION[0]]
        record = reference_record(file, 0, FULL_ATTENTION[0], widest)
        accuracy = floor.accuracy if floor is not None else 0.0
        record = record.model_copy(update={"accuracy": accuracy})
        self._campaign.freeze(
            reference_point=tuple(value_of(record, o) for o in self._campaign.objectives)
        )

    # search

    def _adopt(self) -> None:
        """Goes on with what a dead driver left running, in the order of the numbers."""
        for number in self._adopted:
            noted = self._records[None, number]
            if noted.outcome is TrialOutcome.RUNNING:
                self._observer.event(f"trial {number}: adopted from an earlier driver")
                self._go_on(noted)
            else:
                self._finish(noted)

    def _search(self) -> Ending:
        while True:
            if self._stop.draining or self._lost_reference:
                self._dispatcher.withdraw()
            decision = policy.decide(self._state())
            if decision.action in (Action.ASK, Action.ASK_RANDOM):
                self._tell_what_is_due()
                number = self._store.ask()
                self._next_number = number + 1
                self._propose(number, random=decision.action is Action.ASK_RANDOM)
                # a rung that has arrived is gone on with sooner than the next trial is drawn
                if not self._collect(wait_seconds=0):
                    return Ending(EndKind.CANCELLED, "cancelled by the user")
            elif decision.action is Action.WAIT:
                if not self._collect():
                    return Ending(EndKind.CANCELLED, "cancelled by the user")
            elif decision.action is Action.ABORT:
                self._tell_held()
                return Ending(EndKind.ABORTED, decision.reason)
            elif not self._stop.draining:
                self._tell_held()
                return Ending(EndKind.FINISHED, decision.reason)
            else:
                return Ending(EndKind.DRAINED, decision.reason)

    def _tell_what_is_due(self) -> None:
        """In a deterministic campaign: trial k - lag is told just before k is asked."""
        lag = self._campaign.settings.lag
        if lag is not None and self._next_number - self._tally.told >= lag:
            self._tell(self._held.pop(self._tally.told))

    def _tell_held(self) -> None:
        """At the end nothing is asked any more: what was held back is told in its order."""
        while (record := self._held.pop(self._tally.told, None)) is not None:
            self._tell(record)

    def _state(self) -> SearchState:
        settings = self._campaign.settings
        minutes = settings.time_budget_minutes
        rejected = self._proposer.rejected_before(self._next_number)
        tally = self._tally
        done = [r for r in self._held.values() if r.outcome.was_evaluated]
        return SearchState(
            evaluated=tally.evaluated + len(done),
            in_flight=self._next_number - tally.told - len(self._held),
            requests=self._dispatcher.pieces,
            slots=self._executor.slots,
            references=len(self._reference_order),
            lost_reference=self._lost_reference,
            blocked=settings.lag is not None and self._is_blocked(settings.lag),
            target=settings.trials,
            elapsed_seconds=self._elapsed_seconds(),
            budget_seconds=None if minutes is None else 60 * minutes,
            duplicates_in_row=self._proposer.duplicates_before(self._next_number),
            known_in_row=rejected.known,
            infeasible_in_row=rejected.infeasible,
            failed=tally.failed,
            failed_in_row=tally.failed_in_row,
            draining=self._stop.draining,
        )

    def _is_blocked(self, lag: int) -> bool:
        """Whether a deterministic campaign may not ask yet: what it is to know has not ended."""
        waits = self._next_number - self._tally.told >= lag and self._tally.told not in self._held
        return waits or bool(self._reference_order)

    def _propose(self, number: int, *, random: bool) -> None:
        record = self._proposer.draw(number, random=random)
        record = record.model_copy(update={"known": self._tally.last_order})
        if record.outcome is TrialOutcome.RUNNING:
            self._go_on(record)
        else:
            self._finish(record)

    # runs

    def _fill(self) -> None:
        if not self._lost_reference:
            super()._fill()

    def _go_on(self, record: TrialRecord) -> None:
        """Judges a trial whose runs have all arrived; starts what is next, or finishes it."""
        if record.failure is not None:
            self._finish(record.model_copy(update={"outcome": TrialOutcome.FAILED}))
            return
        # a deterministic campaign judges by what was known when the trial was asked
        fixed = self._campaign.settings.lag is not None
        judged, moves = self._judge.advance(
            record, record.known if fixed else self._tally.last_order
        )
        if not moves:
            self._finish(self._judge.concluded(judged))
            return
        self._records[key_of(judged)] = judged
        if judged.reference is None:  # references begin again, and find their rungs
            self._store.note(judged)
        self._dispatcher.add(judged, moves)

    def _take(self, arrival: Arrival) -> None:
        record = self._records[arrival.key]
        earlier = None
        changes: dict[str, object] = {"attempts": record.attempts + arrival.attempts}
        if isinstance(arrival.result, Failure):
            changes["failure"] = arrival.result
            record = record.model_copy(update=changes)
        else:
            earlier = record.runs.get(arrival.result.seed.run)
            record = race.with_rung(record.model_copy(update=changes), arrival.result)
        self._records[arrival.key] = record
        if not self._dispatcher.busy(arrival.key):
            self._go_on(record)  # notes it, or tells it
        elif record.reference is None:
            self._store.note(record)
        if earlier is not None and record.reference is None:
            rungs.remove_rung(self._campaign, record, earlier)
        self._fill()  # many may have arrived: no worker waits until all of them are taken

    # the end of a trial

    def _finish(self, record: TrialRecord) -> None:
        """Tells the study for good; in a deterministic campaign that waits for its turn."""
        if record.reference is not None and record.failure is not None:
            # without its references a campaign means nothing; it is tried at the next start
            del self._records[key_of(record)]
            self._lost_reference = f"{name_of(record)} failed: {record.failure.message}"
            self._observer.event(self._lost_reference)
            return
        if record.reference is not None:
            # in their order, whichever ends first: until then its rungs stand for it
            self._held_references[key_of(record)] = record
            order = self._reference_order
            while order and order[0] in self._held_references:
                self._tell(self._held_references.pop(order.pop(0)))
            self._freeze_reference_point()
        elif self._campaign.settings.lag is not None:
            self._store.note(record)
            self._records[key_of(record)] = record
            self._held[record.number] = record
        else:
            self._tell(record)

    def _tell(self, record: TrialRecord) -> None:
        order = self._tally.last_order + 1
        record = record.model_copy(update={"told_order": order, "finished_at": now_text()})
        values = self._proposer.told_values(record)
        if record.reference is None:
            self._store.tell(record, values)
        else:
            self._store.add_reference(record, values)
        if record.outcome.was_evaluated:  # the others take no time
            self._store.set_elapsed_seconds(self._elapsed_seconds())
        self._learn(record)
        self._proposer.remember(record)
        rungs.keep_scored(self._campaign, record)
        self._log.tell(record)
        self._observer.update(self._snapshot)

    # display

    def _snapshot(self) -> Snapshot:
        front = front_of(self._campaign, self._records.values(), self._confirmations)
        phase = "references" if self._reference_order else "search"
        phase = "draining" if self._said_draining else phase
        eta_seconds = self._eta_seconds(self._state())
        return self._shown(phase, front, self._records.values(), eta_seconds)

    def _eta_seconds(self, state: SearchState) -> float | None:
        by_time = (
            None
            if state.budget_seconds is None
            else max(0.0, state.budget_seconds - state.elapsed_seconds)
        )
        if state.target is None or not self._tally.evaluated:
            return by_time
        mean = self._tally.training_seconds / self._tally.evaluated
        left = max(0, state.target - state.evaluated) * mean / state.slots
        return left if by_time is None else min(left, by_time)

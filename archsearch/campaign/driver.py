"""The loop of a campaign: ask, price, submit, collect, tell. The one writer of the study.

Every change of state is durable before it is acted on: whatever ends this process, a new driver
adopts the running trials under their numbers and goes on as if nothing had happened.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from archsearch.architecture import Architecture
from archsearch.campaign import policy
from archsearch.campaign.config import RUNS, SETTINGS_FILE, Campaign
from archsearch.campaign.feasibility import priced
from archsearch.campaign.front import conv_only, cost_of, front_of
from archsearch.campaign.policy import Action, SearchState
from archsearch.campaign.progress import (
    Ending,
    EndKind,
    Observer,
    Snapshot,
    Stop,
    design_of,
    name_of,
    told_line,
)
from archsearch.campaign.proposals import Proposer, now_text
from archsearch.campaign.references import (
    FULL_ATTENTION,
    reference_designs,
    reference_widths,
    usual_designs,
    widths,
)
from archsearch.errors import StoreError
from archsearch.execution.base import Answer, Executor
from archsearch.objectives import capped_accuracy
from archsearch.records import (
    Evaluation,
    EvaluationRequest,
    Failure,
    Front,
    RunOutcome,
    RunSeed,
    TrialOutcome,
    TrialRecord,
)
from archsearch.storage import Store

_POLL_SECONDS = 1.0
_EVALUATED = (
    TrialOutcome.SOLVED,
    TrialOutcome.FINISHED,
    TrialOutcome.DIVERGED,
    TrialOutcome.OOM,
    TrialOutcome.FAILED,
)


@dataclass(frozen=True)
class WorkerSettings:
    """What a worker may use.

    Attributes:
        threads: Torch threads of a request.
        memory_limit_bytes: Largest data segment; None for no limit.
        device: Where models are trained.
    """

    threads: int = 1
    memory_limit_bytes: int | None = None
    device: str = "cpu"


@dataclass
class _Flight:
    record: TrialRecord
    request: EvaluationRequest
    began: float = field(default_factory=time.monotonic)


class Driver:
    """Runs or continues a campaign; the caller holds its lock.

    Args:
        campaign: The campaign.
        store: Its study, open for writing.
        executor: Carries out requests.
        observer: Is told what happens.
        stop: How the user ends it.
        worker: What a worker may use.
    """

    def __init__(
        self,
        campaign: Campaign,
        store: Store,
        executor: Executor,
        observer: Observer,
        stop: Stop,
        worker: WorkerSettings,
    ) -> None:
        self._campaign = campaign
        self._store = store
        self._executor = executor
        self._observer = observer
        self._stop = stop
        self._worker = worker
        self._records = {(r.reference, r.number): r for r in store.records()}
        self._proposer = Proposer(campaign, store, self._records.values())
        self._flights: dict[int, _Flight] = {}
        self._began = time.monotonic()
        self._earlier_seconds = store.elapsed_seconds()
        self._busy_seconds = 0.0
        self._lost_reference = ""
        self._phase = "references"
        self._next_number = 1 + max((r.number for r in self._trials()), default=-1)

    def run(self) -> Ending:
        """Trains the references, then searches until the policy ends it."""
        ending = self._train_references()
        if ending is None:
            self._phase = "search"
            self._adopt()
            ending = self._search()
        self._store.set_elapsed_seconds(self._elapsed_seconds())
        return ending

    def front(self) -> Front:
        """The front so far."""
        return front_of(self._campaign, self._records.values())

    def _trials(self) -> list[TrialRecord]:
        return [r for r in self._records.values() if r.reference is None]

    def _references(self) -> list[TrialRecord]:
        return [r for r in self._records.values() if r.reference is not None]

    def _elapsed_seconds(self) -> float:
        return self._earlier_seconds + time.monotonic() - self._began

    # references

    def _train_references(self) -> Ending | None:
        waiting = [
            record
            for record in self._planned_references()
            if (record.reference, record.number) not in self._records
        ]
        waiting.reverse()
        while waiting or self._flights:
            if self._stop.draining or self._lost_reference:
                waiting.clear()
            while waiting and len(self._flights) < self._executor.slots:
                self._submit(waiting.pop())
            if not self._collect():
                return Ending(EndKind.CANCELLED, "cancelled by the user")
        if self._lost_reference:
            return Ending(EndKind.ABORTED, self._lost_reference)
        if self._stop.draining:
            return Ending(EndKind.DRAINED, "stopped by the user")
        if self._campaign.settings.reference_point is None:
            self._freeze_reference_point()
        return None

    def _planned_references(self) -> list[TrialRecord]:
        file = self._campaign.file
        all_widths = reference_widths(file, self._campaign.settings.reference_widths)
        planned: list[TrialRecord] = []
        for width in all_widths:
            suffix = "" if width == all_widths[0] else f" @d{width}"
            for name, design in reference_designs(file, width).items():
                planned.append(self._reference_record(-1 - len(planned), name + suffix, design))
        return planned

    def _reference_record(self, number: int, name: str, design: Architecture) -> TrialRecord:
        return TrialRecord(
            number=number,
            outcome=TrialOutcome.RUNNING,
            architecture=design,
            reference=name,
            digest=design.digest,
            price=priced(self._campaign.file, design),
            started_at=now_text(),
        )

    def _freeze_reference_point(self) -> None:
        """(accuracy of convolutions only, cost of two attention layers at the widest setting)."""
        file = self._campaign.file
        floor = conv_only(self._references())
        widest = usual_designs(file, max(widths(file)))[FULL_ATTENTION[0]]
        record = self._reference_record(0, FULL_ATTENTION[0], widest)
        self._campaign.freeze(
            reference_point=(
                floor.accuracy if floor is not None else 0.0,
                cost_of(record, self._campaign.objectives[1]),
            )
        )

    # search

    def _adopt(self) -> None:
        """Finishes or resubmits what a dead driver left running, in the order of the numbers."""
        for number in self._store.adopt():
            self._next_number = max(self._next_number, number + 1)
            noted = self._store.running_record(number)
            if noted is not None and noted.outcome is not TrialOutcome.RUNNING:
                self._finish(noted)
                continue
            self._observer.event(f"trial {number}: adopted from an earlier driver")
            random = (
                policy.decide(
                    SearchState(duplicates_in_row=self._proposer.duplicates_before(number))
                ).action
                is Action.ASK_RANDOM
            )
            self._propose(number, random=random)

    def _search(self) -> Ending:
        while True:
            decision = policy.decide(self._state())
            if decision.action in (Action.ASK, Action.ASK_RANDOM):
                number = self._store.ask()
                self._next_number = number + 1
                self._propose(number, random=decision.action is Action.ASK_RANDOM)
            elif decision.action is Action.WAIT:
                if not self._collect():
                    return Ending(EndKind.CANCELLED, "cancelled by the user")
            elif decision.action is Action.ABORT:
                return Ending(EndKind.ABORTED, decision.reason)
            else:
                kind = EndKind.DRAINED if self._stop.draining else EndKind.FINISHED
                return Ending(kind, decision.reason)

    def _state(self) -> SearchState:
        trials = self._trials()
        told = sorted(
            (t for t in trials if t.outcome in _EVALUATED), key=lambda t: t.told_order or 0
        )
        in_row = 0
        while in_row < len(told) and told[-1 - in_row].outcome is TrialOutcome.FAILED:
            in_row += 1
        minutes = self._campaign.settings.time_budget_minutes
        rejected = self._proposer.rejected_before(self._next_number)
        return SearchState(
            evaluated=len(told),
            in_flight=len(self._flights),
            slots=self._executor.slots,
            target=self._campaign.settings.trials,
            elapsed_seconds=self._elapsed_seconds(),
            budget_seconds=None if minutes is None else 60 * minutes,
            duplicates_in_row=self._proposer.duplicates_before(self._next_number),
            known_in_row=rejected.known,
            infeasible_in_row=rejected.infeasible,
            failed=sum(t.outcome is TrialOutcome.FAILED for t in told),
            failed_in_row=in_row,
            draining=self._stop.draining,
        )

    def _propose(self, number: int, *, random: bool) -> None:
        record = self._proposer.draw(number, random=random)
        self._store.note(record)
        if record.outcome is TrialOutcome.RUNNING:
            self._submit(record)
        else:
            self._finish(record)

    # requests and answers

    def _submit(self, record: TrialRecord) -> None:
        file = self._campaign.file
        assert record.architecture is not None
        step = policy.next_step(file.training, record.evaluations)
        assert step is not None
        home = f"ref{-record.number}" if record.reference is not None else str(record.number)
        base = self._campaign.directory.resolve() / RUNS / home / "0"
        checkpoint = base / str(record.evaluations[-1].step) if step.from_checkpoint else None
        request = EvaluationRequest(
            architecture=record.architecture,
            task=file.task,
            training=file.training,
            seed=RunSeed(campaign=self._campaign.settings.seed, trial=record.number),
            to_step=step.to_step,
            checkpoint=None if checkpoint is None else str(checkpoint),
            directory=str(base / str(step.to_step)),
            threads=self._worker.threads,
            deadline_seconds=policy.deadline_seconds(
                [e.seconds for r in self._records.values() for e in r.evaluations]
            ),
            memory_limit_bytes=self._worker.memory_limit_bytes,
            device=self._worker.device,
        )
        record = record.model_copy(update={"attempts": record.attempts + 1})
        self._records[record.reference, record.number] = record
        self._flights[self._executor.submit(request)] = _Flight(record, request)

    def _collect(self) -> bool:
        """Waits about a second for answers; False when the user cancelled."""
        waited = time.monotonic()
        answers = self._executor.poll(_POLL_SECONDS)
        self._busy_seconds += len(self._flights) * (time.monotonic() - waited)
        for answer in answers:
            self._take(answer)
        if self._stop.draining and self._phase != "draining":
            self._phase = "draining"
            self._observer.event(f"draining: {len(self._flights)} running; Ctrl-C again cancels")
        if not (self._campaign.directory / SETTINGS_FILE).is_file():
            raise StoreError(f"{self._campaign.directory}: was removed under the running campaign")
        if self._stop.cancelled:
            self._executor.cancel()
            return False
        self._observer.update(self._snapshot())
        return True

    def _take(self, answer: Answer) -> None:
        flight = self._flights.pop(answer.ticket)
        record, result = flight.record, answer.result
        if isinstance(result, Failure):
            if policy.tries_again(result, record.attempts):
                self._observer.event(f"{name_of(record)}: {result.message}; trying again")
                self._submit(record)
                return
            changes: dict[str, object] = {"outcome": TrialOutcome.FAILED, "failure": result}
        else:
            changes = _scored(record, result)
        record = record.model_copy(update=changes)
        if record.outcome is TrialOutcome.RUNNING:
            if record.reference is None:  # references begin again, and find their rungs
                self._store.note(record)
            self._submit(record)
        else:
            self._finish(record)

    def _finish(self, record: TrialRecord) -> None:
        """Tells the study for good, then everybody else."""
        if record.reference is not None and record.failure is not None:
            # without its references a campaign means nothing; it is tried at the next start
            del self._records[record.reference, record.number]
            self._lost_reference = f"{name_of(record)} failed: {record.failure.message}"
            self._observer.event(self._lost_reference)
            return
        # an adopted record may have been given its order already: the same one again
        key = (record.reference, record.number)
        others = (r.told_order or 0 for k, r in self._records.items() if k != key)
        order = 1 + max(others, default=0)
        record = record.model_copy(update={"told_order": order, "finished_at": now_text()})
        values = self._proposer.told_values(record)
        if record.reference is None:
            self._store.tell(record, values)
        else:
            self._store.add_reference(record, values)
        self._store.set_elapsed_seconds(self._elapsed_seconds())
        self._records[key] = record
        self._proposer.remember(record)
        self._observer.event(told_line(record))
        self._observer.update(self._snapshot())

    # display

    def _snapshot(self) -> Snapshot:
        front = self.front()
        state = self._state()
        spent = time.monotonic() - self._began
        return Snapshot(
            phase=self._phase,
            counts=front.counts,
            running=tuple(
                f"{name_of(f.record)}: {design_of(f.record)}" for f in self._flights.values()
            ),
            front=front,
            target_trials=state.target,
            elapsed_seconds=state.elapsed_seconds,
            eta_seconds=self._eta_seconds(state),
            core_use=self._busy_seconds / (spent * state.slots) if spent > 0 else None,
        )

    def _eta_seconds(self, state: SearchState) -> float | None:
        by_time = (
            None
            if state.budget_seconds is None
            else max(0.0, state.budget_seconds - state.elapsed_seconds)
        )
        done = [e.seconds for t in self._trials() for e in t.evaluations]
        if state.target is None or not done:
            return by_time
        left = max(0, state.target - state.evaluated) * (sum(done) / len(done)) / state.slots
        return left if by_time is None else min(left, by_time)


def _scored(record: TrialRecord, evaluation: Evaluation) -> dict[str, object]:
    done: Sequence[Evaluation] = (*record.evaluations, evaluation)
    changes: dict[str, object] = {"evaluations": tuple(done)}
    if evaluation.outcome is not RunOutcome.PAUSED:
        changes["outcome"] = TrialOutcome(evaluation.outcome.value)
        if evaluation.test:
            changes["accuracy"] = capped_accuracy([cell.accuracy for cell in evaluation.test])
    return changes

"""Campaigns that confirm what they found: killed anywhere, drained, on any number of workers."""

from __future__ import annotations

import hashlib
import itertools
import random
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archsearch.campaign.config import RUNS, Campaign
from archsearch.campaign.confirmation import agenda, terms_of
from archsearch.campaign.dispatch import WorkerSettings
from archsearch.campaign.front import front_of
from archsearch.campaign.launch import work
from archsearch.campaign.progress import Ending, EndKind, Stop
from archsearch.campaign.replay import Replay, replay
from archsearch.campaign.rungs import run_directory
from archsearch.evaluate import evaluate
from archsearch.execution.base import Answer
from archsearch.records import (
    FRESH_RUNS,
    Confirmation,
    Evaluation,
    EvaluationRequest,
    Failure,
    FailureKind,
    Front,
    RunOutcome,
    TrialOutcome,
    TrialRecord,
)
from archsearch.storage import (
    Store,
    read_confirm_seconds,
    read_confirmations,
    read_elapsed_seconds,
    read_records,
)
from tests.campaign.test_adoption import Killed, abandon, killed_at_commit
from tests.helpers import (
    Inline,
    Silent,
    everything,
    made_up,
    new_campaign,
    open_store,
    study_of,
    tiny_text,
)

TEXT = tiny_text("random", 8).replace("confirm_seeds: 0", "confirm_seeds: 3")

Train = Callable[[EvaluationRequest], Evaluation | Failure]


def seeded(request: EvaluationRequest) -> Evaluation:
    """A score made up from the design, and less than 0.1 from the seed."""
    whole = made_up(request)
    name = f"{request.seed.trial}/{request.seed.run}".encode()
    luck = hashlib.sha256(name).digest()[0] / 2560
    return whole.model_copy(
        update={
            "test": tuple(
                c.model_copy(update={"accuracy": 0.9 * c.accuracy + luck}) for c in whole.test
            )
        }
    )


def is_fresh(request: EvaluationRequest) -> bool:
    return request.seed.run >= FRESH_RUNS


def session(
    campaign: Campaign,
    executor: Inline | None = None,
    *,
    create: bool = True,
    stop: Stop | None = None,
    observer: Silent | None = None,
    search: bool = True,
) -> Ending:
    """What ``launch`` does, without a lock."""
    store = open_store(campaign, create=create)
    try:
        return work(
            campaign,
            store,
            executor or Inline(seeded),
            observer or Silent(),
            stop or Stop(),
            WorkerSettings(),
            search=search,
        )
    finally:
        store.close()


def records_of(campaign: Campaign) -> dict[int, TrialRecord]:
    found = read_records(campaign.storage_url, campaign.settings.study)
    return {r.number: r for r in found}


def confirmations_of(campaign: Campaign) -> list[Confirmation]:
    return read_confirmations(campaign.storage_url, campaign.settings.study)


def front(campaign: Campaign) -> Front:
    return front_of(campaign, records_of(campaign).values(), confirmations_of(campaign))


def lasting(campaign: Campaign, *, in_order: bool = True) -> list[dict[str, Any]]:
    """Confirmations without what may differ between two equal campaigns."""
    found = [c.model_dump(mode="json") for c in confirmations_of(campaign)]
    for plain in found:
        del plain["finished_at"], plain["attempts"], plain["evaluation"]["seconds"]
    if not in_order:
        found.sort(key=lambda c: (c["batch"], c["number"], c["evaluation"]["seed"]["run"]))
    return found


def replayed(campaign: Campaign, confirmations: Sequence[Confirmation] | None = None) -> Replay:
    records = list(records_of(campaign).values())
    return replay(
        campaign, records, confirmations_of(campaign) if confirmations is None else confirmations
    )


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign that was searched, and not confirmed."""
    text = TEXT.replace("confirm_seeds: 3", "confirm_seeds: 0")
    campaign = new_campaign(tmp_path_factory.mktemp("searched") / "c", text)
    assert session(campaign) == (EndKind.FINISHED, "8 trials done")
    return campaign.directory


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    """An undisturbed campaign."""
    campaign = new_campaign(tmp_path_factory.mktemp("calm") / "c", TEXT)
    assert session(campaign).kind is EndKind.FINISHED
    return campaign


@pytest.fixture
def campaign(searched: Path, tmp_path: Path) -> Campaign:
    """Of its own for each test: searched, and about to be confirmed."""
    shutil.copytree(searched, tmp_path / "c")
    copied = Campaign.open(tmp_path / "c")
    copied.freeze(confirm_seeds=3)
    return copied


def test_a_campaign_ends_with_its_front_confirmed(tmp_path: Path) -> None:
    campaign = new_campaign(tmp_path / "c", TEXT)
    executor, observer = Inline(seeded), Silent()
    ending = session(campaign, executor, observer=observer)
    assert ending.kind is EndKind.FINISHED
    assert ending.reason.startswith("8 trials done; confirmation: ")
    records, found = records_of(campaign), confirmations_of(campaign)
    asked = [r for r in executor.asked if is_fresh(r)]
    assert len(asked) == len(found)
    assert len({r.key for r in executor.asked}) == len(executor.asked)  # no seed twice
    assert [is_fresh(r) for r in executor.asked] == sorted(is_fresh(r) for r in executor.asked)
    for request, confirmation in zip(asked, found, strict=True):
        record = records[confirmation.number]
        assert record.scored is not None
        assert request.training.learning_rate == record.scored.learning_rate
        assert request.architecture == record.architecture
        assert request.to_step == request.training.steps
        assert request.checkpoint is None
        assert confirmation.reference == record.reference
    # in the policy's order, and by its batches
    first_batch = agenda(terms_of(campaign), list(records.values()), []).seeds
    assert [(c.number, c.seed) for c in found[: len(first_batch)]] == [*first_batch]
    assert {c.batch for c in found[: len(first_batch)]} == {1}
    assert {c.batch for c in found[len(first_batch) :]} >= {2}
    seeds = Counter(c.number for c in found)
    shown = front(campaign)
    assert all(seeds[row.number] >= 3 for row in (*shown.members, *shown.references))
    assert all(row.confirmed for row in shown.references)
    assert any(row.confirmed for row in shown.members)
    assert shown.winners_curse is not None
    first = found[0]
    name = f"trial {first.number}" if first.reference is None else f"reference {first.reference}"
    assert any(e.startswith(f"confirm {name}, seed 1 of 3: 0.") for e in observer.events)
    assert observer.snapshots[-1].phase == "confirmation"
    assert observer.snapshots[-1].front == shown


def best_at_the_highest(request: EvaluationRequest) -> Evaluation:
    """Of the rates that race."""
    whole = seeded(request)
    rate = request.training.learning_rate
    share = whole.test[0].accuracy * (1.0 if rate == 1e-2 else 0.5)
    point = whole.curve[0].model_copy(update={"accuracy": (share,) * len(whole.test)})
    return whole.model_copy(update={"curve": (point,)})


def test_each_design_is_confirmed_at_the_rate_that_it_is_scored_at(tmp_path: Path) -> None:
    text = TEXT.replace("learning_rate: 3e-3,", "").replace("confirm_seeds: 3", "confirm_seeds: 1")
    campaign = new_campaign(tmp_path / "c", text)
    executor = Inline(best_at_the_highest)
    session(campaign, executor)
    assert {r.training.learning_rate for r in executor.asked} == {1e-3, 3e-3, 1e-2}
    assert {r.training.learning_rate for r in executor.asked if is_fresh(r)} == {1e-2}
    assert {c.evaluation.learning_rate for c in confirmations_of(campaign)} == {1e-2}


def test_the_search_is_what_it_would_be_without(campaign: Campaign, calm: Campaign) -> None:
    assert everything(campaign) == everything(calm)
    assert confirmations_of(campaign) == []


def test_a_campaign_without_seeds_may_be_confirmed_later(
    campaign: Campaign, calm: Campaign
) -> None:
    """As one that began before there were confirmations: its storage holds two studies."""
    import optuna

    campaign.freeze(confirm_seeds=0)
    study = campaign.settings.study
    assert _studies(campaign) == {study, f"{study}/references"}
    session(campaign, create=False, search=False)
    assert _studies(campaign) == {study, f"{study}/references", f"{study}/confirm"}
    assert lasting(campaign) == lasting(calm)
    assert everything(campaign) == everything(calm)
    storage = optuna.storages.RDBStorage(campaign.storage_url)
    trials = optuna.load_study(storage=storage, study_name=f"{study}/confirm").trials
    assert {t.state.name for t in trials} == {"COMPLETE"}
    assert all(0 <= t.values[0] <= 1 and t.values[1] > 1 for t in trials)
    storage.remove_session()
    storage.engine.dispose()


def _studies(campaign: Campaign) -> set[str]:
    import optuna

    storage = optuna.storages.RDBStorage(campaign.storage_url)
    found = {s.study_name for s in storage.get_all_studies()}
    storage.remove_session()
    storage.engine.dispose()
    return found


# killed, drained, cancelled


def session_until_killed(campaign: Campaign, after: int) -> bool:
    """Whether the campaign ended before it was killed."""
    store = open_store(campaign, create=False)
    try:
        with killed_at_commit(store, after, []):
            ending = work(campaign, store, Inline(seeded), Silent(), Stop(), WorkerSettings())
    except Killed:
        abandon(store)
        return False
    store.close()
    assert ending.kind is EndKind.FINISHED
    return True


def test_a_confirmation_killed_before_random_commits_is_the_undisturbed_one(
    campaign: Campaign, calm: Campaign
) -> None:
    rng = np.random.default_rng(1)
    kills = 0
    while not session_until_killed(campaign, int(rng.integers(3, 30))):
        kills += 1
    assert kills >= 4
    assert everything(campaign) == everything(calm)
    assert lasting(campaign) == lasting(calm)


def test_each_commit_of_a_confirmation_may_be_the_last(campaign: Campaign, calm: Campaign) -> None:
    """The making of the study is among them."""
    for after in itertools.count(1):
        if session_until_killed(campaign, after):
            break
    assert after >= 6
    assert lasting(campaign) == lasting(calm)


def test_drained_and_gone_on_with(campaign: Campaign, calm: Campaign) -> None:
    stop = Stop()

    def drains(request: EvaluationRequest) -> Evaluation:
        stop.draining = request.seed.run == FRESH_RUNS + 1
        return seeded(request)

    observer = Silent()
    assert (
        session(campaign, Inline(drains), stop=stop, observer=observer, create=False).kind
        is EndKind.DRAINED
    )
    assert 0 < len(confirmations_of(campaign)) < len(confirmations_of(calm))
    assert any(e.startswith("draining: ") for e in observer.events)
    second = Inline(seeded)
    assert session(campaign, second, create=False).kind is EndKind.FINISHED
    assert all(is_fresh(r) for r in second.asked)
    assert lasting(campaign) == lasting(calm)


def test_draining_keeps_what_is_under_way(campaign: Campaign) -> None:
    stop = Stop()

    def drains(request: EvaluationRequest) -> Evaluation:
        stop.draining = is_fresh(request)
        return seeded(request)

    executor = Inline(drains, slots=4)
    assert session(campaign, executor, stop=stop, create=False).kind is EndKind.DRAINED
    assert len(confirmations_of(campaign)) == 4
    assert executor.waiting == type(executor.waiting)()


def test_cancelled_loses_what_is_under_way_only(campaign: Campaign, calm: Campaign) -> None:
    stop = Stop()

    def cancels(request: EvaluationRequest) -> Evaluation:
        stop.draining = stop.cancelled = request.seed.run == FRESH_RUNS + 1
        return seeded(request)

    assert (
        session(campaign, Inline(cancels, slots=3), stop=stop, create=False).kind
        is EndKind.CANCELLED
    )
    assert confirmations_of(campaign)
    session(campaign, create=False)
    assert lasting(campaign, in_order=False) == lasting(calm, in_order=False)


class Unordered(Inline):
    """Answers whatever it likes first."""

    def __init__(self, slots: int) -> None:
        super().__init__(seeded, slots)
        self._random = random.Random(slots)

    def poll(self, timeout_seconds: float) -> list[Answer]:
        self.waiting.rotate(self._random.randrange(len(self.waiting) or 1))
        return super().poll(timeout_seconds)


@pytest.mark.parametrize("slots", [2, 9])
def test_any_number_of_workers_confirms_the_same(
    campaign: Campaign, calm: Campaign, slots: int
) -> None:
    executor = Unordered(slots)
    session(campaign, executor, create=False)
    assert executor.most_in_flight == slots
    assert lasting(campaign, in_order=False) == lasting(calm, in_order=False)
    assert front(campaign) == front(calm)


def test_a_complete_rung_is_taken_and_then_removed(campaign: Campaign) -> None:
    """Killed between the worker's last byte and the driver's first: 'resume' finds it there."""
    campaign.freeze(confirm_seeds=1)
    member = front(campaign).members[0].number
    kept = campaign.directory / RUNS / str(member) / "0" / "4"
    kept.mkdir(parents=True)
    left: list[tuple[EvaluationRequest, Evaluation | Failure]] = []

    def dies(request: EvaluationRequest) -> Evaluation | Failure:
        result = evaluate(request)
        if is_fresh(request):
            left.append((request, result))
            raise Killed
        return result

    store = open_store(campaign, create=False)
    with pytest.raises(Killed):
        work(campaign, store, Inline(dies), Silent(), Stop(), WorkerSettings())
    abandon(store)
    [(request, result)] = left
    directory = request.directory or ""
    assert Path(directory).is_dir()

    session(campaign, Inline(evaluate), create=False)
    # seconds and all: the evaluation itself, not another one
    assert confirmations_of(campaign)[0].evaluation == result
    assert list((campaign.directory / RUNS).glob("*/*/*")) == [kept]


def test_a_rung_that_was_stored_but_not_removed_is_removed(campaign: Campaign) -> None:
    session(campaign, create=False)
    first = confirmations_of(campaign)[0]
    record = records_of(campaign)[first.number]
    rung = run_directory(campaign, record, first.evaluation.seed.run) / "4"
    rung.mkdir(parents=True)
    session(campaign, create=False)
    assert not rung.parent.exists()


# what goes wrong


def test_a_crash_is_tried_again(campaign: Campaign, calm: Campaign) -> None:
    crashed: set[str] = set()

    def crashes_once(request: EvaluationRequest) -> Evaluation | Failure:
        if is_fresh(request) and request.key not in crashed:
            crashed.add(request.key)
            return Failure(kind=FailureKind.CRASHED, message="gone")
        return seeded(request)

    assert session(campaign, Inline(crashes_once), create=False).kind is EndKind.FINISHED
    assert {c.attempts for c in confirmations_of(campaign)} == {2}
    assert lasting(campaign) == lasting(calm)


def out_of_memory(request: EvaluationRequest) -> Evaluation:
    return made_up(request).model_copy(update={"outcome": RunOutcome.OOM, "test": ()})


def broken(_: EvaluationRequest) -> Failure:
    return Failure(kind=FailureKind.ERROR, message="RuntimeError: no")


@pytest.mark.parametrize("instead", [out_of_memory, broken])
def test_what_cannot_be_trained_holds_the_others_up_in_nothing(
    campaign: Campaign, calm: Campaign, instead: Train
) -> None:
    victim = front(calm).members[-1].number

    def fails(request: EvaluationRequest) -> Evaluation | Failure:
        fails_here = is_fresh(request) and request.seed.trial == victim
        return instead(request) if fails_here else seeded(request)

    executor, observer = Inline(fails), Silent()
    ending = session(campaign, executor, observer=observer, create=False)
    assert ending.kind is EndKind.FINISHED
    assert ending.reason.endswith("1 of the designs could not be trained again")
    assert sum(is_fresh(r) and r.seed.trial == victim for r in executor.asked) == 1
    assert any(e.startswith(f"confirm trial {victim} failed: ") for e in observer.events)
    others = {c.number for c in confirmations_of(campaign)}
    assert others == {c.number for c in confirmations_of(calm)} - {victim}
    # once that is mended
    assert session(campaign, create=False).kind is EndKind.FINISHED
    assert victim in {c.number for c in confirmations_of(campaign)}


def test_where_nothing_can_be_trained_the_session_is_aborted(campaign: Campaign) -> None:
    executor = Inline(lambda r: broken(r) if is_fresh(r) else seeded(r))
    ending = session(campaign, executor, create=False)
    assert ending.kind is EndKind.ABORTED
    assert "RuntimeError: no" in ending.reason
    assert confirmations_of(campaign) == []


def test_a_search_that_was_aborted_is_not_confirmed(tmp_path: Path) -> None:
    campaign = new_campaign(tmp_path / "c", TEXT.replace("trials: 8", "trials: 40"))
    executor = Inline(lambda r: broken(r) if r.seed.trial >= 1 else seeded(r))
    ending = session(campaign, executor)
    assert ending == (EndKind.ABORTED, "20 trials failed in a row")
    assert not any(is_fresh(r) for r in executor.asked)


def test_a_diverged_seed_counts_for_nothing(campaign: Campaign, calm: Campaign) -> None:
    victim = front(calm).members[-1].number

    def diverges(request: EvaluationRequest) -> Evaluation:
        whole = seeded(request)
        if request.seed.trial == victim and request.seed.run == FRESH_RUNS:
            return whole.model_copy(update={"outcome": RunOutcome.DIVERGED, "test": ()})
        return whole

    observer = Silent()
    session(campaign, Inline(diverges), observer=observer, create=False)
    assert any(e.endswith("seed 1 of 3: 0.000 (diverged)") for e in observer.events)
    before, after = (
        next(r for r in (*f.members, *f.dominated) if r.number == victim)
        for f in (front(calm), front(campaign))
    )
    assert after.accuracy < 0.9 * before.accuracy
    assert after.worst_cell < before.worst_cell


# budgets


class Clocked(Inline):
    """Each answer takes a minute."""

    def __init__(self) -> None:
        super().__init__(seeded)
        self.minutes = 0.0

    def now(self) -> float:
        return 60 * self.minutes

    def poll(self, timeout_seconds: float) -> list[Answer]:
        self.minutes += 1
        return super().poll(timeout_seconds)


def elapsed(campaign: Campaign) -> float:
    return read_elapsed_seconds(campaign.storage_url, campaign.settings.study)


def test_the_budget_of_minutes_is_for_all_sessions(campaign: Campaign, calm: Campaign) -> None:
    campaign.freeze(confirm_minutes=7.0)
    searched_for = elapsed(campaign)
    ending = session(campaign, Clocked(), create=False)
    assert ending.kind is EndKind.FINISHED
    assert ending.reason.endswith("confirmation: 7 minutes spent")
    assert len(confirmations_of(campaign)) == 7
    url, study = campaign.storage_url, campaign.settings.study
    assert read_confirm_seconds(url, study) == 420
    # who comes first is who is most in doubt, and the minutes are no part of the search's
    assert lasting(campaign) == lasting(calm)[:7]
    assert elapsed(campaign) == searched_for

    idle = Clocked()
    assert session(campaign, idle, create=False).kind is EndKind.FINISHED
    assert idle.asked == []
    campaign.freeze(confirm_minutes=9.0)
    session(campaign, Clocked(), create=False)
    assert len(confirmations_of(campaign)) == 9
    assert read_confirm_seconds(url, study) == 540


def test_a_longer_search_confirms_what_is_new(campaign: Campaign) -> None:
    session(campaign, create=False)
    before = lasting(campaign)
    campaign.freeze(trials=20)
    second, observer = Inline(seeded), Silent()
    ending = session(campaign, second, create=False, observer=observer)
    assert ending.reason.startswith("20 trials done; confirmation: ")
    assert lasting(campaign)[: len(before)] == before
    asked = [(r.seed.trial, r.seed.run) for r in second.asked if is_fresh(r)]
    there = {(c["number"], c["evaluation"]["seed"]["run"]) for c in before}
    assert asked
    assert not there & set(asked)
    assert all(row.seeds >= 3 for row in front(campaign).members)
    # the live display knew the confirmed scores from the first trial on
    assert observer.snapshots[0].front is not None
    assert any(row.confirmed for row in observer.snapshots[0].front.references)
    found = replayed(campaign)
    assert (found.confirmations, found.first) == (len(confirmations_of(campaign)), None)


def test_a_finished_session_leaves_nothing_to_do(calm: Campaign) -> None:
    executor = Inline(seeded)
    before = lasting(calm)
    assert session(calm, executor, create=False).kind is EndKind.FINISHED
    assert executor.asked == []
    assert lasting(calm) == before


def test_an_unfinished_search_may_be_confirmed_and_go_on(tmp_path: Path, calm: Campaign) -> None:
    campaign, stop = new_campaign(tmp_path / "c", TEXT), Stop()

    def cancels(request: EvaluationRequest) -> Evaluation:
        stop.draining = stop.cancelled = request.seed.trial >= 4
        return seeded(request)

    session(campaign, Inline(cancels, slots=2), stop=stop)
    [running] = [n for n, r in records_of(campaign).items() if r.outcome is TrialOutcome.RUNNING]
    assert session(campaign, create=False, search=False).kind is EndKind.FINISHED
    confirmed = {c.number for c in confirmations_of(campaign)}
    assert running not in confirmed
    assert max(confirmed) >= 0
    assert {r.outcome for n, r in records_of(campaign).items() if n == running} == {
        TrialOutcome.RUNNING
    }
    assert session(campaign, create=False).kind is EndKind.FINISHED
    assert study_of(campaign) == study_of(calm)
    assert {c.number for c in confirmations_of(calm)} >= {
        row.number for row in front(campaign).members
    }
    assert replayed(campaign).first is None


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"known": 0}, id="known before there was a trial"),
        pytest.param({"wanted": 1}, id="more seeds than were wanted"),
        pytest.param({"number": 5}, id="of a design far from the front"),
    ],
)
def test_a_fresh_seed_that_does_not_follow_is_found(
    campaign: Campaign, changes: dict[str, int]
) -> None:
    session(campaign, create=False)
    confirmations = confirmations_of(campaign)
    index, victim = next(
        (i, c) for i, c in enumerate(confirmations) if c.number >= 0 and c.seed == 2
    )
    confirmations[index] = victim.model_copy(update=changes)
    first = replayed(campaign, confirmations).first
    assert first is not None
    assert (first.trial, first.decision) == (
        confirmations[index].number,
        f"batch {victim.batch} of the confirmation",
    )
    older = {"known": None, "wanted": None}
    assert replayed(campaign, [c.model_copy(update=older) for c in confirmations]).first is None


def test_readers_make_no_study(campaign: Campaign) -> None:
    file = campaign.directory / "study.db"
    before = file.read_bytes()
    assert confirmations_of(campaign) == []
    assert read_confirm_seconds(campaign.storage_url, campaign.settings.study) == 0.0
    assert file.read_bytes() == before
    url, study = campaign.storage_url, campaign.settings.study
    store = Store(url, study, objectives=(), create=False)
    assert store.confirmations() == []
    assert store.confirm_seconds() == 0.0
    store.close()
    assert _studies(campaign) == {study, f"{study}/references"}

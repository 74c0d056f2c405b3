"""What becomes of each kind of trial, and how campaigns end."""

from __future__ import annotations

import collections
import json
import re
from pathlib import Path
from typing import Any

import pytest

from archsearch.campaign import policy
from archsearch.campaign.config import SETTINGS_FILE, Campaign
from archsearch.campaign.front import build_front
from archsearch.campaign.progress import EndKind, Stop
from archsearch.campaign.replay import replay
from archsearch.campaign.rungs import last_rung
from archsearch.evaluate import evaluate
from archsearch.records import (
    Evaluation,
    EvaluationRequest,
    Failure,
    FailureKind,
    RunOutcome,
    TrialOutcome,
    TrialRecord,
)
from archsearch.storage import read_records
from tests.helpers import (
    Inline,
    Silent,
    drive,
    everything,
    lasting,
    made_up,
    new_campaign,
    study_of,
    tiny_text,
)

ONE_DESIGN = tiny_text("random", 5).replace(
    tiny_text().split("space:\n")[1].split("training:")[0],
    "  d_model: {choice: [8, 12]}\n"
    "  layers:\n    list:\n"
    "      - sequence: {mixer: short_conv, kernel_size: {choice: [2, 3]}}\n",
)


def trials_of(campaign: Campaign) -> list[TrialRecord]:
    found = read_records(campaign.storage_url, campaign.settings.study)
    return [r for r in found if r.number >= 0]


def told(campaign: Campaign) -> dict[int, dict[str, Any]]:
    return {t["number"]: t for t in study_of(campaign) if t["study"] == "trials"}


def searched(answer: Any) -> Any:
    """Leaves the references alone."""
    return lambda r: made_up(r) if r.seed.trial < 0 else answer(r)


def test_two_equal_campaigns_are_equal_and_train_only_what_they_should(tmp_path: Path) -> None:
    first, second = (new_campaign(tmp_path / n, tiny_text("random", 6)) for n in "ab")
    executor = Inline()
    drive(first, executor)
    drive(second)
    assert everything(first) == everything(second)
    records = trials_of(first)
    asked = [r.seed.trial for r in executor.asked]
    assert asked[:6] == [-1, -2, -3, -4, -5, -6]
    assert asked[6:] == [r.number for r in records if r.outcome is TrialOutcome.FINISHED]
    assert len(asked[6:]) == 6
    assert {r.seed.campaign for r in executor.asked} == {5}


def test_infeasible_designs_are_told_as_results_and_never_trained(tmp_path: Path) -> None:
    campaign = new_campaign(tmp_path / "c", tiny_text("random", 6))
    executor = Inline()
    drive(campaign, executor)
    refused = [r for r in trials_of(campaign) if r.outcome is TrialOutcome.INFEASIBLE]
    assert refused
    study = told(campaign)
    for record in refused:
        assert record.price is not None
        assert record.violations == {"growth < 2": pytest.approx(1e-9)}
        trial = study[record.number]
        assert trial["state"] == "COMPLETE"
        accuracy, cost = trial["values"]
        assert accuracy == 0
        assert 10**cost == pytest.approx(record.price.flops)
        assert trial["constraints"]["growth < 2"] > 0
        assert record.number not in {r.seed.trial for r in executor.asked}
    for record in trials_of(campaign):
        if record.outcome is TrialOutcome.FINISHED:
            assert study[record.number]["constraints"]["growth < 2"] <= 0
            accuracy, cost = study[record.number]["values"]
            assert accuracy == pytest.approx(record.accuracy)
            assert record.price is not None
            assert 10**cost == pytest.approx(record.price.flops)


def test_a_space_smaller_than_the_budget_is_exhausted_and_that_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "EXHAUSTED_AFTER", 25)
    campaign = new_campaign(tmp_path / "c", ONE_DESIGN)
    executor = Inline()
    ending = drive(campaign, executor)
    assert ending.kind is EndKind.FINISHED
    assert "exhausted" in ending.reason
    records = trials_of(campaign)
    counts = collections.Counter(r.outcome for r in records)
    assert counts[TrialOutcome.FINISHED] == 4
    assert len(executor.asked) == 6 + 4
    assert [r.outcome for r in records[-25:]] == [TrialOutcome.DUPLICATE] * 25
    study = told(campaign)
    by_number = {r.number: r for r in records}
    for record in records:
        if record.outcome is TrialOutcome.DUPLICATE:
            assert record.duplicate_of is not None
            assert record.duplicate_of < record.number
            assert by_number[record.duplicate_of].campaign_key == record.campaign_key
            assert study[record.number]["state"] == "FAIL"
            assert study[record.number]["values"] is None
    assert len({r.campaign_key for r in records}) == 4


def test_designs_in_flight_are_duplicates_too(tmp_path: Path) -> None:
    campaign = new_campaign(tmp_path / "c", ONE_DESIGN.replace("trials: 5", "trials: 4"))
    executor = Inline(slots=4)
    drive(campaign, executor)
    trained = [r for r in executor.asked if r.seed.trial >= 0]
    assert len({r.architecture.digest for r in trained}) == len(trained) == 4
    assert executor.most_in_flight == 4


@pytest.mark.parametrize("outcome", [RunOutcome.DIVERGED, RunOutcome.OOM])
def test_a_design_that_cannot_be_trained_is_a_result_of_accuracy_zero(
    tmp_path: Path, outcome: RunOutcome
) -> None:
    campaign = new_campaign(tmp_path / "c", tiny_text("random", 4))

    def answer(request: EvaluationRequest) -> Evaluation:
        return made_up(request).model_copy(update={"outcome": outcome, "test": ()})

    executor = Inline(searched(answer))
    ending = drive(campaign, executor)
    assert ending.kind is EndKind.FINISHED
    records = [r for r in trials_of(campaign) if r.outcome.value == outcome.value]
    assert len(records) == 4
    for record in records:
        trial = told(campaign)[record.number]
        assert trial["state"] == "COMPLETE"
        assert trial["values"][0] == 0
        assert record.accuracy == 0
        assert record.attempts == 1
    front = build_front(records, campaign.objectives, campaign.settings.reference_point)
    assert front.members == ()
    assert front.hypervolume == 0


def test_a_really_diverging_run_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import archsearch.training

    real = archsearch.training.train_step

    def infinite(run: Any) -> float:
        if run.streams.data == doomed.data and run.step == 2:
            with __import__("torch").no_grad():
                run.model.embedding.weight[3, 0] = float("inf")
        return real(run)

    from archsearch.records import RunSeed
    from archsearch.training import Streams

    campaign = new_campaign(tmp_path / "c", tiny_text("random", 2))
    drive(campaign)
    number = next(r.number for r in trials_of(campaign) if r.outcome is TrialOutcome.FINISHED)
    doomed = Streams.of(RunSeed(campaign=5, trial=number))
    monkeypatch.setattr(archsearch.training, "train_step", infinite)
    again = new_campaign(tmp_path / "d", tiny_text("random", 2))
    drive(again, Inline(evaluate))
    by_number = {r.number: r for r in trials_of(again)}
    record = by_number[number]
    assert record.outcome is TrialOutcome.DIVERGED
    assert record.evaluations[-1].detail == "not finite at step 2"
    assert record.evaluations[-1].test == ()
    assert told(again)[number]["values"][0] == 0
    assert any(r.outcome is TrialOutcome.FINISHED for r in by_number.values())


@pytest.mark.parametrize(
    ("kind", "attempts"), [(FailureKind.ERROR, 1), (FailureKind.CRASHED, 2), (FailureKind.LOST, 3)]
)
def test_failures_teach_nothing_and_count(tmp_path: Path, kind: FailureKind, attempts: int) -> None:
    campaign = new_campaign(tmp_path / "c", tiny_text("random", 3))

    def answer(request: EvaluationRequest) -> Failure:
        return Failure(kind=kind, message="because", traceback="the story")

    executor = Inline(searched(answer))
    ending = drive(campaign, executor)
    assert ending.kind is EndKind.FINISHED
    failed = [r for r in trials_of(campaign) if r.outcome is TrialOutcome.FAILED]
    assert len(failed) == 3
    assert len(executor.asked) == 6 + 3 * attempts
    for record in failed:
        assert record.attempts == attempts
        assert record.failure is not None
        assert record.failure.traceback == "the story"
        assert told(campaign)[record.number]["state"] == "FAIL"


def test_a_crash_that_does_not_come_again_costs_nothing(tmp_path: Path) -> None:
    calm, shaken = (new_campaign(tmp_path / n, tiny_text("random", 4)) for n in "ab")
    drive(calm)
    crashed: set[int] = set()

    def answer(request: EvaluationRequest) -> Evaluation | Failure:
        if request.seed.trial in crashed:
            return made_up(request)
        crashed.add(request.seed.trial)
        return Failure(kind=FailureKind.CRASHED, message="gone")

    drive(shaken, Inline(answer))
    assert everything(shaken) == everything(calm)


def test_a_design_that_ended_its_workers_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "EXHAUSTED_AFTER", 20)
    campaign = new_campaign(tmp_path / "c", ONE_DESIGN)

    def answer(request: EvaluationRequest) -> Evaluation | Failure:
        return Failure(kind=FailureKind.CRASHED, message="always")

    observer = Silent()
    drive(campaign, Inline(searched(answer)), observer=observer)
    records = trials_of(campaign)
    # the last ones are said, too
    assert re.fullmatch(
        rf"trials \d+ to {records[-1].number}: \d+ duplicates of earlier ones", observer.events[-1]
    )
    failed = [r for r in records if r.outcome is TrialOutcome.FAILED]
    duplicates = [r for r in records if r.outcome is TrialOutcome.DUPLICATE]
    assert len({r.campaign_key for r in failed}) == len(failed) < len(records)
    owner = {r.campaign_key: r.number for r in failed}
    assert duplicates
    assert all(r.duplicate_of == owner[r.campaign_key] for r in duplicates)


def test_a_design_whose_node_was_lost_may_be_proposed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lost node says nothing about the design: its equal is not a duplicate."""
    monkeypatch.setattr(policy, "EXHAUSTED_AFTER", 20)
    campaign = new_campaign(tmp_path / "c", ONE_DESIGN)
    asked: list[int] = []

    def answer(request: EvaluationRequest) -> Evaluation | Failure:
        asked.append(request.seed.trial)
        if len(set(asked)) == 1:
            return Failure(kind=FailureKind.LOST, message="for once")
        return made_up(request)

    drive(campaign, Inline(searched(answer)))
    records = trials_of(campaign)
    [failed] = [r for r in records if r.outcome is TrialOutcome.FAILED]
    equal = [r for r in records if r.campaign_key == failed.campaign_key and r is not failed]
    assert equal[0].outcome is TrialOutcome.FINISHED
    assert all(r.duplicate_of == equal[0].number for r in equal[1:])


def test_twenty_failures_in_a_row_end_a_campaign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "MAX_CONSECUTIVE_FAILURES", 5)
    campaign = new_campaign(tmp_path / "c", tiny_text("random", 50))

    def answer(request: EvaluationRequest) -> Failure:
        return Failure(kind=FailureKind.ERROR, message="because")

    ending = drive(campaign, Inline(searched(answer)))
    assert ending.kind is EndKind.ABORTED
    assert ending.reason == "5 trials failed in a row"


def test_the_reference_point_of_one_worker_is_fixed_before_the_first_trial(tmp_path: Path) -> None:
    campaign = new_campaign(tmp_path / "c", tiny_text("random", 2))
    seen: list[Any] = []

    def answer(request: EvaluationRequest) -> Evaluation:
        settings = json.loads((campaign.directory / SETTINGS_FILE).read_text())
        seen.append((request.seed.trial, settings["reference_point"]))
        return made_up(request)

    drive(campaign, Inline(answer))
    assert [point for trial, point in seen if trial < 0] == [None] * 6
    points = [point for trial, point in seen if trial >= 0]
    assert points
    assert points[0] is not None
    assert all(p == points[0] for p in points)
    records = read_records(campaign.storage_url, campaign.settings.study)
    [floor] = [r for r in records if r.reference == "conv only"]
    assert points[0][0] == floor.accuracy
    # two attention layers at the widest setting, 16: dearer than at the default width
    [narrow] = [r for r in records if r.reference == "attention x2"]
    assert narrow.price is not None
    assert points[0][1] > narrow.price.flops
    assert Campaign.open(campaign.directory).settings.reference_point == tuple(points[0])


@pytest.mark.parametrize("deterministic", [False, True])
def test_workers_that_no_reference_needs_begin_the_search(
    deterministic: bool, tmp_path: Path
) -> None:
    text = tiny_text("random", 12)
    if deterministic:
        text = text.replace("trials: 12", "trials: 12, deterministic: true, lag: 8")
    campaign = new_campaign(tmp_path / "c", text)
    executor = Inline(slots=10)
    assert drive(campaign, executor).kind is EndKind.FINISHED
    asked = [r.seed.trial for r in executor.asked]
    assert asked[:6] == [-1, -2, -3, -4, -5, -6], "references go first"
    assert (executor.most_in_flight == 10) is not deterministic
    records = read_records(campaign.storage_url, campaign.settings.study)
    [last] = [r for r in records if r.number == -6]
    assert last.told_order is not None
    early = [r for r in records if r.number >= 0 and r.known < last.told_order]
    assert bool(early) is not deterministic


def test_references_that_end_late_are_waited_for(tmp_path: Path) -> None:
    """The budget is spent before the references are trained: nothing is lost of either."""

    class Reversed(Inline):
        def poll(self, timeout_seconds: float) -> Any:
            self.waiting.reverse()
            found = super().poll(timeout_seconds)
            self.waiting.reverse()
            return found

    campaign = new_campaign(tmp_path / "c", tiny_text("random", 5))
    ending = drive(campaign, Reversed(slots=12))
    assert ending.kind is EndKind.FINISHED
    assert campaign.settings.reference_point is not None
    records = read_records(campaign.storage_url, campaign.settings.study)
    orders = [r.told_order for r in records if r.reference is not None]
    assert len(orders) == 6
    assert min(o for o in orders if o is not None) > 5
    assert replay(campaign, records).first is None


def test_references_at_all_widths(tmp_path: Path) -> None:
    campaign = new_campaign(tmp_path / "c", tiny_text("random", 1), reference_widths="all")
    drive(campaign)
    records = read_records(campaign.storage_url, campaign.settings.study)
    names = [r.reference for r in records if r.reference]
    assert len(names) == len(set(names)) == 18
    assert sum(" @d" in n for n in names) == 12
    assert sorted(r.number for r in records if r.reference) == list(range(-18, 0))


def test_stopping_drains_and_going_on_makes_the_same_campaign(tmp_path: Path) -> None:
    calm, stopped = (new_campaign(tmp_path / n, tiny_text("random", 5)) for n in "ab")
    drive(calm)
    for wanted in (-3, 2, 5):
        stop = Stop()

        def answer(request: EvaluationRequest, wanted: int = wanted, stop: Stop = stop) -> Any:
            stop.draining = (
                request.seed.trial >= wanted if wanted >= 0 else (request.seed.trial <= wanted)
            )
            return made_up(request)

        create = wanted == -3
        ending = drive(stopped, Inline(answer), stop=stop, create=create)
        assert ending.kind is EndKind.DRAINED
        assert "RUNNING" not in {t["state"] for t in study_of(stopped)}
    assert drive(stopped, create=False).kind is EndKind.FINISHED
    assert everything(stopped) == everything(calm)


def test_cancelling_leaves_the_running_trial_to_the_next_driver(tmp_path: Path) -> None:
    calm, stopped = (new_campaign(tmp_path / n, tiny_text("random", 3)) for n in "ab")
    drive(calm)
    stop = Stop()

    class Hanging(Inline):
        def poll(self, timeout_seconds: float) -> Any:
            if self.waiting and self.waiting[0][1].seed.trial >= 0:
                stop.draining = stop.cancelled = True
                return []
            return super().poll(timeout_seconds)

    ending = drive(stopped, Hanging(), stop=stop)
    assert ending.kind is EndKind.CANCELLED
    assert [t["state"] for t in study_of(stopped)].count("RUNNING") == 1
    drive(stopped, create=False)
    assert everything(stopped) == everything(calm)


def test_a_finished_campaign_stays_finished_and_may_be_given_more(tmp_path: Path) -> None:
    longer, grown = (
        new_campaign(tmp_path / n, tiny_text("random", t)) for n, t in (("a", 6), ("b", 3))
    )
    drive(longer)
    drive(grown)
    before = everything(grown)
    idle = Inline()
    drive(grown, idle, create=False)
    assert idle.asked == []
    assert everything(grown) == before
    grown.freeze(trials=6)
    drive(grown, create=False)
    assert everything(grown) == everything(longer)


def test_workers_are_kept_busy_and_the_display_is_told(tmp_path: Path) -> None:
    campaign = new_campaign(tmp_path / "c", tiny_text("random", 6))
    observer, executor = Silent(), Inline(slots=3)
    drive(campaign, executor, observer=observer)
    assert executor.most_in_flight == 3
    assert {s.phase for s in observer.snapshots} == {"references", "search"}
    last = observer.snapshots[-1]
    assert last.counts["finished"] == 6
    assert last.target_trials == 6
    assert last.front is not None
    assert sum("finished" in e for e in observer.events) == 12


def test_a_run_in_rungs_gives_what_an_unbroken_one_gives(tmp_path: Path) -> None:
    text = tiny_text("random", 2).replace("eval_every: 2", "eval_every: 1")
    whole = new_campaign(tmp_path / "a", text)
    # asha asks for its rungs, and stops nothing among so few
    parts = new_campaign(tmp_path / "b", text, stopping="asha")
    drive(whole, Inline(evaluate))
    drive(parts, Inline(evaluate))
    finished = 0
    for one, other in zip(trials_of(whole), trials_of(parts), strict=True):
        assert one.number == other.number
        if one.outcome is TrialOutcome.FINISHED:
            finished += 1
            assert [e.outcome for e in other.evaluations] == ["paused", "paused", "finished"]
            assert [e.step for e in other.evaluations] == [1, 2, 4]
            assert [len(e.curve) for e in other.evaluations] == [0, 0, 4]
            assert [j.step for j in other.judgements] == [1, 2]
            assert other.evaluations[-1].curve == one.evaluations[-1].curve
            assert other.test == one.test
            assert other.accuracy == one.accuracy
            rung = last_rung(parts, other)
            assert rung is not None
            assert [p.name for p in rung.parent.iterdir()] == ["4"]
    assert finished == 2


def test_the_last_rung_is_found_beside_what_a_killed_worker_left(tmp_path: Path) -> None:
    campaign = new_campaign(tmp_path / "c", tiny_text("random", 1))
    drive(campaign, Inline(evaluate))
    [record] = [r for r in trials_of(campaign) if r.outcome is TrialOutcome.FINISHED]
    rung = last_rung(campaign, record)
    assert rung is not None
    assert rung.name == "4"
    (rung.parent / "4.tmp-123").mkdir()
    (rung.parent / "10").mkdir()
    assert last_rung(campaign, record) == rung.parent / "10"
    assert last_rung(campaign, TrialRecord(number=9, outcome=TrialOutcome.FAILED)) is None


def test_seconds_of_all_sessions_add_up(tmp_path: Path) -> None:
    from tests.helpers import open_store

    campaign = new_campaign(tmp_path / "c", tiny_text("random", 1))
    drive(campaign)
    store = open_store(campaign, create=False)
    first = store.elapsed_seconds()
    store.close()
    drive(campaign, create=False)
    store = open_store(campaign, create=False)
    assert store.elapsed_seconds() >= first > 0
    store.close()
    assert lasting(trials_of(campaign)[0])["number"] == 0


@pytest.mark.parametrize("slots", [1, 9])
def test_a_failed_reference_ends_the_campaign_and_is_tried_again_at_the_next_start(
    slots: int,
    tmp_path: Path,
) -> None:
    campaign = new_campaign(tmp_path / "c", tiny_text("random", 12))

    def broken(request: EvaluationRequest) -> Evaluation | Failure:
        if request.seed.trial == -3:
            return Failure(kind=FailureKind.ERROR, message="a disk is missing")
        return made_up(request)

    executor = Inline(broken, slots)
    ending = drive(campaign, executor)
    assert ending.kind is EndKind.ABORTED
    assert ending.reason == "reference conv only failed: a disk is missing"
    assert campaign.settings.reference_point is None
    # what workers had is waited for and kept; nothing more is handed to them
    assert len(executor.asked) == (3 if slots == 1 else 11)
    begun = len(trials_of(campaign))
    assert begun == 0 if slots == 1 else begun >= slots - 6

    again = Campaign.open(campaign.directory)
    assert drive(again, Inline(made_up)).kind is EndKind.FINISHED
    assert sum(r.outcome.was_evaluated for r in trials_of(again)) == 12
    assert again.settings.reference_point is not None
    names = [r.reference for r in read_records(again.storage_url, again.settings.study)]
    assert names.count("conv only") == 1

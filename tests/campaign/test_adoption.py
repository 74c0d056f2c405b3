"""Whatever ends a driver, and wherever: the next one finds the campaign it would have been."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archsearch.campaign.progress import EndKind, Stop
from archsearch.evaluate import CHECKPOINT, MANIFEST, RESULT, evaluate
from archsearch.records import EvaluationRequest, Failure, FailureKind, TrialOutcome
from archsearch.storage import Store, read_records
from tests.helpers import (
    Inline,
    Silent,
    drive,
    driver,
    everything,
    made_up,
    new_campaign,
    open_store,
    tiny_text,
)

TRIALS = 8


class Killed(BaseException):
    """Stands for SIGKILL: nobody catches it."""


@contextmanager
def killed_at_commit(store: Store, number: int, seen: list[int]) -> Iterator[None]:
    """Ends the driver instead of the commit of that number, counted from 1."""
    import sqlalchemy

    engine = store.engine
    count = itertools.count(1)

    def on_commit(_: Any) -> None:
        seen.append(next(count))
        if seen[-1] == number:
            raise Killed

    sqlalchemy.event.listen(engine, "commit", on_commit)
    yield
    sqlalchemy.event.remove(engine, "commit", on_commit)


def abandon(store: Store) -> None:
    """What the kernel does to a dead driver's connections."""
    store._storage.remove_session()
    store.engine.dispose()


def drive_until_killed(campaign: Any, after: int, *, create: bool) -> bool:
    """Whether the campaign ended before it was killed."""
    store = open_store(campaign, create=create)
    try:
        with killed_at_commit(store, after, []):
            ending = driver(campaign, store).run()
    except Killed:
        abandon(store)
        return False
    store.close()
    assert ending.kind is EndKind.FINISHED
    return True


@pytest.fixture(scope="module", params=["tpe", "random", "nsga2", "surrogate"])
def undisturbed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Any]]:
    """A campaign file, and everything in the study of an undisturbed run of it."""
    text = tiny_text(request.param, TRIALS)
    with pytest.MonkeyPatch.context() as patch:
        # so that a small campaign has several generations, and something is modelled
        patch.setattr("archsearch.samplers.nsga2._POPULATION", 4)
        patch.setattr("archsearch.samplers.surrogate.SurrogateSampler.random_trials", 4)
        campaign = new_campaign(tmp_path_factory.mktemp("calm") / request.param, text)
        drive(campaign)
        yield text, everything(campaign)


def test_a_campaign_killed_before_random_commits_is_the_undisturbed_one(
    tmp_path: Path, undisturbed: tuple[str, Any]
) -> None:
    text, expected = undisturbed
    campaign = new_campaign(tmp_path / "c", text)
    rng = np.random.default_rng(1)
    kills = 0
    while not drive_until_killed(campaign, int(rng.integers(3, 16)), create=kills == 0):
        kills += 1
    assert kills >= 4
    assert everything(campaign) == expected
    study, records = everything(campaign)
    assert {t["state"] for t in study} <= {"COMPLETE", "FAIL"}
    assert [r["number"] for r in records if r["number"] >= 0] == list(
        range(sum(t["study"] == "trials" for t in study))
    )
    orders = [r["told_order"] for r in records]
    assert sorted(orders) == list(range(1, len(orders) + 1))


def test_a_trial_killed_at_each_of_its_commits_ends_the_same(
    tmp_path: Path, undisturbed: tuple[str, Any]
) -> None:
    """A trial is stored whole, noted anew at each rung, and told."""
    text, expected = undisturbed
    campaign = new_campaign(tmp_path / "c", text)
    stop = Stop()
    drive(campaign, stop=stop, observer=_StopsAfter(stop, TRIALS - 1))
    # one commit further in each session: the same trial is killed again and again
    after = 1
    while not drive_until_killed(campaign, after, create=False):
        after += 1
    assert after >= 4
    assert everything(campaign) == expected


class _StopsAfter(Silent):
    """Drains once that many trials are evaluated."""

    def __init__(self, stop: Stop, trials: int) -> None:
        super().__init__()
        self._stop, self._trials = stop, trials

    def update(self, look: Any) -> None:
        snapshot = look()
        done = sum(snapshot.counts[k] for k in ("finished", "solved", "diverged", "oom", "failed"))
        if done >= self._trials:
            self._stop.draining = True


def test_a_trial_with_a_final_record_is_told_and_not_run_again(tmp_path: Path) -> None:
    text = tiny_text("random", 3)
    calm, shaken = new_campaign(tmp_path / "calm", text), new_campaign(tmp_path / "shaken", text)
    drive(calm)
    told = Store.tell

    def dies_between(self: Store, record: Any, values: Any) -> None:
        if record.outcome is TrialOutcome.FINISHED:
            self.note(record)
            raise Killed
        told(self, record, values)

    store = open_store(shaken, create=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "tell", dies_between)
        with pytest.raises(Killed):
            driver(shaken, store).run()
    abandon(store)
    [left] = [r for r in read_records(shaken.storage_url, shaken.settings.study) if r.number >= 0][
        -1:
    ]
    assert left.outcome is TrialOutcome.FINISHED
    second = Inline()
    drive(shaken, second, create=False)
    assert left.number not in {r.seed.trial for r in second.asked}
    assert everything(shaken) == everything(calm)


def test_a_complete_rung_is_taken_and_a_damaged_one_is_run_again(tmp_path: Path) -> None:
    """The driver dies between the worker's last byte and its own note."""
    campaign = new_campaign(tmp_path / "c", tiny_text("random", 2))
    seen: dict[int, Any] = {}

    def dies_at_trial(request: EvaluationRequest) -> Any:
        result = evaluate(request)
        if request.seed.trial >= 0:
            seen[request.seed.trial] = result
            raise Killed
        return result

    store = open_store(campaign, create=True)
    with pytest.raises(Killed):
        driver(campaign, store, Inline(dies_at_trial)).run()
    abandon(store)
    [(number, first)] = seen.items()
    rung = campaign.directory / "runs" / str(number) / "0" / "4"
    before = {p.name: (p.stat().st_mtime_ns, p.stat().st_ino) for p in rung.iterdir()}
    assert set(before) == {CHECKPOINT, RESULT, MANIFEST}

    drive(campaign, Inline(evaluate), create=False)
    after = {p.name: (p.stat().st_mtime_ns, p.stat().st_ino) for p in rung.iterdir()}
    assert after == before
    records = {r.number: r for r in read_records(campaign.storage_url, campaign.settings.study)}
    # seconds and all: the evaluation itself, not another one
    assert records[number].evaluations == (first,)


@pytest.mark.parametrize("name", [CHECKPOINT, RESULT, MANIFEST])
@pytest.mark.parametrize("place", [0.1, 0.5, 0.99])
def test_a_rung_with_a_flipped_byte_is_run_again(tmp_path: Path, name: str, place: float) -> None:
    from tests.helpers import request

    directory = tmp_path / "0" / "6"
    asked = request(directory=str(directory))
    first = evaluate(asked)
    file = directory / name
    data = bytearray(file.read_bytes())
    data[int(place * len(data))] ^= 1
    file.write_bytes(data)
    again = evaluate(asked)
    assert not isinstance(first, Failure)
    assert not isinstance(again, Failure)
    assert file.read_bytes() != bytes(data)
    assert (again.curve, again.test) == (first.curve, first.test)
    assert evaluate(asked) == again


def test_a_rung_without_one_of_its_files_is_no_rung(tmp_path: Path) -> None:
    from archsearch.evaluate import read_rung
    from tests.helpers import request

    directory = tmp_path / "6"
    done = evaluate(request(directory=str(directory)))
    assert read_rung(directory) == done
    (directory / MANIFEST).write_text("{}")
    assert read_rung(directory) is None
    (directory / MANIFEST).write_text("[]")
    assert read_rung(directory) is None


def test_references_are_trained_once_and_leave_nothing_running(tmp_path: Path) -> None:
    campaign = new_campaign(tmp_path / "c", tiny_text("random", 1))
    asked: list[int] = []

    def answer(request: EvaluationRequest) -> Any:
        asked.append(request.seed.trial)
        return made_up(request)

    for after in (3, 3, 3):
        store = open_store(campaign, create=True)
        with pytest.raises(Killed), killed_at_commit(store, after, []):
            driver(campaign, store, Inline(answer)).run()
        abandon(store)
    drive(campaign, Inline(answer), create=False)
    study, records = everything(campaign)
    assert [t["number"] for t in study if t["study"] == "references"] == list(range(6))
    assert sorted(r["number"] for r in records if r["reference"]) == list(range(-6, 0))
    assert all(t["state"] != "RUNNING" for t in study)


def test_a_driver_killed_before_its_study_existed_may_be_resumed(tmp_path: Path) -> None:
    campaign = new_campaign(tmp_path / "c", tiny_text("random", 2))
    assert not campaign.has_begun
    drive(campaign, Inline(evaluate), create=not campaign.has_begun)
    assert campaign.has_begun


def test_an_adopted_trial_may_be_tried_again_as_often_as_a_new_one(tmp_path: Path) -> None:
    campaign = new_campaign(tmp_path / "c", tiny_text("random", 1))

    def crashes(request: EvaluationRequest) -> Any:
        if request.seed.trial < 0:
            return made_up(request)
        return Failure(kind=FailureKind.CRASHED, message="gone")

    executor = Inline(crashes)
    drive(campaign, executor)
    trials = [r.seed.trial for r in executor.asked if r.seed.trial >= 0]
    assert len(trials) == 2
    [record] = [
        r
        for r in read_records(campaign.storage_url, campaign.settings.study)
        if r.outcome is TrialOutcome.FAILED
    ]
    assert record.attempts == 2
    assert record.failure is not None

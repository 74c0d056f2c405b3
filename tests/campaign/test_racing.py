"""Campaigns of races: stopped, audited, killed anywhere, and on any number of workers."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archsearch.campaign.config import RUNS, Campaign
from archsearch.campaign.front import front_of
from archsearch.campaign.progress import EndKind, Stop
from archsearch.campaign.replay import replay
from archsearch.campaign.standing import value_of
from archsearch.evaluate import CHECKPOINT, evaluate
from archsearch.execution.base import Answer
from archsearch.records import (
    CurvePoint,
    Evaluation,
    EvaluationRequest,
    RunOutcome,
    TrialOutcome,
    TrialRecord,
    VerdictKind,
)
from archsearch.samplers import samplers, surrogate
from archsearch.storage import read_records
from tests.campaign.test_adoption import drive_until_killed
from tests.helpers import Inline, drive, everything, made_up, new_campaign, study_of, tiny_text

RACE = (
    tiny_text("random", 24)
    .replace("learning_rate: 3e-3,", "")
    .replace("steps: 4", "steps: 16")
    .replace("stopping: none", "stopping: front, audit: 0.3")
)


def slow_learner(request: EvaluationRequest) -> Evaluation:
    """A curve made up from the design, the rate and the seed, rung by rung."""
    whole = made_up(request)
    quality = whole.test[0].accuracy
    rate = request.training.learning_rate
    luck = (hash((request.seed.trial, request.seed.run)) % 100) / 1000
    speed = quality / (1 + abs(np.log10(rate / 3e-3))) + luck
    points = []
    for step in range(2, request.to_step + 1, 2):
        share = min(0.999, speed * step / request.training.steps)
        points.append(
            CurvePoint(
                step=step,
                train_loss=1.0,
                accuracy=(share, share / 2),
                log_probability=(-3.4 + 3.4 * share, -3.4 + 2 * share),
            )
        )
    ended = request.to_step == request.training.steps
    share = points[-1].accuracy[0]
    return whole.model_copy(
        update={
            "outcome": RunOutcome.FINISHED if ended else RunOutcome.PAUSED,
            "curve": tuple(points),
            "test": tuple(c.model_copy(update={"accuracy": share}) for c in whole.test)
            if ended
            else (),
        }
    )


def trials_of(campaign: Campaign) -> list[TrialRecord]:
    found = read_records(campaign.storage_url, campaign.settings.study)
    return [r for r in found if r.number >= 0]


class Unordered(Inline):
    """Answers whatever it likes first, and sometimes several requests at once."""

    def __init__(self, slots: int, seed: int) -> None:
        super().__init__(slow_learner, slots)
        self._random = random.Random(seed)

    def poll(self, timeout_seconds: float) -> list[Answer]:
        answers = []
        # some have arrived already when nobody waits for them
        for _ in range(self._random.choice((1, 1, 2, 5) if timeout_seconds else (0, 0, 0, 1))):
            self.waiting.rotate(self._random.randrange(len(self.waiting) or 1))
            answers += super().poll(1)
        return answers


def test_a_rung_that_has_arrived_goes_on_before_the_next_trial_is_drawn(tmp_path: Path) -> None:
    class Prompt(Inline):
        """Everything has been answered by the time it is asked for."""

        def poll(self, timeout_seconds: float) -> list[Answer]:
            return [answer for _ in range(len(self.waiting)) for answer in Inline.poll(self, 1)]

    executor = Prompt(slow_learner, slots=64)
    drive(new_campaign(tmp_path / "c", RACE), executor)
    steps = sorted({request.to_step for request in executor.asked})
    order = [r.seed.trial for r in executor.asked if r.seed.trial >= 0 and r.to_step in steps[:2]]
    assert order == sorted(order)
    assert len(order) > 3 * len(set(order))


def test_a_campaign_of_races_stops_audits_and_scores(tmp_path: Path) -> None:
    campaign = new_campaign(tmp_path / "c", RACE)
    executor = Inline(slow_learner)
    assert drive(campaign, executor).kind is EndKind.FINISHED
    records = [r for r in trials_of(campaign) if r.outcome.was_evaluated]
    assert len(records) == 24
    outcomes = {r.outcome for r in records}
    assert outcomes == {TrialOutcome.FINISHED, TrialOutcome.STOPPED}
    for record in records:
        assert {e.learning_rate for e in record.evaluations} == {1e-3, 3e-3, 1e-2}
    widths = {r.learnability for r in records}
    assert len(widths) > 1
    assert all(width is None or 0.4 < width < 1.6 for width in widths)
    # the middle rate is the best one by construction
    scored = [r.scored.learning_rate for r in records if r.scored_run is not None and r.scored]
    assert scored.count(3e-3) > len(scored) / 2
    values = {t["number"]: t["values"] for t in study_of(campaign) if t["study"] == "trials"}
    for record in records:
        assert values[record.number][0] == pytest.approx(record.accuracy)
    steps = sum(e.step for r in records for e in r.runs.values())
    assert steps < 0.8 * 24 * 3 * 16


@pytest.mark.parametrize("sampler", samplers.names())
def test_learnability_can_be_sought(tmp_path: Path, sampler: str) -> None:
    text = RACE.replace("sampler: random", f"sampler: {sampler}")
    text = text.replace("task:", "objectives: [accuracy, flops, learnability]\ntask:", 1)
    if sampler in ("gp", "tpe"):  # slow with three objectives; the last two asks are modelled
        text = text.replace("trials: 24", "trials: 12")
    campaign = new_campaign(tmp_path / "c", text)
    assert drive(campaign, Inline(slow_learner)).kind is EndKind.FINISHED
    assert campaign.settings.reference_point is not None
    assert campaign.settings.reference_point[2] == 0.0
    told = {t["number"]: t["values"] for t in study_of(campaign) if t["study"] == "trials"}
    trained = [r for r in trials_of(campaign) if r.outcome.was_evaluated]
    assert {told[r.number][2] for r in trained} == {r.learnability or 0.0 for r in trained}
    for record in trained:
        assert told[record.number] == [
            pytest.approx(o.scaled(value_of(record, o))) for o in campaign.objectives
        ]
    records = read_records(campaign.storage_url, campaign.settings.study)
    assert replay(campaign, records).first is None
    front = front_of(campaign, records)
    assert front.hypervolume is not None
    assert front.hypervolume > 0


@pytest.mark.parametrize("sampler", ["random", "surrogate"])
def test_a_race_killed_before_random_commits_is_the_undisturbed_one(
    tmp_path: Path, sampler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surrogate.SurrogateSampler, "random_trials", 2)
    text = RACE.replace("trials: 24", "trials: 6").replace("random", sampler)
    calm, shaken = (new_campaign(tmp_path / n, text) for n in "ab")
    drive(calm, Inline(slow_learner))
    rng = np.random.default_rng(2)
    kills = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.campaign.test_adoption.driver", _driver)
        while not drive_until_killed(shaken, int(rng.integers(4, 40)), create=kills == 0):
            kills += 1
    assert kills >= 4
    assert everything(shaken) == everything(calm)


def test_kills_and_drains_while_references_and_trials_are_under_way(tmp_path: Path) -> None:
    """Answers come in no order: nothing is lost or told twice, and each decision follows."""
    campaign = new_campaign(tmp_path / "c", RACE.replace("trials: 24", "trials: 12"))
    rng = np.random.default_rng(4)
    kills = drains = 0

    class Drains(Unordered):
        def poll(self, timeout_seconds: float) -> list[Answer]:
            stop.draining = len(self.asked) > 30
            return super().poll(timeout_seconds)

    def crowded(campaign: Campaign, store: Any) -> Any:
        return _driver(campaign, store, Unordered(24, seed=kills))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.campaign.test_adoption.driver", crowded)
        while not drive_until_killed(campaign, int(rng.integers(4, 40)), create=kills == 0):
            kills += 1
            if kills % 3 == 0:
                stop = Stop()
                ending = drive(campaign, Drains(24, seed=kills), stop=stop, create=False)
                drains += ending.kind is EndKind.DRAINED
    assert kills >= 4
    assert drains >= 1
    records = read_records(campaign.storage_url, campaign.settings.study)
    trials = [r for r in records if r.reference is None]
    orders = {r.number: r.told_order or 0 for r in records}
    assert sorted(orders.values()) == list(range(1, len(records) + 1))
    assert sum(r.outcome.was_evaluated for r in trials) == 12
    assert len(records) - len(trials) == 6
    assert min(orders[t.number] for t in trials) < max(orders[n] for n in orders if n < 0)
    assert campaign.settings.reference_point is not None
    assert replay(campaign, records).first is None


def _driver(campaign: Campaign, store: Any, executor: Inline | None = None) -> Any:
    from tests.helpers import driver

    return driver(campaign, store, executor or Inline(slow_learner))


@pytest.mark.parametrize("sampler", ["tpe", "surrogate"])
def test_a_deterministic_campaign_is_the_same_on_any_number_of_workers(
    tmp_path: Path, sampler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surrogate.SurrogateSampler, "random_trials", 3)
    text = RACE.replace("sampler: random", f"sampler: {sampler}, deterministic: true, lag: 8")
    studies = []
    # 1 and 9 know most differently: fewer would not show that a stop reads what it may not
    for slots in (1, 4, 9):
        campaign = new_campaign(tmp_path / str(slots), text)
        executor = Unordered(slots, seed=slots)
        assert drive(campaign, executor).kind is EndKind.FINISHED
        assert executor.most_in_flight == slots
        studies.append(everything(campaign))
    assert all(study == studies[0] for study in studies)
    told = {r["number"]: r["told_order"] for r in studies[0][1] if r["number"] >= 0}
    assert [told[n] for n in sorted(told)] == sorted(told.values())
    assert num_stopped(campaign) > 0, "stops must read that prefix alone, too"


def num_stopped(campaign: Campaign) -> int:
    judgements = (j for r in trials_of(campaign) for j in r.judgements)
    return sum(v.kind is VerdictKind.STOPPED for j in judgements for v in j.verdicts)


def test_without_it_the_order_of_the_answers_matters(tmp_path: Path) -> None:
    """What the test above would not notice, were its executor an orderly one."""
    studies = []
    for slots in (1, 9):
        text = RACE.replace("trials: 24", "trials: 8").replace("random", "tpe")
        campaign = new_campaign(tmp_path / str(slots), text)
        drive(campaign, Unordered(slots, seed=slots))
        studies.append(study_of(campaign))
    assert studies[0] != studies[1]


@pytest.mark.parametrize("sampler", ["tpe", "surrogate"])
def test_a_deterministic_campaign_goes_on_after_kills_and_drains(
    tmp_path: Path, sampler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surrogate.SurrogateSampler, "random_trials", 3)
    text = RACE.replace("sampler: random", f"sampler: {sampler}, deterministic: true, lag: 4")
    text = text.replace("trials: 24", "trials: 16")
    calm, shaken = (new_campaign(tmp_path / n, text) for n in "ab")
    drive(calm, Unordered(4, 1))
    stop = Stop()

    class Drains(Unordered):
        def poll(self, timeout_seconds: float) -> list[Answer]:
            stop.draining = len(self.asked) > 40
            return super().poll(timeout_seconds)

    assert drive(shaken, Drains(2, 2), stop=stop).kind is EndKind.DRAINED
    rng = np.random.default_rng(3)
    kills = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.campaign.test_adoption.driver", _driver)
        while not drive_until_killed(shaken, int(rng.integers(4, 40)), create=False):
            kills += 1
    assert kills >= 3
    assert everything(shaken) == everything(calm)
    assert num_stopped(shaken) > 0


def test_of_a_finished_trial_only_the_scored_weights_stay(tmp_path: Path) -> None:
    campaign = new_campaign(tmp_path / "c", RACE.replace("trials: 24", "trials: 2"))
    drive(campaign, Inline(evaluate))
    runs = campaign.directory / RUNS
    for record in trials_of(campaign):
        kept = sorted(p.relative_to(runs).as_posix() for p in runs.glob(f"{record.number}/*/*"))
        if record.outcome.was_trained:
            assert kept == [f"{record.number}/{record.scored_run}/16"]
        else:
            assert kept == []
    assert len(list(runs.glob("ref*/*/*"))) == 6


def test_a_run_goes_on_bit_for_bit_even_if_its_checkpoint_is_lost(tmp_path: Path) -> None:
    from tests.helpers import request

    whole = evaluate(request())
    assert isinstance(whole, Evaluation)
    first = tmp_path / "0" / "2"
    evaluate(request(to_step=2, directory=str(first)))
    gone_on = evaluate(request(to_step=6, checkpoint=str(first)))
    assert isinstance(gone_on, Evaluation)
    assert (gone_on.curve, gone_on.test) == (whole.curve, whole.test)
    data = bytearray((first / CHECKPOINT).read_bytes())
    data[len(data) // 2] ^= 1
    (first / CHECKPOINT).write_bytes(data)
    for place in (first, tmp_path / "nowhere"):
        again = evaluate(request(to_step=6, checkpoint=str(place)))
        assert isinstance(again, Evaluation)
        assert (again.curve, again.test) == (whole.curve, whole.test)

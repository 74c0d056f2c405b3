from __future__ import annotations

import pytest

from archsearch.bench import scaling
from archsearch.bench.scaling import Setting, Turn, _EmptyCampaign, _EmptyRequests, _result


def test_a_turn_runs_a_campaign_that_trains() -> None:
    wall, seconds = scaling._TrainingCampaign((Setting("serial", 1), 3))()
    # two trials and none of the six references, which are begun only
    assert len(seconds) == 2
    assert 0 < sum(seconds) < wall


def test_a_campaign_whose_trials_were_not_all_trained_is_no_measurement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    few = "kernel_size: {choice: [4]}"  # the second trial is the first again
    text = scaling._TRAINING_CAMPAIGN
    whole = text[text.index("kernel_size") : text.index("}}") + 1]
    monkeypatch.setattr(scaling, "_TRAINING_CAMPAIGN", text.replace(whole, few))
    with pytest.raises(RuntimeError, match="1 of 2 trials were trained"):
        scaling._TrainingCampaign((Setting("serial", 1), 3))()


def test_duplicates_are_no_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two designs the random sampler proposes one again before it has drawn both."""
    text = scaling._TRAINING_CAMPAIGN
    whole = text[text.index("kernel_size") : text.index("}}") + 1]
    few = text.replace(whole, "kernel_size: {choice: [4, 5]}")
    monkeypatch.setattr(scaling, "_TRAINING_CAMPAIGN", few)
    wall, seconds = scaling._TrainingCampaign((Setting("serial", 1), 3))()
    assert len(seconds) == 2
    assert 0 < sum(seconds) < wall


def test_a_turn_asks_for_nothing() -> None:
    assert _EmptyRequests(Setting("serial", 1))() > 10


def test_a_turn_runs_an_empty_campaign() -> None:
    assert 0 < _EmptyCampaign(Setting("serial", 1))() < 5


def test_speed_up_and_overhead_are_those_of_the_same_turn() -> None:
    one, two = Setting("ray", 1), Setting("ray", 2)
    turns = {
        # 2 runs in 20 s; the second turn on a machine at half the speed
        one: [Turn(20, (10, 9), 100, 0.1), Turn(40, (20, 18), 50, 0.2)],
        # in the second turn one worker has runs of 25 and 20 s, the other of 20 and 15
        two: [Turn(20, (10, 10, 9, 9), 200, 0.1), Turn(50, (25, 20, 15, 20), 100, 0.2)],
    }
    alone, both = _result(one, turns), _result(two, turns)
    assert (alone.runs_per_minute, alone.speedup) == (4.5, 1.0)
    assert alone.overhead == pytest.approx(0.05)
    assert both.runs_per_minute == pytest.approx((12 + 4.8) / 2)
    assert both.speedup == pytest.approx((2 + 1.6) / 2)
    assert both.overhead == pytest.approx((0.05 + 0.2) / 2)
    assert both.overhead_without_tail == pytest.approx((0.05 + 0.1) / 2)
    assert both.trial_milliseconds == pytest.approx(150)

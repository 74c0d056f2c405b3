from __future__ import annotations

import math

import pytest

from archsearch.objectives import (
    OBJECTIVES,
    capped_accuracy,
    gap_closed,
    solves,
    worst_cell,
)


def test_the_objectives():
    assert list(OBJECTIVES) == [
        "accuracy", "flops", "flops_executed", "params", "state", "learnability",
    ]  # fmt: skip
    assert all(name == objective.name for name, objective in OBJECTIVES.items())
    best = ["accuracy", "learnability"]
    assert [name for name, objective in OBJECTIVES.items() if objective.maximise] == best
    assert [name for name, objective in OBJECTIVES.items() if not objective.log] == best


def test_better_is_a_smaller_loss():
    for objective in OBJECTIVES.values():
        worse, better = (0.2, 0.9) if objective.maximise else (2000, 100)
        assert objective.loss(better) < objective.loss(worse)
    assert OBJECTIVES["accuracy"].loss(0.75) == -0.75
    assert OBJECTIVES["flops"].loss(1000) == pytest.approx(3)
    assert OBJECTIVES["state"].loss(0) == OBJECTIVES["state"].loss(1) == 0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_losses_are_finite(value):
    for objective in OBJECTIVES.values():
        with pytest.raises(ValueError, match=f"{objective.name} must be finite"):
            objective.loss(value)


def test_counts_are_not_negative():
    with pytest.raises(ValueError, match="flops must be finite and >= 0; got -1"):
        OBJECTIVES["flops"].loss(-1)


def test_no_cell_counts_beyond_success():
    assert capped_accuracy([1.0, 0.5]) == pytest.approx((0.995 + 0.5) / 2)
    assert capped_accuracy({"64x4": 0.999, "128x8": 1.0}) == pytest.approx(0.995)
    assert capped_accuracy([0.996]) == capped_accuracy([1.0])


def test_worst_cell_and_solves():
    assert worst_cell({"64x4": 1.0, "128x8": 0.98}) == 0.98
    assert solves([0.99, 1.0])
    assert not solves([1.0, 0.9899])


@pytest.mark.parametrize("summary", [capped_accuracy, worst_cell, solves])
def test_unusable_accuracies_are_refused(summary):
    with pytest.raises(ValueError, match="no cell"):
        summary({})
    for value in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=f"between 0 and 1; got {value}"):
            summary([0.5, value])


def test_gap_closed():
    assert gap_closed(0.9, 0.5, 1.0) == pytest.approx(0.8)
    assert gap_closed(0.4, 0.5, 1.0) == pytest.approx(-0.2)
    assert gap_closed(1.0, 0.5, 0.9) == pytest.approx(1.25)
    assert gap_closed(0.9, 0.5, 0.54) is None
    assert gap_closed(0.9, 0.95, 0.5) is None

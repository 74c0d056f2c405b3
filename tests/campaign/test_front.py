"""The front of hand-made records, against figures worked out by hand."""

from __future__ import annotations

import math
import random

import pytest

from archsearch.campaign.exports import picked
from archsearch.campaign.front import build_front
from archsearch.campaign.standing import cost_of, margins, stand
from archsearch.costs import Price
from archsearch.errors import InputError
from archsearch.objectives import OBJECTIVES
from archsearch.records import CellScore, Evaluation, RunOutcome, RunSeed, TrialOutcome, TrialRecord
from tests.helpers import design

BOTH = (OBJECTIVES["accuracy"], OBJECTIVES["flops"])
DESIGN = design("short_conv")


def record(
    number: int,
    accuracy: float,
    flops: int = 1000,
    outcome: TrialOutcome = TrialOutcome.FINISHED,
    reference: str | None = None,
    state: int = 1,
    **changes: object,
) -> TrialRecord:
    cells = tuple(
        CellScore(
            length=n, pairs=2, power_a=1.0, accuracy=accuracy, log_probability=-1.0, queries=8
        )
        for n in (8, 16)
    )
    trained = outcome.was_trained
    evaluation = Evaluation(
        outcome=RunOutcome.FINISHED,
        learning_rate=1e-3,
        seed=RunSeed(campaign=0, trial=number),
        step=7,
        test=cells if trained else (),
        seconds=2.0,
    )
    price = Price(
        n_max=16,
        flops=flops,
        flops_executed=flops + 1,
        params=10,
        state_floats=state,
        growth=(1, 1, 0),
        growth_text="N",
        leading_coefficient=1.0,
        form="N",
    )
    return TrialRecord(
        number=number,
        outcome=outcome,
        architecture=DESIGN,
        reference=reference,
        price=price,
        accuracy=accuracy if trained else 0.0,
        evaluations=(evaluation,),
    ).model_copy(update=changes)


REFERENCES = [
    record(-1, 0.8, 10_000, reference="attention x2"),
    record(-2, 0.9, 8_000, reference="short conv + attention"),
    record(-3, 0.1, 100, reference="conv only"),
    record(-4, 0.99, 1, reference="short conv + window"),
]
POINT = (0.1, 100_000.0)
TRIALS = [
    record(0, 0.5, 1_000),
    record(1, 0.7, 10_000),
    record(2, 0.4, 2_000),  # dominated by 0
    record(3, 0.149, 10),  # not 0.05 above convolutions
    record(4, 0.0, 1, TrialOutcome.DIVERGED),
    record(5, 0.0, 1, TrialOutcome.OOM),
    record(6, 0.0, 1, TrialOutcome.INFEASIBLE),
    record(7, 0.0, 1, TrialOutcome.FAILED),
    record(8, 0.5, 1_000),  # as good as 0
    record(9, 0.151, 100),  # just above that
    record(10, 0.0, 1, TrialOutcome.DUPLICATE),
    record(11, 0.0, 1, TrialOutcome.RUNNING),
]


def test_members_are_feasible_trained_useful_and_not_dominated() -> None:
    front = build_front([*REFERENCES, *TRIALS], BOTH, POINT)
    assert [m.number for m in front.members] == [9, 0, 8, 1]
    assert all(m.is_member and not m.is_reference for m in front.members)
    assert sorted(r.number for r in front.dominated) == [2, 3]
    assert [r.number for r in front.references] == [-1, -2, -3, -4]
    assert not any(r.is_member for r in front.references)
    assert front.counts == {
        "running": 1,
        "solved": 0,
        "finished": 6,
        "diverged": 1,
        "oom": 1,
        "stopped": 0,
        "infeasible": 1,
        "duplicate": 1,
        "failed": 1,
    }


def test_hypervolume_in_closed_form() -> None:
    front = build_front([*REFERENCES, *TRIALS], BOTH, POINT)
    # steps at log10 cost 2, 3, 4, bounded at 5, above the floor of 0.1
    expected = 0.051 * 1 + 0.4 * 1 + 0.6 * 1
    assert front.hypervolume == pytest.approx(expected)
    assert build_front(REFERENCES, BOTH, POINT).hypervolume == 0
    assert build_front([*REFERENCES, *TRIALS], BOTH, None).hypervolume is None


def test_gap_closed_and_ratio_in_closed_form() -> None:
    front = build_front([*REFERENCES, *TRIALS], BOTH, POINT)
    row = next(m for m in front.members if m.number == 0)
    # the better of the two attention references is the ceiling
    assert row.gap_closed == pytest.approx((0.5 - 0.1) / (0.9 - 0.1))
    assert row.cell_gap_closed == pytest.approx([0.5, 0.5])
    assert row.cost_vs_full_attention == pytest.approx(1000 / 8000)
    by_name = {r.name: r for r in front.references}
    assert by_name["conv only"].gap_closed == 0
    assert by_name["short conv + attention"].gap_closed == 1
    assert by_name["attention x2"].cost_vs_full_attention == pytest.approx(1.25)


def test_without_a_gap_there_is_no_share_of_it() -> None:
    near = [record(-2, 0.12, 8_000, reference="short conv + attention"), REFERENCES[2]]
    row = build_front([*near, *TRIALS], BOTH, POINT).members[0]
    assert row.gap_closed is None
    assert row.cell_gap_closed == (None, None)
    alone = build_front([REFERENCES[2], *TRIALS], BOTH, None).members[0]
    assert alone.gap_closed is None
    assert alone.cost_vs_full_attention is None


def test_the_knee_bulges_furthest() -> None:
    trials = [
        record(0, 0.2, 10),
        record(1, 0.8, 100),  # of the way: nearly all accuracy for a third of the cost's decades
        record(2, 0.85, 1_000),
        record(3, 0.9, 10_000),
    ]
    front = build_front([*REFERENCES, *trials], BOTH, POINT)
    assert front.knee == 1
    assert picked(front, "knee") == 1
    assert picked(front, "best") == 3
    assert picked(front, "cheapest") == 0
    # what shows the same accuracy is not worth more
    alike = [*REFERENCES, *trials, record(4, 0.9004, 1_000_000)]
    assert picked(build_front(alike, BOTH, POINT), "best") == 3
    with pytest.raises(InputError, match="must be one of knee, best, cheapest"):
        picked(front, "middle")


def test_an_empty_front() -> None:
    front = build_front(REFERENCES, BOTH, POINT)
    assert front.members == ()
    assert front.knee is None
    with pytest.raises(InputError, match="the front is empty"):
        picked(front, "knee")


def test_references_never_dominate_and_never_count() -> None:
    cheap = record(-9, 0.995, 1, reference="short conv + Based")
    with_it = build_front([*REFERENCES, cheap, *TRIALS], BOTH, POINT)
    without = build_front([*REFERENCES, *TRIALS], BOTH, POINT)
    assert with_it.members == without.members
    assert with_it.hypervolume == without.hypervolume


def test_the_floor_and_the_ceiling_are_the_best_width() -> None:
    wide = [
        record(-5, 0.3, 400, reference="conv only @d64"),
        record(-6, 0.95, 90_000, reference="attention x2 @d64"),
    ]
    front = build_front([*REFERENCES, *wide, *TRIALS], BOTH, POINT)
    assert [m.number for m in front.members] == [0, 8, 1]
    row = front.members[0]
    assert row.gap_closed == pytest.approx((0.5 - 0.3) / (0.95 - 0.3))


def test_a_reference_that_failed_is_no_floor() -> None:
    failed = record(-3, 0.0, 100, TrialOutcome.DIVERGED, "conv only")
    front = build_front([*REFERENCES[:2], failed, *TRIALS], BOTH, POINT)
    assert [m.number for m in front.members] == [3, 9, 0, 8, 1]
    assert front.members[0].gap_closed is None


def test_the_order_of_records_does_not_matter() -> None:
    records = [*REFERENCES, *TRIALS]
    wanted = build_front(records, BOTH, POINT)
    for seed in range(5):
        shuffled = random.Random(seed).sample(records, len(records))
        found = build_front(shuffled, BOTH, POINT)
        assert {m.number for m in found.members} == {m.number for m in wanted.members}
        assert found.hypervolume == wanted.hypervolume
        assert found.counts == wanted.counts


def test_other_costs_are_objectives_too() -> None:
    objectives = (OBJECTIVES["accuracy"], OBJECTIVES["state"])
    trials = [record(0, 0.5, 1, state=100), record(1, 0.5, 9, state=10)]
    front = build_front([*REFERENCES, *trials], objectives, (0.1, 1000.0))
    assert [m.number for m in front.members] == [1]
    assert front.members[0].cost == 10
    assert front.hypervolume == pytest.approx(0.4 * 2)
    assert cost_of(trials[0], BOTH[1]) == 1
    with pytest.raises(ValueError, match="has no price"):
        cost_of(TrialRecord(number=1, outcome=TrialOutcome.INFEASIBLE), BOTH[1])


def test_learnability_is_a_third_objective() -> None:
    three = (*BOTH, OBJECTIVES["learnability"])
    trials = [
        record(0, 0.6, 1_000, learnability=0.5),
        record(1, 0.5, 1_000, learnability=1.0),  # less accurate, easier to train
        record(2, 0.5, 1_000, learnability=0.5),  # beaten by both
        record(3, 0.6, 10_000),  # nothing is known of its rates: none works
        record(4, 0.7, 10_000),  # more accurate than all others
        record(5, 0.4, 10_000, learnability=1.5),  # the easiest
    ]
    front = build_front([*REFERENCES, *trials], three, (*POINT, 0.0))
    assert [m.number for m in front.members] == [0, 1, 4, 5]
    assert [m.learnability for m in front.members] == [0.5, 1.0, None, 1.5]
    assert [m.number for m in build_front([*REFERENCES, *trials], BOTH, POINT).members] == [0, 4]
    # log10 costs 3 and 4, bounded at 5; accuracy above 0.1; no rate works adds nothing
    assert front.hypervolume == pytest.approx(2 * (0.5 * 0.5 + 0.4 * 0.5) + 1 * 0.3 * 0.5)
    standing = stand([*REFERENCES, *trials], three)
    rise = margins(standing, three)
    assert rise[2] == pytest.approx(-0.1)  # to 0.6: the one as easy to train, at its price
    assert rise[3] == pytest.approx(-0.1)  # to 0.7, not beyond the easiest
    assert rise[5] == pytest.approx(0.4 - 0.15)  # nothing is as easy: the floor alone


def test_solved_needs_every_cell() -> None:
    front = build_front([*REFERENCES, record(0, 0.99), record(1, 0.9899, 1)], BOTH, POINT)
    assert {m.number: m.solved for m in front.members} == {0: True, 1: False}
    assert math.isclose(front.members[0].seconds, 2.0)
    assert front.members[0].seeds == 1
    assert front.members[0].steps == 7


def test_of_equal_yardsticks_the_cheaper_one_counts_in_any_order() -> None:
    references = [
        record(-1, 0.995, 2000, reference="attention x2"),
        record(-2, 0.995, 1000, reference="short conv + attention"),
        record(-3, 0.1, 100, reference="conv only"),
    ]
    trial = record(0, 0.9, 500)
    for order in (references, references[::-1]):
        front = build_front([*order, trial], BOTH, (0.1, 2000.0))
        assert front.members[0].cost_vs_full_attention == 0.5


def test_where_nothing_bulges_the_knee_is_the_best() -> None:
    given = [REFERENCES[2], record(0, 0.2, 100), record(1, 0.9, 1000)]
    assert build_front(given, BOTH, None).knee == 1
    assert build_front(given[:2], BOTH, None).knee == 0
    # recall jumps: what is cheap recalls next to nothing
    jump = [REFERENCES[2], record(0, 0.16, 100), record(1, 0.2, 200), record(2, 0.99, 250)]
    assert build_front(jump, BOTH, None).knee == 2
    # easier to train as it may be
    three = (*BOTH, OBJECTIVES["learnability"])
    easy = [REFERENCES[2]]
    easy += [record(0, 0.16, 100, learnability=1.0), record(1, 0.99, 1000, learnability=0.5)]
    assert build_front(easy, three, None).knee == 1


@pytest.mark.parametrize("ended", [None, TrialOutcome.RUNNING, TrialOutcome.DIVERGED])
def test_until_convolutions_only_have_ended_nobody_is_known_to_beat_them(
    ended: TrialOutcome | None,
) -> None:
    """The search begins beside the references."""
    others = [r for r in REFERENCES if r.reference != "conv only"]
    if ended is not None:
        others.append(REFERENCES[2].model_copy(update={"outcome": ended}))
    front = build_front([*others, *TRIALS], BOTH, None)
    assert bool(front.members) is (ended is TrialOutcome.DIVERGED)
    assert {r.number for r in front.dominated} | {m.number for m in front.members} >= {0, 1, 2}


def test_an_oracle_is_a_member_only_if_asked_for() -> None:
    told = design("short_conv", "programmatic_selection")
    oracle = record(20, 0.95, 500).model_copy(update={"architecture": told})
    given = [*REFERENCES, *TRIALS, oracle]
    front = build_front(given, BOTH, POINT)
    without = build_front([*REFERENCES, *TRIALS], BOTH, POINT)
    assert [m.number for m in front.members] == [m.number for m in without.members]
    assert front.hypervolume == without.hypervolume
    (row,) = [r for r in front.dominated if r.number == 20]
    assert row.oracle_bias
    assert not any(m.oracle_bias for m in front.members)
    asked = build_front(given, BOTH, POINT, oracles=True)
    assert [m.number for m in asked.members] == [9, 20]

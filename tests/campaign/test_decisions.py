"""How often decisions were wrong: counted over made-up trials, with exact intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from archsearch.campaign.decisions import Ended, decisions, saving, share
from archsearch.records import (
    CellScore,
    CurvePoint,
    Evaluation,
    Judgement,
    RunOutcome,
    RunSeed,
    RunVerdict,
    TrialOutcome,
    TrialRecord,
    VerdictKind,
)

STEPS = 100


def run(number: int, step: int, accuracy: float | None = None) -> Evaluation:
    """A run that ended there, with a score if it came to its end."""
    score = [] if accuracy is None else [accuracy]
    return Evaluation(
        outcome=RunOutcome.PAUSED if accuracy is None else RunOutcome.FINISHED,
        learning_rate=10.0 ** -(number + 1),
        seed=RunSeed(campaign=0, trial=0, run=number),
        step=step,
        train_flops=10.0 * step,
        curve=(CurvePoint(step=step, train_loss=1, accuracy=(0.5,), log_probability=(-1,)),),
        test=tuple(
            CellScore(length=8, pairs=2, power_a=1, accuracy=a, log_probability=-1, queries=9)
            for a in score
        ),
    )


def trial(
    number: int, runs: list[Evaluation], scored: int | None, **verdicts: tuple[VerdictKind, bool]
) -> TrialRecord:
    """Verdicts are named ``r0``, ``r1``: kind, and whether the run was audited."""
    found = tuple(
        RunVerdict(run=int(name[1:]), kind=kind, audited=audited)
        for name, (kind, audited) in verdicts.items()
    )
    return TrialRecord(
        number=number,
        outcome=TrialOutcome.STOPPED if scored is None else TrialOutcome.FINISHED,
        evaluations=tuple(runs),
        judgements=(Judgement(step=25, known=0, verdicts=found),),
        scored_run=scored,
        told_order=number + 1,
    )


LOST, STOPPED = VerdictKind.LOST, VerdictKind.STOPPED


def test_choices_stops_and_steps_are_counted() -> None:
    records = [
        # a loser that was finished and is clearly better than the winner; another that is not
        trial(0, [run(0, 100, 0.9), run(1, 100, 0.8)], 1, r0=(LOST, True)),
        trial(1, [run(0, 100, 0.81), run(1, 100, 0.8)], 1, r0=(LOST, True)),
        # a loser that was not finished
        trial(2, [run(0, 25), run(1, 100, 0.8)], 1, r0=(LOST, False)),
        # stopped and finished: on the front, and not
        trial(3, [run(0, 100, 0.9)], 0, r0=(STOPPED, True)),
        trial(4, [run(0, 100, 0.2)], 0, r0=(STOPPED, True)),
        trial(5, [run(0, 50)], None, r0=(STOPPED, False)),
        # not told yet, and a reference
        trial(6, [run(0, 50)], None, r0=(STOPPED, False)).model_copy(update={"told_order": None}),
        trial(7, [run(0, 25)], None, r0=(LOST, False)).model_copy(
            update={"reference": "conv only"}
        ),
    ]
    found = decisions(records, members={0, 3}, steps=STEPS)
    assert (found.lost, found.stopped) == (3, 3)
    assert found.wrong_choices[:2] == (1, 2)
    assert found.wrongful_stops[:2] == (1, 2)
    # two that lost and two that were stopped needed all that was left
    trained = 2 * 200 + 125 + 100 + 100 + 50
    assert found.saved.share == pytest.approx(125 / (trained + 125))
    assert found.saved_by_stops.share == pytest.approx(50 / (trained + 50))


def test_a_loser_is_no_wrong_choice_where_the_winner_was_stopped() -> None:
    stopped = trial(0, [run(0, 100, 0.99), run(1, 50)], None, r0=(LOST, True), r1=(STOPPED, False))
    assert decisions([stopped], members=(), steps=STEPS).wrong_choices[:2] == (0, 0)


def test_what_is_saved_is_what_such_runs_need() -> None:
    # two losers were finished: one to the end, one to success after a third of the rest
    records = [
        trial(0, [run(0, 100, 0.9), run(1, 100, 0.8)], 0, r1=(LOST, True)),
        trial(1, [run(0, 100, 0.9), run(1, 50, 1.0)], 0, r1=(LOST, True)),
        trial(2, [run(0, 100, 0.9), run(1, 25)], 0, r1=(LOST, False)),
    ]
    left = 750 * (75 + 25) / (75 + 75)
    found = decisions(records, members=(), steps=STEPS)
    assert found.saved.share == pytest.approx(left / (2000 + 1500 + 1250 + left))
    assert found.saved_by_stops.share == 0


@pytest.mark.parametrize("trials", [40, 300])
@pytest.mark.parametrize("needs", [(1.0, 1.0), (0.2, 1.0)])
def test_the_interval_of_a_saving_holds_what_is_saved(
    trials: int, needs: tuple[float, float]
) -> None:
    """A third of the trials is stopped, one in ten of those is finished all the same."""
    random = np.random.default_rng(5)
    rest = 0.75 * float(np.mean(needs)) / 3
    # what was finished all the same was not saved
    true = 0.9 * rest / (2 / 3 + 0.25 / 3 + rest)
    held = widths = 0.0
    for _ in range(300):
        stopped = random.random(trials) < 1 / 3
        need = random.choice(needs, trials)
        audited = stopped & (random.random(trials) < 0.1)
        spent = np.where(stopped, np.where(audited, 0.25 + 0.75 * need, 0.25), 1.0)
        left = np.where(stopped & ~audited, 0.75, 0.0)
        ended = Ended(left, [(round(75 * part), 75) for part in need[audited]])
        found = saving(spent, ended)
        assert found.low is not None
        assert found.high is not None
        assert 0 <= found.low <= found.share <= found.high <= 1
        held += found.low <= true <= found.high
        widths += found.high - found.low
    assert held / 300 >= 0.93
    assert widths / 300 < (0.3 if trials == 40 else 0.15)


def test_a_part_that_none_was_audited_for_is_hardly_known() -> None:
    spent, left = np.full(50, 1.0), np.full(50, 1.0)
    unknown, known = saving(spent, Ended(left, [])), saving(spent, Ended(left, [(75, 75)] * 20))
    assert unknown.share == known.share == 0.5
    assert unknown.low is not None
    assert unknown.low < 0.05
    assert known.low is not None
    assert known.low > 0.45


def test_a_front_member_is_a_wrongful_stop_only_by_the_stopped_run() -> None:
    other = trial(0, [run(0, 100, 0.2), run(1, 100, 0.9)], 1, r0=(STOPPED, True))
    assert decisions([other], members={0}, steps=STEPS).wrongful_stops[:2] == (0, 1)


@given(st.integers(0, 60), st.integers(1, 60))
def test_intervals_are_exact(count: int, of: int) -> None:
    count = min(count, of)
    wanted = binomtest(count, of).proportion_ci(0.95, method="exact")
    found = share(count, of)
    assert found.low == pytest.approx(wanted.low, abs=1e-9)
    assert found.high == pytest.approx(wanted.high, abs=1e-9)


def test_nothing_audited_has_no_rate() -> None:
    assert share(0, 0) == (0, 0, None, None)
    empty = decisions([], (), STEPS)
    assert empty.saved == (0.0, None, None)
    assert empty.wrong_choices.low is None

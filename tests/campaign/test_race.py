"""Which runs of a trial go on, and which one is scored: over simulated curves."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archsearch.campaign import race
from archsearch.campaign.race import Move, Plan
from archsearch.records import (
    CellScore,
    CurvePoint,
    Evaluation,
    RunOutcome,
    RunSeed,
    TrialOutcome,
    TrialRecord,
    VerdictKind,
)

PLAN = Plan(learning_rates=(1e-3, 3e-3, 1e-2), rungs=(10, 20, 40), guess_nats=-4.0)
EMPTY = TrialRecord(number=7, outcome=TrialOutcome.RUNNING)

Curve = Callable[[int, int], float]
"""Log-probability of a run at a step."""


def move(run: int, to_step: int, from_step: int | None, plan: Plan = PLAN) -> Move:
    return Move(run, to_step, from_step, plan.learning_rates[run])


def never(run: Evaluation) -> bool:
    return False


def point(step: int, nats: float) -> CurvePoint:
    share = math.exp(nats)
    return CurvePoint(
        step=step, train_loss=-nats, accuracy=(share, share), log_probability=(nats, nats)
    )


def trained(plan: Plan, move: Move, curve: Curve) -> Evaluation:
    """What a worker would answer; a log-probability above -0.001 is success."""
    points = [point(s, curve(move.run, s)) for s in range(10, move.to_step + 1, 10)]
    solved = next((p for p in points if p.log_probability[0] > -0.001), None)
    if solved is not None:
        points = points[: points.index(solved) + 1]
    step = points[-1].step
    outcome = RunOutcome.FINISHED if step == plan.rungs[-1] else RunOutcome.PAUSED
    if solved is not None:
        outcome = RunOutcome.SOLVED
    ended = outcome is not RunOutcome.PAUSED
    score = CellScore(
        length=8, pairs=2, power_a=1, accuracy=points[-1].accuracy[0], log_probability=0, queries=9
    )
    return Evaluation(
        outcome=outcome,
        learning_rate=plan.learning_rates[move.run],
        seed=RunSeed(campaign=0, trial=7, run=move.run),
        step=step,
        curve=tuple(points),
        test=(score, score) if ended else (),
    )


def play(
    curve: Curve, plan: Plan = PLAN, stops: race.Stops = never, record: TrialRecord = EMPTY
) -> tuple[TrialRecord, list[Move]]:
    """A whole trial."""
    asked: list[Move] = []
    while True:
        record, moves = race.advance(plan, record, stops, known=3)
        if not moves:
            return race.concluded(plan, record), asked
        asked += moves
        for move in moves:
            record = race.with_rung(record, trained(plan, move, curve))


def test_the_best_rate_goes_on_alone_and_is_scored() -> None:
    record, asked = play(lambda run, step: (-3.0, -2.0, -2.5)[run] + step / 100)
    assert asked == [
        move(0, 10, None),
        move(1, 10, None),
        move(2, 10, None),
        move(1, 20, 10),
        move(1, 40, 20),
    ]
    assert record.outcome is TrialOutcome.FINISHED
    assert record.scored_run == 1
    assert record.accuracy == pytest.approx(math.exp(-1.6))
    assert {r: v.kind for r, v in record.verdicts.items()} == {
        0: VerdictKind.LOST,
        2: VerdictKind.LOST,
    }
    assert [(j.step, j.known) for j in record.judgements] == [(10, 3), (20, 3)]
    # a curve stands once, with the last rung of its run
    assert [(e.seed.run, e.step, len(e.curve)) for e in record.evaluations] == [
        (0, 10, 1),
        (1, 10, 0),
        (2, 10, 1),
        (1, 20, 0),
        (1, 40, 4),
    ]


def test_two_that_cannot_be_told_apart_go_on_and_three_do_not() -> None:
    def flat_then_apart(run: int, step: int) -> float:
        return -3.0 if step <= 10 else -3.0 + run * step / 50

    record, asked = play(flat_then_apart)
    assert [m for m in asked if m.to_step == 20] == [move(0, 20, 10), move(1, 20, 10)]
    assert [m.run for m in asked if m.to_step == 40] == [1]
    assert record.scored_run == 1


@pytest.mark.parametrize(
    ("lead", "survivors"),
    [
        (-race.TIE_NATS - 1e-6, {1}),
        (-race.TIE_NATS + 1e-6, {1, 2}),
        (0.0, {1, 2}),
        (race.TIE_NATS - 1e-6, {1, 2}),
        (race.TIE_NATS + 1e-6, {2}),
    ],
)
def test_a_lead_tells_two_rates_apart(lead: float, survivors: set[int]) -> None:
    _, asked = play(lambda run, step: (-4.0, -3.0, -3.0 + lead)[run])
    assert {m.run for m in asked if m.to_step == 20} == survivors


def test_a_success_ends_the_race() -> None:
    record, asked = play(lambda run, step: 0.0 if run == 2 and step >= 20 else -3.0 + step / 100)
    # two of three equals went on, and the third could not: the lower rates come first
    assert {m.run for m in asked if m.to_step == 20} == {0, 1}
    record, asked = play(lambda run, step: 0.0 if run == 2 else -3.0)
    assert [m.to_step for m in asked] == [10, 10, 10]
    assert (record.outcome, record.scored_run) == (TrialOutcome.SOLVED, 2)
    assert record.verdicts.keys() == {0, 1}


def test_a_rate_that_diverges_is_out_and_a_design_only_if_all_do() -> None:
    def diverging(rates: set[int]) -> TrialRecord:
        record, moves = race.advance(PLAN, EMPTY, never, 0)
        while moves:
            for move in moves:
                done = trained(PLAN, move, lambda run, step: -3.0 + step / 100 + run)
                if move.run in rates:
                    done = done.model_copy(
                        update={"outcome": RunOutcome.DIVERGED, "step": 4, "curve": (), "test": ()}
                    )
                record = race.with_rung(record, done)
            record, moves = race.advance(PLAN, record, never, 0)
        return race.concluded(PLAN, record)

    assert diverging({2}).scored_run == 1
    assert diverging({2}).outcome is TrialOutcome.FINISHED
    assert diverging({0, 1, 2}).outcome is TrialOutcome.DIVERGED


def test_a_design_that_does_not_fit_is_not_trained_further() -> None:
    record, moves = race.advance(PLAN, EMPTY, never, 0)
    for move in moves:
        done = trained(PLAN, move, lambda run, step: -3.0)
        if move.run == 1:
            done = done.model_copy(
                update={"outcome": RunOutcome.OOM, "step": 0, "curve": (), "test": ()}
            )
        record = race.with_rung(record, done)
    record, moves = race.advance(PLAN, record, never, 0)
    assert moves == ()
    assert race.concluded(PLAN, record).outcome is TrialOutcome.OOM


def test_a_stopped_trial_has_the_score_of_its_last_validation() -> None:
    record, asked = play(lambda run, step: -2.2 + run / 5, stops=lambda run: run.step >= 20)
    assert record.outcome is TrialOutcome.STOPPED
    assert record.scored_run is None
    assert record.test == ()
    assert record.accuracy == pytest.approx(math.exp(-1.8))
    assert [m.to_step for m in asked] == [10, 10, 10, 20]
    assert record.verdicts[2].kind is VerdictKind.STOPPED


def test_audited_runs_are_finished_and_losers_never_scored() -> None:
    def late(run: int, step: int) -> float:
        """The first rate is behind at the first rung and best in the end."""
        return -2.0 if step <= 10 and run else -3.0 + (2.9 if run == 0 and step > 20 else 0)

    audited = PLAN._replace(audit=1.0)
    record, asked = play(late, audited)
    assert {m.run for m in asked if m.to_step == 40} == {0, 1, 2}
    assert record.runs[0].test[0].accuracy > record.accuracy + 0.5
    assert record.scored_run in (1, 2)
    assert record.verdicts[0].audited
    # a run that should have been stopped is finished too, and its score is the trial's
    record, _ = play(late, audited, stops=lambda run: True)
    assert record.outcome is TrialOutcome.FINISHED
    assert record.verdicts[record.scored_run or 0].kind is VerdictKind.STOPPED


@given(st.floats(0, 1), st.integers(0, 10))
def test_the_audit_draws_about_its_share(share: float, seed: int) -> None:
    plan = PLAN._replace(audit=share, seed=seed)
    drawn = [race._audited(plan, n, 0, VerdictKind.LOST) for n in range(1000)]
    assert abs(sum(drawn) / 1000 - share) < 0.07
    assert drawn == [race._audited(plan, n, 0, VerdictKind.LOST) for n in range(1000)]


curves = st.lists(st.lists(st.floats(-4, 0), min_size=4, max_size=4), min_size=3, max_size=3)


@given(curves, st.floats(0, 1), st.integers(0, 99), st.integers(0, 40))
def test_any_interruption_leads_to_the_same_trial(
    table: list[list[float]], audit: float, seed: int, killed_after: int
) -> None:
    """Rungs that had arrived are kept; what was under way is asked again."""
    plan = PLAN._replace(audit=audit, seed=seed)

    def curve(run: int, step: int) -> float:
        return table[run][step // 10 - 1]

    def stops(run: Evaluation) -> bool:
        return race.mean_log_probability(run) < -3.5

    calm, asked = play(curve, plan, stops)
    record, arrived = EMPTY, 0
    while True:
        record, moves = race.advance(plan, record, stops, known=3)
        if not moves:
            break
        for move in moves:
            if arrived == killed_after:
                break
            arrived += 1
            record = race.with_rung(record, trained(plan, move, curve))
        else:
            continue
        killed_after = -1  # restart: what was lost is asked again, nothing else
    assert race.concluded(plan, record) == calm
    assert len(asked) >= 3
    final = [m for m in asked if m.to_step == 40]
    assert len({m.run for m in final}) == len(final)
    if calm.scored_run is not None:
        verdict = calm.verdicts.get(calm.scored_run)
        assert verdict is None or verdict.kind is VerdictKind.STOPPED


@pytest.mark.parametrize(
    ("nats", "decades"),
    [
        ((-1.0, -1.0, -1.0), 1.5),
        ((-3.9, -1.0, -3.9), 0.5),
        # a third of what the best has gained is not enough
        ((-3.0, -1.0, -3.0), 0.5),
        ((-1.0, -1.0, -3.9), 1.0),
        # a rate that works beyond one that does not is another window
        ((-2.0, -3.9, -1.0), 0.5),
        ((-3.9, -3.95, -4.2), None),
    ],
)
def test_learnability_is_the_width_of_the_window_around_the_best_rate(
    nats: tuple[float, ...], decades: float | None
) -> None:
    plan = PLAN._replace(learning_rates=(1e-3, 10**-2.5, 1e-2))
    record, _ = play(lambda run, step: nats[run], plan)
    if decades is None:
        assert record.learnability is None
    else:
        assert record.learnability == pytest.approx(decades)


def test_one_rate_has_no_learnability_and_needs_no_rung() -> None:
    plan = Plan(learning_rates=(3e-3,), rungs=(40,))
    record, asked = play(lambda run, step: -1.0, plan)
    assert asked == [move(0, 40, None, plan)]
    assert record.learnability is None
    assert record.judgements == ()

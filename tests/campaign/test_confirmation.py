"""Which designs get fresh seeds, and what those say: simulated scores, no training."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean

import numpy as np
import pytest

from archsearch.campaign.confirmation import MOST, Agenda, Seed, Terms, agenda, stray
from archsearch.campaign.estimates import (
    Contender,
    cell_intervals,
    cell_means,
    intervals,
    membership,
    score_of,
    student_quantile,
)
from archsearch.campaign.front import build_front
from archsearch.campaign.standing import NEAR, margins, near_members, stand
from archsearch.objectives import OBJECTIVES
from archsearch.protocol import SUCCESS_ACCURACY
from archsearch.records import (
    FRESH_RUNS,
    CellScore,
    Confirmation,
    Evaluation,
    Front,
    RunOutcome,
    RunSeed,
    TrialOutcome,
    TrialRecord,
)
from tests.campaign.test_front import BOTH, POINT, REFERENCES, record
from tests.helpers import design

TERMS = Terms(BOTH, 3, campaign_seed=11)

Answer = Callable[[Seed], float | None]
"""What a fresh seed scores; None where it diverges."""


def fresh(seed: Seed, score: float | None, batch: int = 1) -> Confirmation:
    """A confirmation; its cells lie 0.02 around its score, less where that would leave 0..0.995."""
    cells: tuple[float, ...] = ()
    if score is not None:
        apart = max(0.0, min(0.02, score, SUCCESS_ACCURACY - score))
        cells = (score + apart, score - apart)
    evaluation = Evaluation(
        outcome=RunOutcome.FINISHED if cells else RunOutcome.DIVERGED,
        learning_rate=1e-3,
        seed=RunSeed(campaign=11, trial=seed.number, run=FRESH_RUNS + seed.nth),
        step=7,
        test=tuple(
            CellScore(length=n, pairs=2, power_a=1.0, accuracy=a, log_probability=-1.0, queries=8)
            for n, a in zip((8, 16), cells, strict=False)
        ),
        seconds=4.0,
    )
    return Confirmation(number=seed.number, batch=batch, evaluation=evaluation)


def confirmed(
    records: Sequence[TrialRecord],
    answer: Answer,
    *,
    terms: Terms = TERMS,
    most: int = 1000,
) -> tuple[list[Confirmation], Agenda]:
    """Follows the policy to its end, or to so many seeds."""
    found: list[Confirmation] = []
    while len(found) < most:
        following = agenda(terms, records, found)
        if not following.seeds:
            break
        seed = following.seeds[0]
        found.append(fresh(seed, answer(seed), following.batch))
    return found, agenda(terms, records, found)


def front(records: Sequence[TrialRecord], confirmations: Sequence[Confirmation] = ()) -> Front:
    return build_front(records, BOTH, POINT, confirmations=confirmations)


def table(
    means: dict[int, float], spread: float = 0.004, campaign: int = 0
) -> Callable[[Seed], float]:
    """Normal scores; references score what the search says of them."""
    known = {r.number: r.accuracy for r in REFERENCES} | means

    def answer(seed: Seed) -> float:
        random = np.random.default_rng((campaign, 50 + seed.number, seed.nth))
        return float(np.clip(random.normal(known[seed.number], spread), 0.03, 0.97))

    return answer


def numbers(rows: Iterable[object]) -> list[int]:
    return [row.number for row in rows]  # type: ignore[attr-defined]


CHEAP, LUCKY, HONEST, DEAR = (
    record(0, 0.50, 1_000),
    record(1, 0.80, 2_000),
    record(2, 0.79, 2_500),
    record(3, 0.90, 4_000),
)
TRIALS = [CHEAP, LUCKY, HONEST, DEAR]
TRUTH = {0: 0.50, 1: 0.60, 2: 0.79, 3: 0.90}


def test_a_lucky_design_falls_and_the_one_behind_it_rises() -> None:
    records = [*REFERENCES, *TRIALS]
    assert numbers(front(records).members) == [0, 1, 3]
    found, end = confirmed(records, table(TRUTH))
    after = front(records, found)
    assert numbers(after.members) == [0, 1, 2, 3]  # 0.6 at a lower price is a member all the same
    lucky = after.members[1]
    assert lucky.accuracy == pytest.approx(0.6, abs=0.01)
    assert lucky.search_accuracy == 0.80
    assert all(m.confirmed and m.seeds >= 3 for m in after.members)
    assert end.reason == "who is on the front is clear"
    # the three that the search had chosen fell by 0, 0.2 and 0
    assert after.winners_curse == pytest.approx(0.2 / 3, abs=0.01)


def test_a_lucky_design_falls_off() -> None:
    cheaper = record(4, 0.70, 1_500)
    records = [*REFERENCES, *TRIALS, cheaper]
    found, _ = confirmed(records, table(TRUTH | {4: 0.70}))
    after = front(records, found)
    assert numbers(after.members) == [0, 4, 2, 3]
    fallen = next(row for row in after.dominated if row.number == 1)
    assert fallen.seeds == 3
    assert not fallen.confirmed
    assert fallen.p_on_front is not None
    assert fallen.p_on_front < 0.1
    # the fallen one counts, or there would be no curse to tell of
    assert after.winners_curse == pytest.approx(0.2 / 4, abs=0.01)


def test_an_unlucky_near_member_rises() -> None:
    unlucky, hopeless = record(4, 0.48, 3_000), record(5, 0.46, 3_000)
    records = [*REFERENCES, CHEAP, DEAR, unlucky, hopeless]
    assert numbers(front(records).members) == [0, 3]
    found, _ = confirmed(records, table({0: 0.5, 3: 0.9, 4: 0.85}))
    assert {c.number for c in found} == {-4, -3, -2, -1, 0, 3, 4}
    after = front(records, found)
    assert numbers(after.members) == [0, 4, 3]
    assert after.members[1].confirmed
    # it was no member by the search: no part of the curse
    assert after.winners_curse == pytest.approx(0, abs=0.01)


def test_what_rises_because_another_fell_gets_its_seeds() -> None:
    """It was neither member nor near: only the estimates of others make it worth a look."""
    hidden = record(4, 0.75, 2_600)
    records = [*REFERENCES, CHEAP, LUCKY, DEAR, hidden]
    assert 4 not in near_members(stand(records, BOTH), BOTH)
    found, _ = confirmed(records, table(TRUTH | {4: 0.75}))
    mine = [c for c in found if c.number == 4]
    assert len(mine) == 3
    assert {c.batch for c in mine} == {2}
    assert 4 in numbers(front(records, found).members)


def test_every_subject_is_seeded_once_before_any_is_seeded_twice() -> None:
    asked = agenda(TERMS, [*REFERENCES, *TRIALS], []).seeds
    assert [s.nth for s in asked] == sorted(s.nth for s in asked)
    assert len(asked) == 3 * len({s.number for s in asked})
    # 2 lies 0.01 below the edge, 3 lies 0.1 above it, 1 and 0 more; references come last
    assert [s.number for s in asked[:8]] == [2, 3, 1, 0, -1, -2, -3, -4]


def test_near_members_are_no_more_than_members_nearest_first() -> None:
    crowd = [record(10 + i, 0.5 - i / 1000, 1_100) for i in range(20)]
    standing = stand([*REFERENCES, CHEAP, DEAR, *crowd], BOTH)
    assert near_members(standing, BOTH) == [10, 11]
    distance = margins(standing, BOTH)
    assert distance[0] == pytest.approx(0.35)  # above the floor of 0.15
    assert distance[3] == pytest.approx(0.4)
    assert distance[12] == pytest.approx(-0.002)
    far = record(40, 0.46, 1_100)
    assert near_members(stand([*REFERENCES, CHEAP, DEAR, far], BOTH), BOTH) == []


def test_what_was_not_trained_or_is_told_the_answers_is_no_subject() -> None:
    told = design("programmatic_selection")
    records = [
        *REFERENCES,
        *TRIALS,
        record(5, 0.95, 3_000, architecture=told),
        record(6, 0.0, 10, TrialOutcome.DIVERGED),
        record(7, 0.78, 2_100, TrialOutcome.STOPPED),
        record(-9, 0.0, 10, TrialOutcome.DIVERGED, reference="short conv + Based"),
    ]
    subjects = {s.number for s in agenda(TERMS, records, []).seeds}
    assert subjects == {-1, -2, -3, -4, 0, 1, 2, 3}
    with_oracles = agenda(TERMS._replace(oracles=True), records, [])
    assert 5 in {s.number for s in with_oracles.seeds}


def test_without_a_member_nothing_is_trained() -> None:
    end = agenda(TERMS, [*REFERENCES, record(0, 0.12, 10)], [])
    assert end.seeds == ()
    assert "nothing to confirm" in end.reason


def test_doubt_is_worth_more_seeds_up_to_twice_as_many() -> None:
    records = [*REFERENCES, record(0, 0.9, 1_000), record(1, 0.9, 1_000)]

    # the two leap-frog each other for ever
    def answer(seed: Seed) -> float:
        return 0.9 + 0.02 * (-1) ** (seed.number + seed.nth) if seed.number >= 0 else 0.1

    found, end = confirmed(records, answer)
    assert [sum(c.number == n for c in found) for n in (0, 1)] == [MOST * 3] * 2
    assert end.reason == "2 designs stay in doubt after 6 fresh seeds each"
    rows = front(records, found).members
    assert all(not row.confirmed for row in rows)
    # references are not in doubt about anything
    assert sum(c.number == -1 for c in found) == 3


def test_a_design_that_fell_far_by_one_poor_seed_is_still_in_doubt() -> None:
    """By its mean it is not even near the front, but two seeds of three would be on it."""
    records = [*REFERENCES, record(0, 0.8, 1_000), record(1, 0.9, 1_100)]
    scores = {0: (0.8,) * 9, 1: (0.1, 0.9, 0.9, 0.9, 0.9, 0.9)}

    def answer(seed: Seed) -> float:
        return scores[seed.number][seed.nth] if seed.number >= 0 else 0.1

    found, _ = confirmed(records, answer, most=4 * 3 + 2 * 3)
    begun = front(records, found)
    assert numbers(begun.members) == [0]
    assert begun.dominated[0].accuracy < 0.8 - NEAR
    found, _ = confirmed(records, answer)
    assert sum(c.number == 1 for c in found) == 6


def test_what_is_clear_gets_no_more() -> None:
    records = [*REFERENCES, CHEAP, DEAR]
    found, end = confirmed(records, table(TRUTH))
    assert len(found) == 3 * 6
    assert end.seeds == ()
    assert end.reason == "who is on the front is clear"


def test_batches_do_not_depend_on_the_order_of_the_answers() -> None:
    """As on any number of workers, and with any of them killed."""
    records = [*REFERENCES, *TRIALS]
    answer = table(TRUTH, spread=0.1)
    expected, _ = confirmed(records, answer)
    random = np.random.default_rng(5)
    found: list[Confirmation] = []
    while (following := agenda(TERMS, records, found)).seeds:
        some = random.permutation(len(following.seeds))[: random.integers(1, 6)]
        for i in some:
            seed = following.seeds[i]
            found.append(fresh(seed, answer(seed), following.batch))

    def in_order(c: Confirmation) -> tuple[int, int, int]:
        return c.batch, c.number, c.seed

    assert len({c.batch for c in found}) > 2
    assert sorted(found, key=in_order) == sorted(expected, key=in_order)


def test_a_design_that_cannot_be_trained_holds_nothing_up() -> None:
    records = [*REFERENCES, record(0, 0.9, 1_000), record(1, 0.9, 1_000), CHEAP_AND_LOST]
    found: list[Confirmation] = []
    random = np.random.default_rng(0)
    while (following := agenda(TERMS, records, found, without={2})).seeds:
        assert 2 not in {s.number for s in following.seeds}
        for seed in following.seeds:
            score = float(random.normal(0.9, 0.02)) if seed.number >= 0 else 0.1
            found.append(fresh(seed, min(score, 0.97), following.batch))
    assert max(c.seed for c in found) > 2  # doubt about the others is still looked into
    assert following.reason == "1 of the designs could not be trained again"
    known = [c.model_copy(update={"known": 99, "wanted": TERMS.seeds}) for c in found]
    assert stray(TERMS, records, known) is None
    # later it can be
    last = agenda(TERMS, records, found)
    late = [fresh(seed, 0.6, last.batch) for seed in last.seeds]
    assert {c.number for c in late} == {2}
    then = [c.model_copy(update={"known": 99, "wanted": TERMS.seeds}) for c in late]
    assert stray(TERMS, records, [*known, *then]) is None
    invented = known[-1].model_copy(update={"number": -1, "seed": 5})
    assert stray(TERMS, records, [*known, invented]) == invented


CHEAP_AND_LOST = record(2, 0.6, 500)


def test_more_seeds_may_be_wanted_later() -> None:
    records = [*REFERENCES, CHEAP, DEAR]
    found, _ = confirmed(records, table(TRUTH))
    more = agenda(TERMS._replace(seeds=5), records, found)
    assert {s.nth for s in more.seeds} == {3, 4}
    assert agenda(TERMS._replace(seeds=1), records, found).seeds == ()


def test_new_trials_are_confirmed_beside_what_is_there() -> None:
    records = [*REFERENCES, CHEAP, DEAR]
    found, _ = confirmed(records, table(TRUTH))
    better = record(7, 0.95, 3_500)
    more = agenda(TERMS, [*records, better], found)
    assert {s.number for s in more.seeds} == {7}


# estimates


def test_a_run_counts_as_in_the_search() -> None:
    good = fresh(Seed(0, 0), 0.98).evaluation
    first = good.test[0].model_copy(update={"accuracy": 1.0})
    better = good.model_copy(update={"test": (first, good.test[1])})
    # capped cell by cell
    assert score_of(better) == pytest.approx((SUCCESS_ACCURACY + good.test[1].accuracy) / 2)
    assert score_of(fresh(Seed(0, 0), None).evaluation) == 0.0


def test_a_diverged_seed_lowers_the_mean_and_every_cell() -> None:
    seeds = [fresh(Seed(3, 0), 0.9), fresh(Seed(3, 1), None)]
    row = front([*REFERENCES, DEAR], seeds).members[0]
    assert row.accuracy == pytest.approx(0.45)
    assert row.cell_accuracy == pytest.approx((0.46, 0.44))
    assert row.worst_cell == pytest.approx(0.44)
    assert (row.seeds, row.seconds) == (2, 2.0 + 8.0)
    assert cell_means(DEAR, ()) == (0.9, 0.9)


def test_without_confirmations_the_front_is_the_searchs() -> None:
    found = front([*REFERENCES, *TRIALS])
    assert found.winners_curse is None
    for row in (*found.members, *found.references):
        assert row.accuracy == row.search_accuracy
        assert (row.low, row.high, row.p_on_front, row.confirmed) == (None, None, None, False)
        assert row.seeds == 1


def test_references_have_means_and_intervals_too() -> None:
    records = [*REFERENCES, CHEAP, DEAR]
    found, _ = confirmed(records, table(TRUTH | {-2: 0.8, -3: 0.2}))
    rows = {row.number: row for row in front(records, found).references}
    assert rows[-2].accuracy == pytest.approx(0.8, abs=0.01)
    assert rows[-2].confirmed
    assert rows[-2].p_on_front is None
    for row in rows.values():
        assert row.low is not None
        assert row.high is not None
        assert row.low < row.accuracy < row.high
    # floor and ceiling of the gap are the confirmed ones
    [cheap, _] = front(records, found).members
    floor, ceiling = rows[-3].accuracy, max(rows[-1].accuracy, rows[-2].accuracy)
    assert cheap.gap_closed == pytest.approx((cheap.accuracy - floor) / (ceiling - floor))


def test_a_floor_that_rises_takes_members_with_it() -> None:
    records = [*REFERENCES, record(0, 0.2, 500), DEAR]
    found, _ = confirmed(records, table({-3: 0.3, 0: 0.2, 3: 0.9}))
    after = front(records, found)
    assert numbers(after.members) == [3]
    assert after.dominated[0].p_on_front == 0.0


def test_an_uncertain_floor_makes_uncertain_members() -> None:
    floor = Contender(-3, (2.0,), 0.3)
    scores = {-3: (0.2, 0.3, 0.4), 0: (0.36, 0.36, 0.36)}
    p = membership(contenders((0, 3.0, 0.36)), floor, scores, seed=1)
    assert 0.5 < p[0] < 0.95
    assert membership(contenders((0, 3.0, 0.36)), None, scores, seed=1) == {0: 1.0}


def contenders(*values: tuple[int, float, float]) -> list[Contender]:
    return [Contender(number, (cost,), accuracy) for number, cost, accuracy in values]


def test_a_lone_clear_winner_is_certain() -> None:
    scores = {0: (0.9, 0.91, 0.92), 1: (0.5, 0.52, 0.51)}
    p = membership(contenders((0, 3.0, 0.9), (1, 3.0, 0.5)), None, scores, seed=1)
    assert p == {0: 1.0, 1: 0.0}


def test_two_equals_of_equal_cost_are_even() -> None:
    scores = {0: (0.90, 0.92, 0.94, 0.96), 1: (0.90, 0.92, 0.94, 0.96)}
    p = membership(contenders((0, 3.0, 0.9), (1, 3.0, 0.9)), None, scores, seed=1)
    assert p[0] == pytest.approx(0.5, abs=0.06)
    assert p[0] + p[1] == pytest.approx(1.0, abs=0.01)


def test_one_seed_is_never_certain() -> None:
    scores = {0: (0.9,), 1: (0.86, 0.80, 0.83), 2: (0.5, 0.4, 0.6)}
    two = contenders((0, 3.0, 0.99), (1, 3.0, 0.8))
    p = membership(two, None, scores, seed=1)
    assert 0.1 < p[0] < 0.995
    alone = membership(contenders((0, 3.0, 0.99), (1, 3.0, 0.8)), None, {1: scores[1]}, seed=1)
    assert 0.9 < alone[0] < 1.0  # the search's 0.99, and others that vary little
    # with three of its own that agree, the others' spread is less of an argument
    agreeing = membership(two, None, scores | {0: (0.9, 0.9, 0.9)}, seed=1)
    assert p[0] < agreeing[0] < 1.0


@pytest.mark.parametrize("kind", ["normal", "jumping"])
def test_who_is_called_off_the_front_is_rarely_a_member(kind: str) -> None:
    """Six designs of three seeds, dearer ones mostly better; the truth is in their means."""
    random = np.random.default_rng(1)
    sure, off = [], []
    for _ in range(120):
        if kind == "normal":
            true = np.linspace(0.6, 0.93, 6) + random.normal(0, 0.05, 6)
            seeds = true[:, None] + random.normal(0, 0.05, (6, 3))
        else:
            solves = random.uniform(0.3, 1, 6)
            true = 0.99 * solves + 0.4 * (1 - solves)
            seeds = np.where(random.random((6, 3)) < solves[:, None], 0.99, 0.4)
            seeds = seeds + random.normal(0, 0.002, (6, 3))
        scores = {n: tuple(row) for n, row in enumerate(np.clip(seeds, 0, 0.995).tolist())}
        some = contenders(*((n, float(n), fmean(values)) for n, values in scores.items()))
        p = membership(some, None, scores, seed=1)
        for n in range(6):
            is_member = bool((true[:n] < true[n]).all())
            sure += [is_member] * (p[n] >= 0.9)
            off += [is_member] * (p[n] <= 0.1)
    assert len(sure) > 100
    assert len(off) > 20
    assert np.mean(sure) > 0.95
    assert np.mean(off) < 0.11


def test_nothing_is_known_while_no_design_has_two_seeds() -> None:
    assert membership(contenders((0, 3.0, 0.9)), None, {0: (0.9,)}, seed=1) == {}
    assert intervals({0: (0.9,), 1: (0.3,)}) == {}
    assert intervals({}) == {}


def test_the_bootstrap_is_reproducible_and_the_campaigns_own() -> None:
    scores = {0: (0.90, 0.95, 0.85), 1: (0.91, 0.94, 0.84)}
    both = contenders((0, 3.0, 0.9), (1, 3.0, 0.9))
    p = membership(both, None, scores, seed=1)
    assert membership(both[::-1], None, dict(reversed(scores.items())), seed=1) == p
    assert membership(both, None, scores, seed=2) != p


@pytest.mark.parametrize("names", [(), ("learnability",)])
def test_membership_is_that_of_the_front(names: tuple[str, ...]) -> None:
    """With seeds that do not differ, the bootstrap is one front 2,000 times."""
    objectives = (*BOTH, *(OBJECTIVES[name] for name in names))
    random = np.random.default_rng(3)
    for _ in range(30):
        trials = [
            record(
                i,
                float(random.integers(1, 8)) / 8,
                int(10 ** random.integers(1, 4)),
                learnability=float(random.integers(0, 3)),
            )
            for i in range(12)
        ]
        seeds = [
            fresh(Seed(r.number, nth), r.accuracy)
            for r, nth in itertools.product([*REFERENCES, *trials], range(3))
        ]
        shown = build_front([*REFERENCES, *trials], objectives, None, confirmations=seeds)
        rows = (*shown.members, *shown.dominated)
        assert {row.number: row.p_on_front for row in rows} == {
            row.number: float(row.is_member) for row in rows
        }


@pytest.mark.parametrize("spreads", [(0.05,) * 12, (0.05, 0.01) * 6], ids=["equal", "unequal"])
def test_the_interval_covers(spreads: tuple[float, ...]) -> None:
    """Of designs that all vary as much, and of those that vary more than half of the others."""
    random = np.random.default_rng(7)
    inside = []
    for _ in range(400):
        scores = {n: tuple(random.normal(0.5, s, 3).tolist()) for n, s in enumerate(spreads)}
        found = intervals(scores)
        inside += [found[n][0] <= 0.5 <= found[n][1] for n in range(0, 12, 2)]
    assert 0.935 < np.mean(inside) < 0.985
    # the best that resampling three seeds could do
    spanned = [np.ptp(np.sign(random.normal(size=3))) > 0 for _ in range(4000)]
    assert np.mean(spanned) == pytest.approx(0.75, abs=0.03)


def on_cells(seed: Seed, *cells: float) -> Confirmation:
    """A confirmation with these accuracies; none where it diverged."""
    one = fresh(seed, 0.5 if cells else None)
    test = tuple(
        cell.model_copy(update={"accuracy": accuracy})
        for cell, accuracy in zip(one.evaluation.test, cells, strict=True)
    )
    return one.model_copy(update={"evaluation": one.evaluation.model_copy(update={"test": test})})


def test_a_cell_is_known_as_far_as_its_seeds_agree() -> None:
    """Not as far as their pooled queries go; how seeds differ on another cell does not matter."""
    hard, easy = (0.858, 0.227, 0.745), 0.999
    found = [on_cells(Seed(1, nth), score, easy) for nth, score in enumerate(hard)]
    found += [on_cells(Seed(2, nth), 0.6, easy) for nth in range(3)]
    first, second = cell_intervals(found, 2)
    assert first[1][0] < min(hard)
    assert first[1][1] > max(hard)
    assert first[2][0] < 0.5  # its three equal seeds are no certainty
    assert second[1] == pytest.approx((easy, easy))  # above what a score is capped at
    diverged = [*found, on_cells(Seed(2, 3))]
    assert cell_intervals(diverged, 2)[1][2][0] < 0.5
    assert cell_intervals(found[::3], 2) == cell_intervals([], 2) == [{}, {}]


def test_three_equal_scores_are_no_certainty() -> None:
    low, high = intervals({0: (0.7, 0.7, 0.7), 1: (0.3, 0.4, 0.5)})[0]
    assert low < 0.65
    assert high > 0.75


def test_an_interval_stays_within_what_a_score_can_be() -> None:
    found = intervals({0: (0.995, 0.9, 0.995), 1: (0.0, 0.3, 0.01)})
    assert found[0][1] == SUCCESS_ACCURACY
    assert found[1][0] == 0.0


@pytest.mark.parametrize(
    ("degrees", "published"), [(2, 4.303), (3, 3.182), (4, 2.776), (7, 2.365), (30, 2.042)]
)
def test_the_quantile_is_students(degrees: int, published: float) -> None:
    assert student_quantile(degrees) == pytest.approx(published, rel=0.01)

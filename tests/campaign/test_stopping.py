"""Rules that end runs: what they must never do, and rankings that must be right."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archsearch.campaign.stopping import asha, front, none, rules
from archsearch.campaign.stopping.base import Candidate, Past

FLOOR = 0.1


def past(*rows: tuple[float, float, float]) -> Past:
    """(cost, log-probability at every rung and cell, accuracy)."""
    costs, nats, accuracy = (np.array(c, dtype=float) for c in zip(*rows, strict=True))
    curves = np.repeat(nats[:, None, None], 2, axis=2).repeat(3, axis=1)
    return Past(costs, curves, accuracy, FLOOR)


def run(cost: float, nats: float, rung: int = 0) -> Candidate:
    return Candidate(cost, rung, (rung + 1) / 2, np.array([nats, nats]))


NOTHING = Past(np.zeros(0), np.zeros((0, 3, 2)), np.zeros(0), FLOOR)
GOOD = [(8.0, -1.0, 0.8)] * 6


def test_there_are_three_rules() -> None:
    assert rules.names() == ("asha", "front", "none")


@pytest.mark.parametrize("name", rules.names())
def test_nothing_is_stopped_before_anything_is_known(name: str) -> None:
    assert not rules.get(name)(run(8, -9), NOTHING)


def test_none_never_stops() -> None:
    assert not none.stops(run(9, -9), past(*GOOD))


def test_a_run_below_all_that_reached_the_front_at_its_price_is_ended() -> None:
    assert front.stops(run(8.0, -2.0), past(*GOOD))
    assert not front.stops(run(8.0, -1.0), past(*GOOD))
    assert not front.stops(run(8.0, -0.5), past(*GOOD))
    # within what seeds make of one design
    assert not front.stops(run(8.0, -1.04), past(*GOOD))


def test_a_band_needs_enough_finished_runs() -> None:
    assert not front.stops(run(8.0, -2.0), past(*GOOD[:5]))
    stopped = [(8.0, -1.0, np.nan)] * 20
    assert not front.stops(run(8.0, -2.0), past(*GOOD[:5], *stopped))
    assert not front.stops(run(8.4, -2.0), past(*GOOD))
    assert not front.stops(run(7.6, -2.0), past(*GOOD))


def test_it_compares_with_runs_that_reached_the_front_not_with_the_others() -> None:
    """Cheap designs learn early and end low; what ended high was slow at first."""
    early = [(8.0, -0.5, 0.4)] * 40
    late = [(8.0, -3.0, 0.9)] * 3
    assert not front.stops(run(8.0, -2.9), past(*early, *late))
    assert front.stops(run(8.0, -3.2), past(*early, *late))


def test_nothing_is_ended_in_the_first_quarter() -> None:
    early, late = (Candidate(8.0, 0, share, np.array([-9.0, -9.0])) for share in (0.24, 0.25))
    assert not front.stops(early, past(*GOOD))
    assert front.stops(late, past(*GOOD))


def test_one_cell_above_the_bar_is_enough_to_go_on() -> None:
    known = past(*GOOD)
    assert not front.stops(Candidate(8.0, 0, 0.5, np.array([-3.0, -0.9])), known)
    assert front.stops(Candidate(8.0, 0, 0.5, np.array([-3.0, -1.0])), known)


def test_a_price_above_two_solved_designs_has_nothing_to_add() -> None:
    solved, band = [(7.0, 0.0, 0.995)], [(9.0, 0.0, 0.5)] * 6
    assert not front.stops(run(9.0, 0.0), past(*solved, *band))
    assert front.stops(run(9.0, 0.0), past(*solved, *solved, *band))
    assert not front.stops(run(6.9, 0.0), past(*solved, *solved, *band))
    assert not front.stops(run(9.0, 0.0), past(*solved, *solved, *band[1:])), "too few of its price"


def test_nothing_is_ended_where_whatever_learns_would_be_a_member() -> None:
    """Dearer designs learn sooner; that is no reason to end the first cheap one."""
    dear, dull = [(8.2, -1.0, 0.8)] * 6, [(7.9, -3.0, FLOOR - 0.01)]
    assert not front.stops(run(8.0, -2.0), past(*dear, *dull))
    assert front.stops(run(8.0, -2.0), past(*dear, (7.9, -3.0, FLOOR)))


def curves(*runs: list[list[float]]) -> Past:
    """Runs of one price that reached 0.8, each with its rungs, each of those with its cells."""
    count = len(runs)
    return Past(np.full(count, 8.0), np.array(runs), np.full(count, 0.8), FLOOR)


def test_the_bar_is_a_low_quantile_of_those_who_came_there() -> None:
    """0.1 of eleven runs is the second lowest."""
    known = curves(*([[nats, nats]] for nats in range(-11, 0)))
    assert not front.stops(run(8.0, -10.04), known)
    assert front.stops(run(8.0, -10.06), known)


def test_curves_are_compared_at_the_same_step() -> None:
    """Who is where the others were at this step may come as far as they did later."""
    known = curves(*[[[-3.0, -3.0], [-2.0, -2.0], [-1.0, -1.0]]] * 6)
    for rung, bar in enumerate((-3.0, -2.0, -1.0)):
        for off, stopped in ((0.0, False), (-0.1, True)):
            candidate = Candidate(8.0, rung, 0.5, np.array([bar + off, bar + off]))
            assert front.stops(candidate, known) is stopped


def test_each_cell_has_a_bar_of_its_own() -> None:
    known = curves(*[[[-1.0, -3.0]]] * 6)
    for cells, stopped in (((-1.0, -3.0), False), ((-1.0, -3.1), True), ((-1.1, -3.0), True)):
        assert front.stops(Candidate(8.0, 0, 0.5, np.array(cells)), known) is stopped
    # above the other cell's bar, not above its own
    assert front.stops(Candidate(8.0, 0, 0.5, np.array([-2.0, -3.0])), known)


rows = st.lists(
    st.tuples(st.floats(6, 9), st.floats(-5, 0), st.one_of(st.just(np.nan), st.floats(0, 0.98))),
    min_size=1,
    max_size=30,
)


@given(rows, st.floats(6, 9), st.randoms())
def test_front_never_ends_the_best_curve_of_all_and_order_does_not_matter(
    known: list[tuple[float, float, float]], cost: float, random: object
) -> None:
    best = max(nats for _, nats, _ in known)
    assert not front.stops(run(cost, best), past(*known))
    shuffled = list(known)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    for nats in (-4.9, -2.5, -0.1):
        candidate = run(cost, nats)
        assert front.stops(candidate, past(*known)) == front.stops(candidate, past(*shuffled))
        assert asha.stops(candidate, past(*known)) == asha.stops(candidate, past(*shuffled))


def place(points: np.ndarray, index: int) -> int:
    return int(np.count_nonzero(asha._before(points, index)))


def test_a_chain_of_dominated_points_is_ranked_along_the_chain() -> None:
    chain = np.array([[i, i] for i in range(6)], dtype=float)
    assert [place(chain, i) for i in range(6)] == [0, 1, 2, 3, 4, 5]


@given(st.permutations(range(7)))
def test_places_follow_their_points(order: list[int]) -> None:
    points = np.array([[0, 3], [1, 2], [3, 0], [1, 3], [2, 2], [3, 3], [1.2, 1.9]], dtype=float)
    expected = [place(points, i) for i in range(7)]
    assert [place(points[order], i) for i in range(7)] == [expected[i] for i in order]


def test_duplicates_share_a_place_and_do_not_push_each_other_back() -> None:
    points = np.array([[0, 0], [0, 0], [0, 0], [1, 1]], dtype=float)
    assert [place(points, i) for i in range(4)] == [0, 0, 0, 3]


def test_within_a_front_the_extremes_come_first_and_the_crowd_last() -> None:
    points = np.array([[0, 10], [4, 5], [4.1, 4.9], [4.2, 4.8], [10, 0]], dtype=float)
    places = [place(points, i) for i in range(5)]
    assert places[0] == places[4] == 0
    assert places[2] == 4
    ties = np.array([[0, 1], [1, 0], [0, 1]], dtype=float)
    assert [place(ties, i) for i in range(3)] == [0, 0, 0]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=20))
def test_no_point_stands_behind_one_that_it_dominates(points: list[tuple[int, int]]) -> None:
    array = np.array(points, dtype=float)
    places = [place(array, i) for i in range(len(array))]
    for i, a in enumerate(array):
        for j, b in enumerate(array):
            if (a <= b).all() and (a < b).any():
                assert places[i] < places[j]


def test_asha_lets_the_better_half_go_on() -> None:
    known = past((8, -1, 0.5), (8, -2, 0.5), (8, -3, np.nan))
    assert not asha.stops(run(8, -0.5), known)
    assert not asha.stops(run(8, -1.5), known)
    assert asha.stops(run(8, -2.5), known)
    assert asha.stops(run(8, -4), known)
    # a cheap one always goes on, whatever it has learned: what the rule is known for
    assert not asha.stops(run(6, -9), known)
    # runs that were ended before are not at this rung
    gone = Past(known.cost, known.log_probability.copy(), known.accuracy, FLOOR)
    gone.log_probability[:, 1:] = np.nan
    assert not asha.stops(run(8, -4, rung=1), gone)

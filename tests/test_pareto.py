from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archsearch.pareto import dominates, hypervolume, knee, non_dominated, ranks

exact = settings(deadline=None, derandomize=True, max_examples=100)


@st.composite
def clouds(draw, least=0, widths=(2, 3)):
    # few distinct coordinates, so that ties and duplicates are common
    width = draw(st.sampled_from(widths))
    rows = draw(
        st.lists(
            st.lists(st.integers(-3, 4), min_size=width, max_size=width),
            min_size=least,
            max_size=25,
        )
    )
    return np.array(rows, dtype=float).reshape(-1, width)


def naive_front(points: np.ndarray) -> list[bool]:
    return [not any((q <= p).all() and (q < p).any() for q in points) for p in points]


def test_dominates():
    assert dominates([0, 1], [0, 2])
    assert not dominates([0, 1], [0, 1])
    assert not dominates([0, 1], [1, 0])
    assert not dominates([0, 2], [0, 1])


@exact
@given(clouds())
def test_front_agrees_with_the_definition(points):
    before = points.copy()
    assert non_dominated(points).tolist() == naive_front(points)
    assert (points == before).all()


@exact
@given(clouds())
def test_duplicates(points):
    every, first = non_dominated(points), non_dominated(points, keep_duplicates=False)
    kept = points[first].tolist()
    assert len({tuple(row) for row in kept}) == len(kept)
    assert {tuple(row) for row in kept} == {tuple(row) for row in points[every].tolist()}
    for i in np.flatnonzero(every & ~first):
        assert any((points[i] == points[j]).all() for j in np.flatnonzero(first) if j < i)


@exact
@given(clouds(), st.randoms(use_true_random=False))
def test_order_does_not_matter(points, random):
    order = list(range(len(points)))
    random.shuffle(order)
    assert (non_dominated(points[order]) == non_dominated(points)[order]).all()
    assert (ranks(points[order]) == ranks(points)[order]).all()


@exact
@given(clouds())
def test_ranks(points):
    found = ranks(points)
    assert ((found == 0) == non_dominated(points)).all()
    for i, rank in enumerate(found):
        above = [found[j] for j in range(len(points)) if dominates(points[j], points[i])]
        assert rank == max(above, default=-1) + 1


def test_signed_zeros_are_equal():
    assert non_dominated([[0.0, 1.0], [-0.0, 1.0], [0.0, 2.0]]).tolist() == [True, True, False]


def test_staircases():
    assert hypervolume([[0, 0]], [1, 2]) == pytest.approx(2)
    assert hypervolume([[0, 3], [1, 2], [2, 1], [3, 0]], [4, 4]) == pytest.approx(10)
    assert hypervolume([[0, 0, 0]], [2, 3, 4]) == pytest.approx(24)
    assert hypervolume([[0, 0, 1], [1, 1, 0]], [2, 2, 2]) == pytest.approx(4 + 1)
    steps = np.arange(50.0)
    assert hypervolume(np.c_[steps, steps[::-1]], [50, 50]) == pytest.approx(50 * 51 / 2)


def test_what_lies_beyond_the_reference_adds_nothing():
    assert hypervolume([[0, 0], [-5, 3], [3, -5], [2, 1]], [2, 2]) == pytest.approx(4)
    assert hypervolume([[3, 3]], [2, 2]) == 0.0
    assert hypervolume([[2, 0]], [2, 2]) == 0.0
    assert hypervolume([], [2, 2]) == 0.0
    assert hypervolume(np.zeros((0, 3)), [2, 2, 2]) == 0.0


@exact
@given(clouds(least=1))
def test_hypervolume_by_counting_unit_cubes(points):
    width = points.shape[1]
    corners = np.stack(np.meshgrid(*[np.arange(-3, 3)] * width, indexing="ij"), axis=-1)
    corners = corners.reshape(-1, width)
    covered = sum(bool((points <= corner).all(axis=1).any()) for corner in corners)
    assert hypervolume(points, [3.0] * width) == pytest.approx(covered)


@exact
@given(clouds(least=1))
def test_more_points_never_lower_the_hypervolume(points):
    reference = [3.0] * points.shape[1]
    volumes = [hypervolume(points[:n], reference) for n in range(len(points) + 1)]
    assert all(b >= a - 1e-9 for a, b in itertools.pairwise(volumes))
    assert volumes[-1] == pytest.approx(hypervolume(points[non_dominated(points)], reference))


def test_knee():
    assert knee([[7.0, 3.0]]) is None
    assert knee([[0, 10], [1, 2], [10, 0]]) == 1
    assert knee([[0, 1000], [1, 200], [10, 0]]) == 1
    # a dominated point neither is the knee nor stretches the scale
    assert knee([[0, 10], [1, 2], [10, 0], [1e6, 1e6]]) == 1
    # of equals the cheapest
    assert knee([[0, 10], [1, 5], [5, 1], [10, 0]]) == 2
    assert knee([[0, 10], [1, 5], [5, 1], [10, 0]], cost=0) == 1
    # straight and hollow fronts have no bulge
    assert knee([[0, 3], [1, 2], [2, 1], [3, 0]]) is None
    assert knee([[0, 3], [2.9, 2.9], [3, 0]]) is None
    assert knee([[0, 3], [3, 0]]) is None
    assert knee([[1, 1], [1, 1]]) is None


@exact
@given(clouds(least=1, widths=(2,)), st.randoms(use_true_random=False))
def test_knee_is_on_the_front_whatever_the_order(points, random):
    order = list(range(len(points)))
    random.shuffle(order)
    chosen = knee(points)
    if chosen is None:
        assert knee(points[order]) is None
        return
    assert non_dominated(points)[chosen]
    assert (points[order][knee(points[order])] == points[chosen]).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_unusable_points_are_refused(bad):
    points = [[0.0, 1.0], [bad, 2.0]]
    for function in (non_dominated, ranks, knee, lambda p: hypervolume(p, [3, 3])):
        with pytest.raises(ValueError, match="row 1 is"):
            function(points)
    with pytest.raises(ValueError, match="row 0 is"):
        dominates([bad, 1.0], [0.0, 1.0])
    with pytest.raises(ValueError, match="finite"):
        hypervolume([[0.0, 1.0]], [bad, 2.0])


def test_misshapen_points_are_refused():
    with pytest.raises(ValueError, match=r"an array \(n, m\); got shape \(3,\)"):
        non_dominated([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="2 coordinates, the reference 3"):
        hypervolume([[0, 1]], [1, 1, 1])
    with pytest.raises(ValueError, match="no points"):
        knee([])
    with pytest.raises(ValueError, match="with 2 coordinates; got 3"):
        knee([[0, 1, 2]])
    assert non_dominated([]).tolist() == []
    assert ranks([]).tolist() == []


def test_fast_on_many_points():
    points = np.random.default_rng(0).random((5000, 2))
    assert non_dominated(points).sum() == sum(
        y < points[points[:, 0] < x, 1].min(initial=np.inf) for x, y in points
    )


def test_moocore_is_imported_only_for_hypervolume():
    program = (
        "import sys; from archsearch.pareto import knee; knee([[0, 1], [1, 0]]);"
        "print('moocore' in sys.modules)"
    )
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "False"

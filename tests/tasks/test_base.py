from __future__ import annotations

import numpy as np
import pytest

from archsearch.tasks.base import accuracy_by_distance, cell_accuracy


def test_cell_accuracy():
    assert cell_accuracy(np.array([[True, False], [True, True]])) == 0.75
    with pytest.raises(ValueError, match="no queries"):
        cell_accuracy(np.zeros((0, 4), dtype=bool))


def test_accuracy_by_distance():
    distance = np.array([[1, 2, 3], [16, 31, 2]])
    correct = np.array([[True, True, False], [False, True, True]])
    assert accuracy_by_distance(distance, correct) == [
        (1, 1, 1.0, 1),
        (2, 3, pytest.approx(2 / 3), 3),
        (16, 31, 0.5, 2),
    ]


def test_bins_are_exact_at_powers_of_two():
    for k in range(1, 50):
        distance = np.array([2**k - 1, 2**k])
        low, high = accuracy_by_distance(distance, np.array([True, False]))
        assert (low.high, low.accuracy, high.low, high.accuracy) == (2**k - 1, 1.0, 2**k, 0.0)


def test_nothing_to_bin():
    nothing = np.zeros((0, 4), dtype=np.int64)
    assert accuracy_by_distance(nothing, nothing.astype(bool)) == []


def test_bad_distances_are_refused():
    with pytest.raises(ValueError, match="begin at 1; got 0"):
        accuracy_by_distance(np.array([0, 1]), np.array([True, True]))
    with pytest.raises(ValueError, match=r"shape \(2,\), correct \(1,\)"):
        accuracy_by_distance(np.array([1, 1]), np.array([True]))

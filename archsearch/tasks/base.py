"""What every task offers, and how answers are scored.

Axes: B sequences of a batch, N tokens of a sequence, D queries of a sequence.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


class Split(IntEnum):
    """Three streams of data that share nothing; the numbers are part of the seed, so they stay.

    Attributes:
        TRAIN: What the weights are fitted to.
        VALIDATION: What stops a run and chooses its learning rate.
        TEST: What is reported; it stops and tunes no run, but the search and the front read it.
    """

    TRAIN = 0
    VALIDATION = 1
    TEST = 2


class Batch(NamedTuple):
    """Sequences of one cell, with the places where an answer is due.

    Attributes:
        tokens: int64 (B, N), what the model reads.
        query_positions: int64 (B, D), ascending in each row.
        answers: int64 (B, D), the token that the model should name at that position.
        key_distance: int64 (B, D), positions from the key's first occurrence to the query; >= 1.
    """

    tokens: Integers
    query_positions: Integers
    answers: Integers
    key_distance: Integers


class Floor(NamedTuple):
    """What accuracy costs no understanding.

    Attributes:
        token: Of a model that names any token of the vocabulary.
        context: Of a model that names any value of the sequence at hand.
    """

    token: float
    context: float


CellT = TypeVar("CellT")


class Task(Protocol[CellT]):
    """A task with its settings: the cells to learn, the cells to be tested on, and their data.

    A task is a frozen pydantic model, so that it is its own configuration. It lives in one file of
    this package that exports its class as ``TASK``.
    """

    def __init__(self, **settings: Any) -> None: ...

    @property
    def name(self) -> str:
        """What the registry calls it."""

    @property
    def vocab_size(self) -> int:
        """V: tokens are 0..V-1."""

    @property
    def cells(self) -> tuple[CellT, ...]:
        """Those to train and validate on."""

    @property
    def test_cells(self) -> tuple[CellT, ...]:
        """Those to report."""

    @property
    def longest_test_length(self) -> int:
        """The N at which designs are priced."""

    def floor(self, cell: CellT) -> Floor:
        """The accuracies of guessers."""

    def batch(self, cell: CellT, split: Split, index: int, size: int, seed: int) -> Batch:
        """The batch of that number: a pure function, the same in every process.

        Args:
            cell: Which kind of sequence.
            split: Which stream.
            index: Which batch of the stream, from 0.
            size: Sequences.
            seed: Of all three streams.
        """


class DistanceBin(NamedTuple):
    """The accuracy of the ``queries`` whose key lies from ``low`` to ``high`` positions back."""

    low: int
    high: int
    accuracy: float
    queries: int


def cell_accuracy(correct: NDArray[np.bool_]) -> float:
    """The share of a cell's queries that were answered rightly.

    Raises:
        ValueError: There is no query.
    """
    if correct.size == 0:
        raise ValueError("the accuracy of no queries is not defined")
    return float(np.count_nonzero(correct)) / correct.size


def accuracy_by_distance(distance: Integers, correct: NDArray[np.bool_]) -> list[DistanceBin]:
    """Accuracy in the bins 1, 2-3, 4-7, 8-15 ... of the distance, those without a query left out.

    Args:
        distance: ``Batch.key_distance``, any shape.
        correct: Of the same shape.

    Raises:
        ValueError: The shapes differ, or a distance is below 1.
    """
    if distance.shape != correct.shape:
        raise ValueError(f"distance has shape {distance.shape}, correct {correct.shape}")
    if distance.size == 0:
        return []
    if distance.min() < 1:
        raise ValueError(f"distances begin at 1; got {distance.min()}")
    # frexp is exact, where the floor of a rounded logarithm is not
    exponents = np.frexp(distance.ravel().astype(np.float64))[1] - 1
    counts = np.bincount(exponents)
    right = np.bincount(exponents, weights=correct.ravel())
    return [
        DistanceBin(2**k, 2 ** (k + 1) - 1, float(right[k] / counts[k]), int(counts[k]))
        for k in np.flatnonzero(counts).tolist()
    ]

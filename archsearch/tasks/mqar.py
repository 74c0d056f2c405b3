"""Multi-query associative recall (Arora et al. 2023, "Zoology", arXiv 2312.04927, section 4.1).

A sequence lists D pairs of a key and a value, then asks for each key once more, somewhere behind::

    position    0   1   2   3 | 4   5   6   7   8   9  10  11
    token      k1  v1  k2  v2 |k2   .   .   .  k1   .   .   .
    answer      -   -   -   - |v2   -   -   -  v1   -   -   -

The answer is due at the position of the query and is never fed as input. Dots are fillers.
Axes: B sequences of a batch, N tokens of a sequence, D pairs (and queries) of a sequence.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from archsearch.tasks.base import Batch, Floor, Integers, Split, Task


class Cell(BaseModel):
    """One kind of sequence.

    Attributes:
        length: N, tokens.
        pairs: D, pairs of key and value; each key is asked for once.
        power_a: a of the law g^(a-1) by which the slots of the queries are drawn, g counted from
            the end of the pairs. 1 is uniform; the published 0.01 crowds them behind the pairs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    length: Annotated[int, Field(ge=4, le=2**20)]
    pairs: Annotated[int, Field(ge=1, le=2**18)]
    power_a: Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)] = 0.01

    @model_validator(mode="after")
    def _has_room(self) -> Self:
        if self.length % 2:
            raise ValueError(f"length must be even (slots are two tokens wide); got {self.length}")
        if 4 * self.pairs > self.length:
            raise ValueError(
                f"4 * pairs must not exceed length (each pair needs two tokens, and a slot of two"
                f" for its query); got pairs={self.pairs}, length={self.length}"
            )
        return self

    def __str__(self) -> str:
        law = "" if self.power_a == 0.01 else f",a={self.power_a!r}".removesuffix(".0")
        return f"({self.length},{self.pairs}{law})"


def _check_cells(cells: tuple[Cell, ...]) -> tuple[Cell, ...]:
    if not cells:
        raise ValueError("there must be at least one cell; got none")
    repeated = sorted({str(c) for c in cells if cells.count(c) > 1})
    if repeated:
        raise ValueError(f"cells must differ; given more than once: {', '.join(repeated)}")
    return cells


Cells = Annotated[tuple[Cell, ...], Field(strict=False), AfterValidator(_check_cells)]


class MQARConfig(BaseModel):
    """The task and its settings.

    Attributes:
        vocab_size: V; keys are among 1..V/2-1, values among V/2..V-1.
        fillers: What stands in the query area beside the queries: any token of the vocabulary, keys
            and values included, or token 0.
        cells: Those to train and validate on.
        test_cells: Those to report; the training cells unless given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: Literal["mqar"] = "mqar"
    vocab_size: Annotated[int, Field(ge=6, le=2**24)] = 8192
    fillers: Literal["random", "zero"] = "random"
    cells: Cells
    test_cells: Cells = Field(default=(), validate_default=True)

    @field_validator("test_cells", mode="wrap")
    @classmethod
    def _as_trained(
        cls, value: object, handler: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> object:
        # absent from info.data when refused themselves; their own message is then enough
        return info.data.get("cells", ()) if value is None or value == () else handler(value)

    @model_validator(mode="after")
    def _vocabulary_suffices(self) -> Self:
        # with 4D <= N < V there are at least twice as many keys, and values, as a sequence needs
        if self.vocab_size % 2:
            raise ValueError(
                f"vocab_size must be even (half keys, half values); got {self.vocab_size}"
            )
        longest = self.longest_length
        if self.vocab_size <= longest:
            raise ValueError(
                f"vocab_size must exceed the longest cell; got vocab_size={self.vocab_size},"
                f" length={longest}"
            )
        return self

    @property
    def longest_test_length(self) -> int:
        """The N at which designs are priced."""
        return max(cell.length for cell in self.test_cells)

    @property
    def longest_length(self) -> int:
        """The longest sequence of training and test: what a model is built for."""
        return max(cell.length for cell in (*self.cells, *self.test_cells))

    @property
    def guess_nats(self) -> float:
        """Log-probability of a guess among all values."""
        return -math.log(self.vocab_size / 2)  # the other half are keys

    def floor(self, cell: Cell) -> Floor:
        """1/V for any token, 1/D for any value of the sequence."""
        return Floor(token=1 / self.vocab_size, context=1 / cell.pairs)

    def batch(self, cell: Cell, split: Split, index: int, size: int, seed: int) -> Batch:
        """The batch of that number.

        A pure function of the settings and the arguments: the same bytes in every process with the
        same version of numpy (which may change its distributions between versions). Memory is about
        twice that of the tokens.

        Args:
            cell: Which kind of sequence; shorter than the vocabulary is large.
            split: Which stream.
            index: Which batch of the stream, from 0.
            size: Sequences.
            seed: Of all three streams; any whole number >= 0.

        Raises:
            ValueError: The cell is too long for the vocabulary, or a number is negative.
        """
        if cell.length >= self.vocab_size:
            raise ValueError(f"cell {cell} is too long for vocab_size={self.vocab_size}")
        rng = _stream(seed, split, cell, index)
        half, pairs = self.vocab_size // 2, cell.pairs
        keys_BD = 1 + _distinct(rng, size, pairs, half - 1)
        values_BD = half + _distinct(rng, size, pairs, half)
        slots_BD = _draw_slots(rng, size, cell)
        slots_BD.sort(axis=1)
        # which pair is asked for in the first used slot, the second ...
        asked_BD = rng.permuted(np.broadcast_to(np.arange(pairs), (size, pairs)), axis=1)
        positions_BD = 2 * (pairs + slots_BD)

        tokens_BN = np.zeros((size, cell.length), dtype=np.int64)
        tokens_BN[:, 0 : 2 * pairs : 2] = keys_BD
        tokens_BN[:, 1 : 2 * pairs : 2] = values_BD
        if self.fillers == "random":
            tokens_BN[:, 2 * pairs :] = _integers(
                rng, self.vocab_size, (size, cell.length - 2 * pairs)
            )
        row_B1 = np.arange(size)[:, None]
        tokens_BN[row_B1, positions_BD] = keys_BD[row_B1, asked_BD]
        return Batch(
            tokens=tokens_BN,
            query_positions=positions_BD,
            answers=values_BD[row_B1, asked_BD],
            key_distance=positions_BD - 2 * asked_BD,
        )


def _stream(seed: int, split: Split, cell: Cell, index: int) -> np.random.Generator:
    # numbers of a fixed width, so that two keys never read as the same row of words
    law = struct.unpack("<2I", struct.pack("<d", cell.power_a))
    position = struct.unpack("<2I", struct.pack("<Q", index)) if index >= 0 else (index,)
    key = (int(split), cell.length, cell.pairs, *law, *position)
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed, spawn_key=key)))


def _integers(rng: np.random.Generator, below: int, shape: Sequence[int]) -> np.ndarray:
    # narrow numbers draw several to a random word
    return rng.integers(below, size=shape, dtype=np.int16 if below <= 2**15 else np.int32)


def _distinct(rng: np.random.Generator, size: int, count: int, below: int) -> Integers:
    """Rows of ``count`` distinct numbers of 0..below-1, uniform over all such rows: int64 (B, D).

    A number that repeats an earlier one of its row is drawn anew, until none does. What is redrawn
    depends only on which entries are equal, never on what they are, so all rows of distinct numbers
    stay equally likely. Ends quickly while ``count`` is at most half of ``below``.
    """
    rows_BD = _integers(rng, below, (size, count)).astype(np.int64)
    index_bits = count.bit_length()
    # sorting (number, place) lays equal numbers side by side, the earliest first
    packing = np.int32 if below << index_bits < 2**31 else np.int64
    places_D = np.arange(count)
    pending, found_PD = np.arange(size), rows_BD
    while True:
        packed: np.ndarray = ((found_PD << index_bits) | places_D).astype(packing)
        packed.sort(axis=1)
        number = packed >> index_bits
        equal = number[:, 1:] == number[:, :-1]
        if not equal.any():
            return rows_BD
        row, place = equal.nonzero()
        repeated = packed[row, place + 1] & ((1 << index_bits) - 1)
        rows_BD[pending[row], repeated] = _integers(rng, below, row.shape)
        pending = pending[np.unique(row)]
        found_PD = rows_BD[pending]


def _draw_slots(rng: np.random.Generator, size: int, cell: Cell) -> Integers:
    """D distinct slots a row, drawn one after another with p(g) ~ g^(a-1): (B, D), in any order.

    The first D arrivals of independent exponential clocks with rates p(g) have exactly the law of
    successive draws without replacement (Efraimidis and Spirakis 2006).
    """
    slowness = _slowness(cell)
    arrivals = rng.standard_exponential((size, slowness.size))
    arrivals *= slowness
    return arrivals.argpartition(cell.pairs - 1, axis=1)[:, : cell.pairs]


@lru_cache(maxsize=64)
def _slowness(cell: Cell) -> np.ndarray:
    """1/p(g) of each slot; kept, as powers cost as much as a small batch."""
    return np.arange(1, cell.length // 2 - cell.pairs + 1) ** (1 - cell.power_a)


TASK: type[Task[Cell]] = MQARConfig

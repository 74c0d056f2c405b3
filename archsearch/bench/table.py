"""A table of real results: every design of a small space, at several rates and seeds, with curves.

A folder holds ``space.yaml`` (the campaign file), ``designs.json`` (each design with its price),
``runs.npz`` (numbers), ``card.json`` (what was done, with checksums) and ``card.md`` (the same, to
read). Torch is not needed to read it.

Axes of the arrays: D designs, R rates, S seeds, P validations, C cells.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from archsearch.architecture import Architecture
from archsearch.costs import Price
from archsearch.errors import InputError, StoreError
from archsearch.protocol import TrainingConfig
from archsearch.records import CurvePoint, RunOutcome, seal, unseal
from archsearch.tasks.mqar import MQARConfig

SPACE: Final = "space.yaml"
DESIGNS: Final = "designs.json"
RUNS: Final = "runs.npz"
CARD: Final = "card.json"
CARD_TEXT: Final = "card.md"

DECIMALS: Final = 4
"""Of log-probabilities and losses; accuracies and FLOPs are kept as they are."""

_OUTCOMES: Final = tuple(RunOutcome)
_MISSING: Final = 255


class _Plain(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TableDesign(_Plain):
    """One design of the space.

    Attributes:
        key: Its campaign key: equal for designs that cannot be told apart up to the priced length.
        digest: Of the design as built.
        design: In one line.
        families: Of its sequence mixers, convolutions only where there is nothing else.
        architecture: In canonical form.
        price: At the campaign's longest test cell.
    """

    key: str
    digest: str
    design: str
    families: tuple[str, ...]
    architecture: Architecture
    price: Price


class Member(_Plain):
    """A design on the front of (score, log10 FLOPs).

    Attributes:
        learning_rate: Its best one, by the mean validation accuracy at the end.
        score: Capped test accuracy at that rate, mean over the seeds.
        flops: Its price.
    """

    key: str
    design: str
    families: tuple[str, ...]
    learning_rate: float
    score: float
    flops: int


class Card(_Plain):
    """What was recorded, and how.

    Attributes:
        task: Of the runs: tested on the cells that they were trained on.
        priced_at: The length at which designs are priced, in tokens.
        training: The settings of every run, but for the rate.
        rates: Learning rates, by index.
        seeds: Runs of a design at a rate.
        assignments: Of the space's parameters, those of refused designs included.
        refused: Assignments whose design cannot be built or violates a constraint.
        designs: Different ones that may be trained.
        runs: Recorded, out of ``designs`` x rates x ``seeds``.
        outcomes: Runs by how they ended.
        cpu_seconds: Of all runs, on one thread each, start and test included.
        seconds: The same on the clock, other work on the machine included.
        versions: Of what the results may depend on, with the number of runs of each combination.
        convolutions_only: Best score of a design of convolutions only; None if there is none.
        front: Non-dominated designs that beat that by ``objectives.LEAST_GAP``, cheapest first.
        files: SHA-256 of the other files, by name.
    """

    schema_version: Literal[1] = 1
    name: str
    title: str
    task: MQARConfig
    priced_at: int
    training: TrainingConfig
    rates: tuple[float, ...]
    seeds: int
    assignments: int
    refused: int
    designs: int
    runs: int
    outcomes: dict[str, int]
    cpu_seconds: float
    seconds: float
    versions: tuple[tuple[dict[str, str], int], ...]
    convolutions_only: float | None
    front: tuple[Member, ...]
    files: dict[str, str] = {}

    @property
    def expected(self) -> int:
        """Runs of a complete table."""
        return self.designs * len(self.rates) * self.seeds

    @property
    def complete(self) -> bool:
        """Whether every run is there."""
        return self.runs == self.expected


class TableRun(NamedTuple):
    """One run.

    Attributes:
        outcome: How it ended.
        step: Where it ended.
        curve: Validations until then.
        accuracy: Test accuracy by cell; empty unless the run ended with a usable model.
        log_probability: Of the answers of the test, by cell; likewise.
        cpu_seconds: Of its process, start and test included.
        seconds: The same on the clock.
        train_flops: 3 x forward, head included.
    """

    outcome: RunOutcome
    step: int
    curve: tuple[CurvePoint, ...]
    accuracy: tuple[float, ...]
    log_probability: tuple[float, ...]
    cpu_seconds: float
    seconds: float
    train_flops: float


RunKey = tuple[str, int, int]
"""A design's key, the index of the rate, the index of the seed."""


@dataclass(frozen=True)
class Table:
    """A recorded space.

    Attributes:
        card: What was recorded, and how.
        designs: In the order of the arrays.
        arrays: Numbers, as in ``runs.npz``; NaN where there is nothing.
    """

    card: Card
    designs: tuple[TableDesign, ...]
    arrays: Mapping[str, NDArray[Any]]

    @cached_property
    def _places(self) -> dict[str, int]:
        return {design.key: i for i, design in enumerate(self.designs)}

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def design(self, key: str) -> TableDesign:
        """The design of a campaign key.

        Raises:
            InputError: There is none.
        """
        return self.designs[self._place(key)]

    def run(self, key: str, rate: int, seed: int) -> TableRun:
        """One run.

        Args:
            key: The design's campaign key.
            rate: Index into ``card.rates``.
            seed: Index of the seed.

        Raises:
            InputError: There is no such design, or the run was not recorded.
            IndexError: There is no such rate or seed.
        """
        if not (0 <= rate < len(self.card.rates) and 0 <= seed < self.card.seeds):
            raise IndexError(f"the table has no run ({rate=}, {seed=})")
        place = (self._place(key), rate, seed)
        cell = {name: values[place] for name, values in self.arrays.items()}
        if cell["outcome"] == _MISSING:
            raise InputError(f"{self.card.name}: no run of {key} with {rate=}, {seed=} yet")
        outcome = _OUTCOMES[int(cell["outcome"])]
        tested = bool(np.isfinite(cell["test_accuracy"]).all())
        curve = (
            CurvePoint(
                step=int(cell["curve_step"][i]),
                train_loss=float(cell["curve_loss"][i]),
                accuracy=tuple(cell["curve_accuracy"][i].tolist()),
                log_probability=tuple(cell["curve_log_probability"][i].tolist()),
            )
            for i in np.flatnonzero(cell["curve_step"]).tolist()
        )
        return TableRun(
            outcome=outcome,
            step=int(cell["step"]),
            curve=tuple(curve),
            accuracy=tuple(cell["test_accuracy"].tolist()) if tested else (),
            log_probability=tuple(cell["test_log_probability"].tolist()) if tested else (),
            cpu_seconds=float(cell["cpu_seconds"]),
            seconds=float(cell["seconds"]),
            train_flops=float(cell["train_flops"]),
        )

    def _place(self, key: str) -> int:
        if key not in self._places:
            raise InputError(f"{self.card.name}: there is no design with the key '{key}'")
        return self._places[key]


def write_table(
    directory: Path, card: Card, designs: Sequence[TableDesign], runs: Mapping[RunKey, TableRun]
) -> Card:
    """Writes all files but ``space.yaml`` and ``card.md``; the card last, as it seals the others.

    Args:
        directory: Holds ``space.yaml``.
        card: Without checksums.
        designs: All of the space; their order is kept.
        runs: Those that there are.

    Returns:
        The card with the checksums.

    Raises:
        StoreError: A file cannot be read or written.
    """
    listed = json.dumps([design.model_dump(mode="json") for design in designs], allow_nan=False)
    numbers = io.BytesIO()
    np.savez_compressed(numbers, allow_pickle=False, **_arrays(card, designs, runs))
    contents = {DESIGNS: listed.encode(), RUNS: numbers.getvalue()}
    path = directory / SPACE
    try:
        sums = {SPACE: hashlib.sha256(path.read_bytes()).hexdigest()}
        for name, content in contents.items():
            path = directory / name
            _write(path, content)
            sums[name] = hashlib.sha256(content).hexdigest()
        sealed = card.model_copy(update={"files": sums})
        path = directory / CARD
        _write(path, seal(sealed).encode())
    except OSError as error:
        raise StoreError(f"{path}: cannot be read or written ({error.strerror})") from None
    return sealed


def _write(path: Path, content: bytes) -> None:
    aside = path.with_name(path.name + ".tmp")
    aside.write_bytes(content)
    aside.replace(path)


def _arrays(
    card: Card, designs: Sequence[TableDesign], runs: Mapping[RunKey, TableRun]
) -> dict[str, NDArray[Any]]:
    arrays = _empty(card, len(designs))
    places = {design.key: i for i, design in enumerate(designs)}
    for (key, rate, seed), run in runs.items():
        at = (places[key], rate, seed)
        arrays["outcome"][at] = _OUTCOMES.index(run.outcome)
        arrays["step"][at] = run.step
        for name in ("cpu_seconds", "seconds", "train_flops"):
            arrays[name][at] = getattr(run, name)
        if run.accuracy:
            arrays["test_accuracy"][at] = run.accuracy
            arrays["test_log_probability"][at] = np.round(run.log_probability, DECIMALS)
        for i, point in enumerate(run.curve):
            arrays["curve_step"][*at, i] = point.step
            arrays["curve_loss"][*at, i] = round(point.train_loss, DECIMALS)
            arrays["curve_accuracy"][*at, i] = point.accuracy
            arrays["curve_log_probability"][*at, i] = np.round(point.log_probability, DECIMALS)
    return arrays


def _empty(card: Card, num_designs: int) -> dict[str, NDArray[Any]]:
    """Arrays of a table without runs, by name: float64 what is exact, float32 what is rounded."""
    DRS = (num_designs, len(card.rates), card.seeds)
    P = -(-card.training.steps // card.training.eval_every)
    C = len(card.task.cells)
    return {
        "outcome": np.full(DRS, _MISSING, np.uint8),
        "step": np.zeros(DRS, np.int32),
        "cpu_seconds": np.full(DRS, np.nan, np.float32),
        "seconds": np.full(DRS, np.nan, np.float32),
        "train_flops": np.full(DRS, np.nan, np.float64),
        "test_accuracy": np.full((*DRS, C), np.nan, np.float64),
        "test_log_probability": np.full((*DRS, C), np.nan, np.float32),
        "curve_step": np.zeros((*DRS, P), np.int32),
        "curve_loss": np.full((*DRS, P), np.nan, np.float32),
        "curve_accuracy": np.full((*DRS, P, C), np.nan, np.float64),
        "curve_log_probability": np.full((*DRS, P, C), np.nan, np.float32),
    }


def load_table(directory: Path) -> Table:
    """Reads and checks a table; torch is not imported.

    Raises:
        StoreError: A file is missing, was changed or is no part of a table; the message names it.
    """
    contents = {}
    for name in (CARD, SPACE, DESIGNS, RUNS):
        try:
            contents[name] = (directory / name).read_bytes()
        except OSError as error:
            raise StoreError(f"{directory / name}: cannot be read ({error.strerror})") from None
    card = unseal(Card, contents[CARD].decode(errors="replace"), str(directory / CARD))
    for name in (SPACE, DESIGNS, RUNS):
        if hashlib.sha256(contents[name]).hexdigest() != card.files.get(name):
            raise StoreError(
                f"{directory / name}: is not the file that {CARD} seals; it was changed or damaged"
            )
    try:
        designs = TypeAdapter(tuple[TableDesign, ...]).validate_json(contents[DESIGNS])
    except ValidationError as error:
        problem = str(error).splitlines()[0]
        raise StoreError(f"{directory / DESIGNS}: not the designs of a table ({problem})") from None
    return Table(card, designs, _read_arrays(directory / RUNS, contents[RUNS], card, len(designs)))


def _read_arrays(
    path: Path, content: bytes, card: Card, num_designs: int
) -> dict[str, NDArray[Any]]:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise StoreError(f"{path}: cannot be read as arrays ({error})") from None
    for name, wanted in _empty(card, num_designs).items():
        if name not in arrays or arrays[name].shape != wanted.shape:
            raise StoreError(f"{path}: '{name}' is not an array of shape {wanted.shape}")
    return arrays

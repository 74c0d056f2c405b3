"""A self-contained description of one design: what it is, how it was trained, what came out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from archsearch.architecture import Architecture
from archsearch.canonical import canonicalise, check
from archsearch.costs import Price
from archsearch.errors import InputError, StoreError
from archsearch.protocol import TrainingConfig
from archsearch.records import CellScore, RunSeed
from archsearch.space.nodes import compose, input_error, read_text
from archsearch.tasks.mqar import MQARConfig

if TYPE_CHECKING:
    from archsearch.model import HybridModel

WEIGHTS_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*\.safetensors$"
"""Names of weight files: they lie beside the description and nowhere else."""

SOURCE_TEXT = r"^[\w .+@(),=/-]{0,200}$"
"""Where a design is from, in plain characters: it is written into code."""

MOST_LENGTH: Final = 2**24
"""Tokens of the longest sequence that an exported network may be built for."""


class Source(BaseModel):
    """Where a design comes from.

    Attributes:
        campaign: Its name.
        trial: The number, or the name of a reference.
        archsearch: The version that the campaign began with.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    campaign: str = Field(pattern=SOURCE_TEXT)
    trial: str = Field(pattern=SOURCE_TEXT)
    archsearch: str = Field(pattern=SOURCE_TEXT)


class FreshSeeds(BaseModel):
    """What the design came to when it was trained again with seeds that the search had not seen.

    Attributes:
        count: How many.
        accuracy: Mean over them; one that diverged counts 0.
        low: Lower end of the mean's 95 % interval; None where it cannot be told.
        high: Its upper end.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: int = Field(ge=1)
    accuracy: float
    low: float | None = None
    high: float | None = None


class Weights(BaseModel):
    """Trained weights in a safetensors file beside the description."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str = Field(pattern=WEIGHTS_NAME)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class ArchitectureFile(BaseModel):
    """The content of an exported file; what ``archsearch train`` and ``archsearch.load`` need.

    Attributes:
        architecture: The canonical design, as built.
        task: Vocabulary and cells.
        training: The protocol.
        seed: Of the run that gave the results.
        price: At the longest test cell.
        accuracy: Of that run, which the search may have kept for scoring high: mean over the test
            cells, each capped at the success threshold.
        test: By cell.
        fresh_seeds: The better estimate; None where the design was not trained again.
        max_length: Tokens of the longest sequence that the network is built for; None for the
            longest of the task.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    archsearch_architecture: Literal[1] = 1
    digest: str
    architecture: Architecture
    task: MQARConfig
    training: TrainingConfig
    seed: RunSeed
    price: Price | None = None
    accuracy: float | None = None
    test: tuple[CellScore, ...] = ()
    fresh_seeds: FreshSeeds | None = None
    source: Source | None = None
    weights: Weights | None = None
    max_length: int | None = Field(None, ge=1, le=MOST_LENGTH)

    @model_validator(mode="after")
    def _the_task_fits(self) -> Self:
        if self.built_length < self.task.longest_length:
            raise ValueError(
                f"max_length must be at least the task's longest, {self.task.longest_length}; got"
                f" {self.max_length}"
            )
        return self

    @property
    def built_length(self) -> int:
        """Tokens of the longest sequence that the network is built for."""
        return self.task.longest_length if self.max_length is None else self.max_length

    def plain(self) -> dict[str, object]:
        """As JSON-able data without what is unknown."""
        return self.model_dump(mode="json", exclude_none=True)


def _as_they_are(weights: bytes, file: ArchitectureFile) -> bytes:
    return weights


class Verify(Protocol):
    """Whether what was written is the design."""

    def __call__(
        self, path: Path, file: ArchitectureFile, ours: bytes | None = None, /
    ) -> str | None:
        """Rebuilds the design from what was written, and compares it.

        Args:
            path: What was written.
            file: What it was made from, with the name of its weights if there are any.
            ours: Our safetensors file, of which every value is looked up in what was written; None
                where there are no weights, or where names and shapes are to do.

        Returns:
            What could not be compared here, to be told to whoever exports; None where all was.

        Raises:
            MismatchError: It is not the same.
        """


class Exporter(NamedTuple):
    """A format.

    Attributes:
        suffix: Of its files, with the dot; empty where an export is a folder.
        render: The text of a file; of a folder, the texts of its files by name.
        verify: Compares what was written with the design.
        weights: Our safetensors file of a design as the format wants it.
        needs: The version that an export needs to be loaded, where not every one will do.
        unweighted: How an export without weights is loaded, where that is done otherwise.
    """

    suffix: str
    render: Callable[[ArchitectureFile], str | dict[str, str]]
    verify: Verify
    weights: Callable[[bytes, ArchitectureFile], bytes] = _as_they_are
    needs: str = ""
    unweighted: str = ""

    def hints(self, *, has_weights: bool) -> list[str]:
        """What whoever loads an export has to know, a line each."""
        return [text for text in (self.needs, "" if has_weights else self.unweighted) if text]


def read(path: Path) -> ArchitectureFile:
    """Reads an exported design, YAML or JSON; nothing in it is executed.

    Raises:
        InputError: The file is missing, is not such a file, or describes an impossible design.
    """
    root, problems = compose(read_text(path, "architecture file"))
    if problems:
        raise input_error(str(path), problems)
    data = None if root is None else root.plain()
    if not isinstance(data, dict) or "archsearch_architecture" not in data:
        raise InputError(
            f"{path}: not an exported design (no 'archsearch_architecture');"
            " give a file that 'archsearch export' has made"
        )
    try:
        # through JSON, where a list may stand for a tuple
        file = ArchitectureFile.model_validate_json(json.dumps(data))
    except ValidationError as error:
        raise InputError(
            [
                f"{path}: {'.'.join(str(p) for p in e['loc'])}: {e['msg']}"
                for e in error.errors(include_url=False)
            ]
        ) from None
    try:
        check(file.architecture)
    except InputError as error:
        raise InputError([f"{path}: {p}" for p in error.problems]) from None
    digest = canonicalise(file.architecture).digest
    if digest != file.digest:
        raise InputError(
            f"{path}: digest: got '{file.digest}', the architecture's is '{digest}': it was edited;"
            " if that is meant, write its digest and remove the weights"
        )
    return file


def verify_description(path: Path, file: ArchitectureFile, ours: bytes | None = None) -> None:
    """``Exporter.verify`` of formats that ``load`` reads."""
    from archsearch.exporters._verify import MismatchError, check_equal, check_weights, tensors_of

    if read(path) != file:
        raise MismatchError(f"{path}: says something else than what was to be written")
    model = load(path)
    if ours is not None:
        check_weights(str(path), model.state_dict(), tensors_of(ours))
    check_equal(str(path), file, model)


def load(path: str | Path) -> HybridModel:
    """The network of an exported design, with its weights if the file names some.

    Without weights they are drawn as at the start of the run that gave the file's results. Weights
    are compared with the design by name and shape before memory is taken for either.

    Args:
        path: A file that ``archsearch export`` wrote.

    Returns:
        An ``nn.Module`` from tokens (B, L) to logits (B, L, V).

    Raises:
        InputError: The file cannot be used.
        StoreError: The weights are missing, changed, damaged or of another design.
    """
    import torch

    from archsearch.exporters._reader import checked_entries, load_weights
    from archsearch.model import build_model, initialise
    from archsearch.training import Streams

    path = Path(path)
    file = read(path)
    wanted = file.architecture, file.task.vocab_size, file.built_length
    if file.weights is None:
        model = build_model(*wanted)
        initialise(model, Streams.of(file.seed).init)
        return model
    weights = path.parent / file.weights.file
    try:
        with weights.open("rb") as handle:
            found = hashlib.file_digest(handle, "sha256").hexdigest()
        if found != file.weights.sha256:
            raise StoreError(
                f"{weights}: its SHA-256 is not the one in {path}; it was changed or damaged"
            )
        with torch.device("meta"):
            shapes = build_model(*wanted).state_dict()
        checked_entries(weights, shapes)
        model = build_model(*wanted)
        load_weights(model, weights)
    except OSError as error:
        raise StoreError(f"{weights}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise StoreError(str(error)) from None
    return model

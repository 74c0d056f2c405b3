"""A self-contained description of one design: what it is, how it was trained, what came out."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from archsearch.architecture import Architecture
from archsearch.canonical import canonicalise, check
from archsearch.costs import Price
from archsearch.errors import InputError, StoreError
from archsearch.files import write_atomically
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

FOLDER_WEIGHTS = "model.safetensors"
FOLDER_SUMS = "SHA256SUMS"


class Source(BaseModel):
    """Where a design comes from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    campaign: str = Field(pattern=SOURCE_TEXT)
    trial: str = Field(pattern=SOURCE_TEXT)
    archsearch: str = Field(pattern=SOURCE_TEXT)


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
        accuracy: Mean over the test cells, each capped at the success threshold.
        test: By cell.
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
    source: Source | None = None
    weights: Weights | None = None

    def plain(self) -> dict[str, object]:
        """As JSON-able data without what is unknown."""
        return self.model_dump(mode="json", exclude_none=True)


def _as_they_are(weights: bytes, file: ArchitectureFile) -> bytes:
    return weights


class Exporter(NamedTuple):
    """A format.

    Attributes:
        suffix: Of its files, with the dot; empty where an export is a folder.
        render: The text of a file; of a folder, the texts of its files by name.
        verify: Rebuilds the design from what was written, with its weights if there are any, and
            raises ``MismatchError`` unless it is the same.
        weights: Our safetensors file of a design as the format wants it.
    """

    suffix: str
    render: Callable[[ArchitectureFile], str | dict[str, str]]
    verify: Callable[[Path, ArchitectureFile], None]
    weights: Callable[[bytes, ArchitectureFile], bytes] = _as_they_are


def write(
    file: ArchitectureFile,
    exporter: Exporter,
    path: Path,
    weights: bytes | None = None,
    *,
    verify: bool = True,
) -> None:
    """Writes a design; its folder is made if it is not there.

    Beside it come the weights, if there are any, and the SHA-256 of both in ``<name>.sha256``, for
    ``sha256sum -c``; a folder holds all of these itself. All are written aside and moved when they
    are whole and verified.

    Args:
        file: The design.
        exporter: The format.
        path: Of the file, or of the folder, which must not be there yet.
        weights: The content of a safetensors file.
        verify: Whether the design is rebuilt from what was written, and compared.

    Raises:
        InputError: The name is unusable, or the format cannot say what the design is.
        StoreError: Something cannot be written.
        MismatchError: What was written is not the design; nothing is left of it.
    """
    if not path.name:
        raise InputError(f"--out: got '{path}'; give the name of a file")
    in_folder = not exporter.suffix
    beside = FOLDER_WEIGHTS if in_folder else path.with_suffix(".safetensors").name
    if in_folder and path.exists():
        raise InputError(f"'{path}' is there already; remove it, or give another --out")
    if weights is not None:
        if beside == path.name or not re.fullmatch(WEIGHTS_NAME, beside):
            raise InputError(
                f"--out: got '{path.name}'; with weights beside it the name must be letters,"
                f" digits, '.', '_' or '-', such as design{exporter.suffix}"
            )
        weights = exporter.weights(weights, file)
        named = Weights(file=beside, sha256=hashlib.sha256(weights).hexdigest())
        file = file.model_copy(update={"weights": named})
    rendered = exporter.render(file)
    texts = {path.name: rendered} if isinstance(rendered, str) else rendered
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=path.parent, prefix=f".{path.stem}-") as name:
            # what is imported from a folder may have to know its name
            aside = Path(name) / path.name if in_folder else Path(name)
            aside.mkdir(exist_ok=True)
            for text_name, text in texts.items():
                write_atomically(aside / text_name, text)
            if weights is not None:
                write_atomically(aside / beside, weights)
            if verify:
                exporter.verify(aside if in_folder else aside / path.name, file)
            sums = FOLDER_SUMS if in_folder else f"{path.name}.sha256"
            write_atomically(aside / sums, _checksums(aside))
            for made in [aside] if in_folder else sorted(aside.iterdir()):
                made.replace(path.parent / made.name)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror})") from None


def _checksums(folder: Path) -> str:
    """The SHA-256 of each file in a folder, as ``sha256sum`` writes them."""
    return "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(folder.iterdir())
        if path.is_file()
    )


def read(path: Path) -> ArchitectureFile:
    """Reads an exported design, YAML or JSON; nothing in it is executed.

    Raises:
        InputError: The file is missing, is not such a file, or describes an impossible design.
    """
    root, problems = compose(read_text(path))
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


def verify_description(path: Path, file: ArchitectureFile) -> None:
    """``Exporter.verify`` of formats that ``load`` reads."""
    from archsearch.exporters._verify import check_equal

    model = load(path)
    check_equal(str(path), file, model)


def load(path: str | Path) -> HybridModel:
    """The network of an exported design, with its weights if the file names some.

    Without weights they are drawn as at the start of the run that gave the file's results.

    Args:
        path: A file that ``archsearch export`` wrote.

    Returns:
        An ``nn.Module`` from tokens (B, L) to logits (B, L, V).

    Raises:
        InputError: The file cannot be used.
        StoreError: The weights are missing, changed or of another design.
    """
    from archsearch.model import build_model, initialise
    from archsearch.training import Streams, load_weights

    path = Path(path)
    file = read(path)
    model = build_model(file.architecture, file.task.vocab_size, file.task.longest_length)
    if file.weights is None:
        initialise(model, Streams.of(file.seed).init)
        return model
    weights = path.parent / file.weights.file
    try:
        with weights.open("rb") as handle:
            found = hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise StoreError(f"{weights}: cannot be read ({error.strerror})") from None
    if found != file.weights.sha256:
        raise StoreError(
            f"{weights}: its SHA-256 is not the one in {path}; it was changed or damaged"
        )
    load_weights(model, weights)
    return model

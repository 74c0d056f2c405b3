"""A campaign's folder: the frozen campaign file, its settings, the study, the rungs.

campaign.yaml   the campaign file as it was given
campaign.json   settings fixed at the start, and the reference point once it is known
study.db        the study (unless another storage was chosen)
runs/           checkpoints and results of rungs
"""

from __future__ import annotations

import json
import os
import platform
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from archsearch._version import __version__
from archsearch.errors import InputError, ResumeRefusedError, StoreError
from archsearch.files import write_atomically
from archsearch.objectives import OBJECTIVES, Objective
from archsearch.space import CampaignFile, loads
from archsearch.storage import default_url

SPACE_FILE = "campaign.yaml"
SETTINGS_FILE = "campaign.json"
RUNS = "runs"
_FINGERPRINT = ("torch", "optuna", "numpy")


class Settings(BaseModel):
    """What is fixed when a campaign begins.

    Attributes:
        study: Name of the study in its storage.
        space_digest: Of the campaign file; another one is refused at resume.
        storage: A SQLAlchemy URL; None is the SQLite file in the folder.
        versions: Of what the results may depend on.
        stopping: Name of the stopping rule.
        lag: Trials asked and not told, at most, of a deterministic campaign; None for another.
        trials: Designs to train; replaces the file's number.
        time_budget_minutes: Replaces the file's.
        confirm_seeds: Replaces the file's; campaigns begun before there were any have 0.
        confirm_minutes: Replaces the file's.
        reference_point: Values of the objectives that bound the hypervolume; None until the
            references are trained.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    study: str
    created_at: str
    space_digest: str
    storage: str | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    seed: int
    sampler: str
    stopping: str = "none"
    lag: int | None = None
    trials: int | None
    time_budget_minutes: float | None
    reference_widths: Literal["default", "all"]
    confirm_seeds: int = 0
    confirm_minutes: float | None = None
    reference_point: tuple[float, ...] | None = None
    command: str = ""


class Campaign:
    """An existing campaign folder, read.

    Attributes:
        directory: The folder.
        file: The campaign file.
        settings: The fixed settings.
    """

    def __init__(self, directory: Path, file: CampaignFile, settings: Settings) -> None:
        self.directory = directory
        self.file = file
        self.settings = settings

    @property
    def storage_url(self) -> str:
        """Where the study is."""
        return self.settings.storage or default_url(self.directory)

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """In the order of the values that the sampler is told."""
        return tuple(OBJECTIVES[name] for name in self.file.objectives)

    @property
    def n_max(self) -> int:
        """The length at which designs are priced."""
        return self.file.task.longest_test_length

    @property
    def has_begun(self) -> bool:
        """Whether a driver came as far as training; before that there may not even be a study."""
        return self.settings.reference_point is not None or (self.directory / RUNS).is_dir()

    def begin(self) -> None:
        """Notes that there is a study and a driver at work."""
        (self.directory / RUNS).mkdir(exist_ok=True)

    def freeze(self, **changes: object) -> None:
        """Changes settings durably: the old file or the new one exists, never half of one."""
        self.settings = self.settings.model_copy(update=changes)
        # a storage's URL may hold a password
        mode = 0o644 if self.settings.storage is None else 0o600
        text = self.settings.model_dump_json(indent=2) + "\n"
        write_atomically(self.directory / SETTINGS_FILE, text, mode=mode)

    @classmethod
    def create(cls, file: CampaignFile, directory: Path, settings: Settings) -> Campaign:
        """Writes a new campaign into an existing empty folder."""
        campaign = cls(directory, file, settings)
        write_atomically(directory / SPACE_FILE, file.text)
        campaign.freeze()
        return campaign

    @classmethod
    def open(cls, directory: Path) -> Campaign:
        """Reads a campaign's folder.

        Raises:
            InputError: It is not one.
            StoreError: It is damaged.
            ResumeRefusedError: Its campaign file was edited.
        """
        settings_path, space_path = directory / SETTINGS_FILE, directory / SPACE_FILE
        if not settings_path.is_file():
            kind = "is not a campaign's folder" if directory.is_dir() else "there is no such folder"
            raise InputError(
                f"{directory}: {kind} (no {SETTINGS_FILE});"
                " give a folder that 'archsearch run' has made"
            )
        try:
            settings = Settings.model_validate_json(settings_path.read_text())
            text = space_path.read_text()
        except (OSError, UnicodeDecodeError, ValidationError) as error:
            detail = str(error).splitlines()[0]
            raise StoreError(f"{settings_path}: the campaign cannot be read ({detail})") from None
        file = loads(text, str(space_path))
        if file.digest != settings.space_digest:
            raise ResumeRefusedError(
                f"{space_path}: changed since the campaign began (digest {file.digest}, was"
                f" {settings.space_digest}); restore it, or start a new one with 'archsearch run'"
            )
        return cls(directory, file, settings)


def current_versions() -> dict[str, str]:
    """Versions of this installation, read without importing the packages."""
    found = {"archsearch": __version__, "python": platform.python_version()}
    for name in _FINGERPRINT:
        found[name] = metadata.version(name)
    return found


def check_versions(settings: Settings) -> list[str]:
    """Warnings about patch-level differences.

    Raises:
        ResumeRefusedError: A version that the results depend on differs by more.
    """
    warnings = []
    for name, now in current_versions().items():
        then = settings.versions.get(name, now)
        if then == now:
            continue
        if _release(then) != _release(now):
            raise ResumeRefusedError(
                f"{name} is {now}, the campaign began with {then};"
                f" install {name}=={then} to resume, or start a new campaign"
            )
        warnings.append(f"{name} is {now}, the campaign began with {then}")
    return warnings


def _release(version: str) -> list[str]:
    return version.split("+")[0].split(".")[:2]


@contextmanager
def _making(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{directory}: cannot be made ({error.strerror}); choose another folder with --out"
        ) from None


def next_directory(name: str, root: Path) -> Path:
    """Makes and returns ``root/<name>-<NNN>`` with the next free number.

    Raises:
        InputError: The folder cannot be made.
    """
    with _making(root):
        root.mkdir(parents=True, exist_ok=True)
    taken = [
        int(p.name.rsplit("-", 1)[1])
        for p in root.glob(f"{name}-[0-9][0-9][0-9]*")
        if p.name.rsplit("-", 1)[1].isdigit()
    ]
    number = max(taken, default=0) + 1
    while True:
        directory = root / f"{name}-{number:03d}"
        try:
            with _making(directory):
                directory.mkdir()
        except InputError:
            if not directory.exists():
                raise
            number += 1
        else:
            return directory


def claim_directory(out: Path) -> Path:
    """Makes the folder that the user named.

    Raises:
        InputError: It exists and is not empty, or cannot be made.
    """
    with _making(out):
        # a driver killed between the campaign's first two files has left the first of them
        if out.exists() and (not out.is_dir() or any(p.name != SPACE_FILE for p in out.iterdir())):
            raise InputError(
                f"{out}: exists already;"
                " choose another --out, or continue it with 'archsearch resume'"
            )
        out.mkdir(parents=True, exist_ok=True)
    return out


def probe(directory: Path) -> None:
    """Writes, syncs and renames a file where results will go.

    Raises:
        StoreError: One of these fails, with the system's own words.
    """
    try:
        write_atomically(directory / ".probe", "probe")
        (directory / ".probe").unlink()
    except OSError as error:
        raise StoreError(f"{directory}: not writable ({error.strerror})") from None


def resume_command(directory: Path) -> str:
    """What continues a campaign."""
    return f"archsearch resume {shlex.quote(str(directory))}"


def confirm_command(directory: Path) -> str:
    """What confirms a campaign's front, or continues to."""
    return f"archsearch confirm {shlex.quote(str(directory))}"


def new_settings(file: CampaignFile, **overrides: object) -> Settings:
    """Settings of a campaign that begins now; an override that is ``None`` keeps the file's."""
    chosen = {key: value for key, value in overrides.items() if value is not None}
    now = datetime.now(UTC)
    base: dict[str, object] = {
        "study": f"{file.name}-{now:%Y%m%d-%H%M%S}-{os.urandom(3).hex()}",
        "created_at": now.isoformat(timespec="seconds"),
        "space_digest": file.digest,
        "versions": current_versions(),
        "seed": file.search.seed,
        "sampler": file.search.sampler,
        "stopping": file.search.stopping,
        "lag": file.search.lag if file.search.deterministic else None,
        "trials": file.search.trials,
        "time_budget_minutes": file.search.time_budget_minutes,
        "reference_widths": file.search.reference_widths,
        "confirm_seeds": file.search.confirm_seeds,
        "confirm_minutes": file.search.confirm_minutes,
    }
    return Settings.model_validate_json(json.dumps(base | chosen))

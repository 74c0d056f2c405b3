"""What is to be recorded of a small space: its designs, in order, and how each is trained."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from archsearch.architecture import Architecture
from archsearch.bench.table import SPACE, TableDesign
from archsearch.campaign.feasibility import violations
from archsearch.canonical import campaign_key, readable
from archsearch.costs import price
from archsearch.errors import InputError
from archsearch.mixers import specs
from archsearch.mixers.base import CONVOLUTIONS
from archsearch.space import CampaignFile, load
from archsearch.space.enumerate import assignments
from archsearch.tasks.mqar import MQARConfig

SEEDS: Final = 2
"""Runs of a design at a rate."""

_DECIDING: Final = frozenset(
    {
        "steps", "batch_tokens", "warmup_fraction", "weight_decay", "clip_norm", "eval_every",
        "validation_queries", "test_queries", "precision",
    }
)  # fmt: skip
"""Settings of a training that decide a result, the rate apart."""


class Plan(NamedTuple):
    """What is to be recorded.

    Attributes:
        file: The campaign file.
        task: Of the runs.
        designs: In the order of recording.
        assignments: Of the space.
        refused: Assignments whose design may not be trained.
        protocol: Digest of all that makes two runs comparable.
    """

    file: CampaignFile
    task: MQARConfig
    designs: tuple[TableDesign, ...]
    assignments: int
    refused: int
    protocol: str

    @property
    def rates(self) -> tuple[float, ...]:
        """Learning rates that every design is trained at."""
        return self.file.search.learning_rates

    @property
    def runs(self) -> int:
        """How many there are when nothing is missing."""
        return len(self.designs) * len(self.rates) * SEEDS


def plan_of(directory: Path) -> Plan:
    """Walks the space of a folder.

    Raises:
        InputError: The campaign file cannot be used, the space cannot be walked or has no design to
            train, or a reach is too long for the training cells.
    """
    file = load(directory / SPACE)
    found: dict[str, TableDesign] = {}
    walked = list(assignments(file.space))
    refused = 0
    for assignment in walked:
        design, cost, violated = violations(file, assignment.design)
        if design is None or cost is None or any(value > 0 for value in violated.values()):
            refused += 1
            continue
        key = campaign_key(design, file.task.longest_test_length)
        if key not in found:
            found[key] = TableDesign(
                key=key, digest=design.digest, design=readable(design),
                families=families_of(design), architecture=design, price=cost,
            )  # fmt: skip
    if not found:
        raise InputError(f"{directory / SPACE}: no design of the space may be trained")
    task = recorded_task(file)
    _check_reaches(directory / SPACE, found.values(), task.longest_length)
    # the order of the walk would change with the order of the choices in the file
    keys = sorted(found)
    order = np.random.default_rng(0).permutation(len(keys)).tolist()
    return Plan(
        file=file,
        task=task,
        designs=tuple(found[keys[i]] for i in order),
        assignments=len(walked),
        refused=refused,
        protocol=_protocol_digest(task, file),
    )


def recorded_task(file: CampaignFile) -> MQARConfig:
    """The task of the runs: tested on the cells that they are trained on, with few tokens to learn.

    The file's own test cells say at which length designs are priced. Its vocabulary has to exceed
    that length, and would take most of a short run to learn: runs have the smallest power of two
    above their longest cell.
    """
    longest = max(cell.length for cell in file.task.cells)
    return MQARConfig(
        vocab_size=2 ** longest.bit_length(), fillers=file.task.fillers, cells=file.task.cells
    )


def families_of(design: Architecture) -> tuple[str, ...]:
    """Families of the sequence mixers, sorted; convolutions where there is nothing else."""
    names = {mixer.name for block in design.blocks for mixer in block.mixers}
    families = {specs.get(name).family for name in names}
    return tuple(sorted(families - CONVOLUTIONS or families))


def _check_reaches(path: Path, designs: Iterable[TableDesign], longest: int) -> None:
    """A constant reach above a quarter of what is tested proves nothing about the priced length."""
    far = [
        design.design
        for design in designs
        if price(design.architecture, longest).growth != design.price.growth
    ]
    if far:
        raise InputError(
            f"{path}: {len(far)} designs have a constant reach above a quarter of the longest"
            f" training cell ({longest} tokens), such as '{far[0]}'; shorten it"
        )


def _protocol_digest(task: MQARConfig, file: CampaignFile) -> str:
    decisive = {
        "task": task.model_dump(mode="json"),
        "training": file.training.model_dump(mode="json", include=set(_DECIDING)),
        "rates": file.search.learning_rates,
    }
    text = json.dumps(decisive, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]

"""What an explanation consists of: runs, edits with their effects, statistics of the search."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Literal, NamedTuple

from pydantic import computed_field

from archsearch.architecture import Architecture
from archsearch.campaign.explanation.edits import EditKind
from archsearch.campaign.runs import KeptRun
from archsearch.records.base import Record

LEAST_TENTHS: Final = 0.05
"""Of a member's FLOPs that an edit must save before accuracy is divided by what it saves."""


class Place(NamedTuple):
    """One run: a design by its digest, a learning rate, the index of a seed."""

    digest: str
    learning_rate: float
    seed: int


class EditRun(KeptRun):
    """One run of a member or of an edit; designs that are both, or edits twice, have one."""

    @property
    def place(self) -> Place:
        """Where it stands in the plan."""
        return Place(self.digest, self.learning_rate, self.seed)


class Effect(StrEnum):
    """What an edit does to a design."""

    NEEDED = "needed"
    """What it takes away is: accuracy falls by more than seeds explain."""
    SPARE = "spare"
    """What it takes away is not: accuracy falls by less than ``TOLERANCE``, if at all."""
    GAIN = "gain"
    """Accuracy rises by more than seeds explain."""
    UNCLEAR = "unclear"
    """More seeds may tell."""
    UNKNOWN = "unknown"
    """Not trained, or with one seed only."""


class EditRow(Record):
    """One edit of a member, and what came of it.

    Attributes:
        layer: From 1.
        architecture: The changed design.
        flops_ratio: Its FLOPs by the member's.
        seeds: How many are averaged.
        learning_rate: Its best one by validation, of those that were tried.
        accuracy: Mean of the seeds' capped test accuracies.
        change: Accuracy less the member's.
        low: Lower end of the change's 95 % interval; None with one seed.
    """

    kind: EditKind
    layer: int
    text: str
    digest: str
    design: str
    architecture: Architecture
    flops_ratio: float
    seeds: int
    learning_rate: float | None
    accuracy: float | None
    change: float | None
    low: float | None
    high: float | None
    effect: Effect

    @computed_field  # type: ignore[prop-decorator]
    @property
    def per_tenth(self) -> float | None:
        """Change for each tenth of the member's FLOPs that the edit saves; None if it saves none.

        The price is certain, so that ``low`` and ``high`` in the same unit are its interval.
        """
        return self._per_tenth(self.change)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def per_tenth_interval(self) -> tuple[float, float] | None:
        """95 % interval of ``per_tenth``; None with one seed."""
        low, high = self._per_tenth(self.low), self._per_tenth(self.high)
        return None if low is None or high is None else (low, high)

    def _per_tenth(self, change: float | None) -> float | None:
        tenths = 10 * (1 - self.flops_ratio)
        return None if change is None or tenths < LEAST_TENTHS else change / tenths


class MemberRow(Record):
    """A member of the front under its edits.

    Attributes:
        accuracy: Of the seeds trained here, not those of the search or of a confirmation.
    """

    number: int
    digest: str
    design: str
    flops: int
    learning_rate: float
    seeds: int
    accuracy: float | None
    edits: tuple[EditRow, ...]


class Importance(Record):
    """How much a parameter of the space decides about the front (conditional PED-ANOVA).

    Attributes:
        share: Of the importance of all parameters.
        interval: Two standard errors either way, by a jackknife over the trials.
    """

    name: str
    share: float
    interval: tuple[float, float]


class Motif(Record):
    """How often something occurs on the front and among the dominated designs.

    Attributes:
        text: Such as ``short_conv > attention``.
        front: Members that have it.
        dominated: Dominated designs that have it.
        front_interval: 95 % interval of its share on the front (Wilson 1927).
    """

    text: str
    front: int
    dominated: int
    front_share: float
    dominated_share: float
    front_interval: tuple[float, float]
    dominated_interval: tuple[float, float]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def is_telling(self) -> bool:
        """Whether the intervals do not meet."""
        low, high = self.front_interval
        other_low, other_high = self.dominated_interval
        return low > other_high or high < other_low


class Explanation(Record):
    """Why designs are on the front.

    Attributes:
        runs: How many have a result.
        planned: How many there are when none is missing, as far as that is known yet.
        seconds: Of all workers together.
        members: The knee first.
        importances: The greatest first; empty where there are too few trials.
        motifs: The most telling first.
        failures: Why runs have no result, one line each.
    """

    schema_version: Literal[1] = 1
    campaign: str
    seeds: int
    runs: int
    planned: int
    seconds: float
    members: tuple[MemberRow, ...]
    importances: tuple[Importance, ...]
    motifs: tuple[Motif, ...]
    front_size: int
    dominated_size: int
    failures: tuple[str, ...] = ()

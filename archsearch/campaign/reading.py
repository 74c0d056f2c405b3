"""A campaign read from its folder, without writing a byte: for commands, and for programs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from archsearch.campaign.config import Campaign
from archsearch.campaign.decisions import Decisions, decisions
from archsearch.campaign.front import front_of
from archsearch.campaign.progress import failures_of
from archsearch.campaign.table import KINDS, Cell, extra, rows
from archsearch.canonical import merged
from archsearch.costs import crossover_length
from archsearch.errors import StoreError
from archsearch.records import Confirmation, Front, TrialRecord
from archsearch.storage import (
    read_confirm_seconds,
    read_confirmations,
    read_elapsed_seconds,
    read_records,
)

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class Reading:
    """A campaign, what its store holds, and how long drivers have searched and confirmed.

    Attributes:
        records: References (numbers below 0) and trials.
        confirmations: Runs with fresh seeds.
    """

    campaign: Campaign
    records: list[TrialRecord]
    elapsed_seconds: float
    confirmations: list[Confirmation]
    confirm_seconds: float

    @cached_property
    def front(self) -> Front:
        """The front now."""
        return front_of(self.campaign, self.records, self.confirmations)

    @cached_property
    def decisions(self) -> Decisions:
        """How races and stops went."""
        members = {row.number for row in self.front.members}
        return decisions(self.records, members, self.campaign.file.training.steps)

    @property
    def failures(self) -> tuple[tuple[str, int], ...]:
        """Why trials failed and how many for each reason, the usual ones first."""
        return failures_of(self.records)

    def table(self) -> list[dict[str, Cell]]:
        """A row for each record by its number, all with the same columns; see ``table.rows``."""
        return rows(self.records, self.front)

    def frame(self) -> DataFrame:
        """``table`` as a pandas DataFrame.

        Raises:
            InputError: pandas is not installed.
        """
        frame = extra("pandas", "table()").DataFrame(self.table())
        # a column without any value would be one of objects
        return frame.astype({name: KINDS[name] for name in frame if name in KINDS})


def read(directory: str | Path) -> Reading:
    """Opens a campaign.

    Raises:
        InputError: The folder is not a campaign's.
        StoreError: It is damaged or may not be read.
        ResumeRefusedError: Its campaign file was edited.
    """
    directory = Path(directory)
    try:
        campaign = Campaign.open(directory)
        url, study = campaign.storage_url, campaign.settings.study
        if not campaign.has_begun:
            return Reading(campaign, [], 0.0, [], 0.0)
        return Reading(
            campaign,
            read_records(url, study),
            read_elapsed_seconds(url, study),
            read_confirmations(url, study),
            read_confirm_seconds(url, study),
        )
    except OSError as error:
        raise StoreError(f"{directory}: cannot be read ({error.strerror})") from None


def with_crossover(record: TrialRecord) -> TrialRecord:
    """The record with the crossover of its design as it is found today.

    Earlier versions recorded the first length at which a design is cheaper than full attention,
    not that from which on it is.
    """
    if record.architecture is None or record.price is None:
        return record
    found = crossover_length(merged(record.architecture, record.price.n_max))
    price = record.price.model_copy(update={"crossover_length": found})
    return record.model_copy(update={"price": price})

"""What the inspecting commands share: a campaign read from its folder, without writing a byte."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from archsearch.campaign.config import Campaign
from archsearch.campaign.front import front_of
from archsearch.errors import StoreError
from archsearch.records import Confirmation, Front, TrialRecord
from archsearch.storage import (
    read_confirm_seconds,
    read_confirmations,
    read_elapsed_seconds,
    read_records,
)


class Reading(NamedTuple):
    """A campaign, what its store holds, and how long drivers have searched and confirmed."""

    campaign: Campaign
    records: list[TrialRecord]
    elapsed_seconds: float
    confirmations: list[Confirmation]
    confirm_seconds: float

    @property
    def front(self) -> Front:
        """The front now."""
        return front_of(self.campaign, self.records, self.confirmations)


def read(directory: Path) -> Reading:
    """Opens a campaign.

    Raises:
        InputError: The folder is not a campaign's.
        StoreError: It is damaged or may not be read.
        ResumeRefusedError: Its campaign file was edited.
    """
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

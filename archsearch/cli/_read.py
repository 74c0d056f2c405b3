"""What the inspecting commands share: a campaign read from its folder, without writing a byte."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import NamedTuple

from archsearch.campaign.config import Campaign
from archsearch.campaign.front import build_front
from archsearch.errors import StoreError
from archsearch.records import Front, TrialRecord
from archsearch.storage import read_records


class Reading(NamedTuple):
    """A campaign and what its store holds."""

    campaign: Campaign
    records: list[TrialRecord]

    @property
    def front(self) -> Front:
        """The front now."""
        settings = self.campaign.settings
        return build_front(self.records, self.campaign.objectives, settings.reference_point)


def read(directory: Path) -> Reading:
    """Opens a campaign.

    Raises:
        InputError: The folder is not a campaign's.
        StoreError: It is damaged or may not be read.
        ResumeRefusedError: Its campaign file was edited.
    """
    try:
        campaign = Campaign.open(directory)
        return Reading(campaign, read_records(campaign.storage_url, campaign.settings.study))
    except OSError as error:
        raise StoreError(f"{directory}: cannot be read ({error.strerror})") from None


def resume_command(directory: Path) -> str:
    """What continues a campaign; the same words as the driver's, which would import samplers."""
    return f"archsearch resume {shlex.quote(str(directory))}"

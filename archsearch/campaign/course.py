"""How a campaign's hypervolume grew with the time that was trained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from archsearch.campaign.reading import Reading
from archsearch.campaign.standing import losses, stand
from archsearch.pareto import hypervolume
from archsearch.records import TrialOutcome

MOST_POINTS = 200
"""Of a course."""


class CoursePoint(NamedTuple):
    """A campaign once some trial had ended, or a reference beside the trials.

    Attributes:
        hours: Trained until then, by all workers together, references included.
        hypervolume: Of the front of that time.
    """

    hours: float
    hypervolume: float


def course_of(reading: Reading, bound: Sequence[float] | None = None) -> list[CoursePoint]:
    """The hypervolume as trials ended, by the search's own scores: confirmations come after it.

    Args:
        reading: The campaign.
        bound: The reference point, as losses; the campaign's own unless given.

    Returns:
        From the first trial on; nothing where the references have not ended.
    """
    settings = reading.campaign.settings
    if settings.reference_point is None:
        return []
    objectives = reading.campaign.objectives
    oracles = reading.campaign.file.search.oracles
    if bound is None:
        bound = [o.loss(v) for o, v in zip(objectives, settings.reference_point, strict=True)]
    ended = sorted(
        (r for r in reading.records if r.outcome is not TrialOutcome.RUNNING),
        # campaigns of earlier versions kept no order; numbers of references are below 0
        key=lambda r: (r.told_order if r.told_order is not None else r.number, r.number),
    )
    # some references may end after trials, where there were workers for both
    begun = next((n for n, r in enumerate(ended) if r.reference is None), len(ended))
    spent = sum(r.seconds for r in ended[:begun])
    every = max(1, math.ceil((len(ended) - begun) / MOST_POINTS))
    points = [CoursePoint(spent / 3600, 0.0)]
    for place, record in enumerate(ended[begun:], start=begun + 1):
        spent += record.seconds
        if (place - begun) % every == 0 or place == len(ended):
            standing = stand(ended[:place], objectives, oracles=oracles)
            members = [losses(member, objectives) for member in standing.members]
            volume = hypervolume(members, bound) if members else 0.0
            points.append(CoursePoint(spent / 3600, volume))
    return points

"""How a campaign's hypervolume grew with the time that was trained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from archsearch.campaign.reading import Reading
from archsearch.campaign.standing import losses, split, stand
from archsearch.pareto import hypervolume
from archsearch.records import TrialOutcome

MOST_POINTS = 200
"""Of a course."""


class CoursePoint(NamedTuple):
    """A campaign once some trial had ended.

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
        From the end of the references on; nothing where they have not ended.
    """
    settings = reading.campaign.settings
    if settings.reference_point is None:
        return []
    objectives = reading.campaign.objectives
    oracles = reading.campaign.file.search.oracles
    if bound is None:
        bound = [o.loss(v) for o, v in zip(objectives, settings.reference_point, strict=True)]
    references, trials = split(reading.records)
    ended = sorted(
        (t for t in trials if t.outcome is not TrialOutcome.RUNNING),
        # campaigns of earlier versions kept no order
        key=lambda t: (t.told_order if t.told_order is not None else t.number, t.number),
    )
    spent = sum(r.seconds for r in references)
    every = max(1, math.ceil(len(ended) / MOST_POINTS))
    points = [CoursePoint(spent / 3600, 0.0)]
    for place, trial in enumerate(ended, start=1):
        spent += trial.seconds
        if place % every == 0 or place == len(ended):
            standing = stand([*references, *ended[:place]], objectives, oracles=oracles)
            members = [losses(member, objectives) for member in standing.members]
            volume = hypervolume(members, bound) if members else 0.0
            points.append(CoursePoint(spent / 3600, volume))
    return points

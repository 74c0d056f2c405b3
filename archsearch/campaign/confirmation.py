"""Which designs are trained again with fresh seeds, and when that is over. Pure functions.

Seeds come in batches. A batch follows from the batches before it and from nothing else, so the
same seeds are asked for on any number of workers, and again after a restart. Its order matters only
where a budget ends it early.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from archsearch.campaign.config import Campaign
from archsearch.campaign.estimates import Scores, scores_of
from archsearch.campaign.front import CLEAR
from archsearch.campaign.standing import Standing, margins, near_members, probabilities, stand
from archsearch.objectives import Objective
from archsearch.records import Confirmation, TrialRecord
from archsearch.space.schema import DEFAULT_CONFIRM_SEEDS

MOST = 2
"""Times the wanted seeds that a design in doubt may have."""


class Seed(NamedTuple):
    """A fresh seed that is wanted.

    Attributes:
        number: The trial's; references count down from -1.
        nth: Which of its fresh seeds, from 0.
    """

    number: int
    nth: int


class Agenda(NamedTuple):
    """What is to be trained again next.

    Attributes:
        batch: The batch's number, from 1.
        seeds: Those of the batch that are missing, the most telling first; none at the end.
        reason: Why that is the end.
    """

    batch: int
    seeds: tuple[Seed, ...]
    reason: str = ""


class Terms(NamedTuple):
    """By what a campaign is confirmed.

    Attributes:
        objectives: Accuracy and the cost.
        seeds: Fresh seeds that each subject gets; at least 1.
        campaign_seed: Of the bootstrap.
        oracles: Whether designs that are told where the answers are may be members.
    """

    objectives: Sequence[Objective]
    seeds: int
    campaign_seed: int = 0
    oracles: bool = False


def terms_of(campaign: Campaign) -> Terms:
    """By its own settings; by the usual number of seeds where they say none."""
    settings = campaign.settings
    return Terms(
        campaign.objectives,
        settings.confirm_seeds or DEFAULT_CONFIRM_SEEDS,
        settings.seed,
        campaign.file.search.oracles,
    )


def agenda(
    terms: Terms,
    records: Sequence[TrialRecord],
    confirmations: Iterable[Confirmation],
    without: Collection[int] = (),
) -> Agenda:
    """What comes next.

    Args:
        terms: How the campaign is confirmed.
        records: References and trials, in any order.
        confirmations: All that there are.
        without: Numbers of trials that could not be trained again.
    """
    confirmations = list(confirmations)
    there = {Seed(c.number, c.seed) for c in confirmations}
    last = max((c.batch for c in confirmations), default=0)
    # a batch may have been cut short; then it is completed before the next is thought of
    for batch in (last, last + 1):
        earlier = [c for c in confirmations if c.batch < batch]
        wanted = _wanted(terms, records, scores_of(earlier), without) if batch else ()
        missing = tuple(seed for seed in wanted if seed not in there)
        if missing:
            return Agenda(batch, missing)
    return Agenda(last + 1, (), _verdict(terms, records, scores_of(confirmations), without))


def stray(
    terms: Terms, records: Sequence[TrialRecord], confirmations: Iterable[Confirmation]
) -> Confirmation | None:
    """The first confirmation that does not follow from the batches before its own.

    That one is missing shows nothing: its design may not have been trainable then, or the budget
    was spent. So a batch may also have asked for what follows without the designs whose seeds come
    first. Of older confirmations it is not known what they followed from.

    Args:
        terms: How the campaign is confirmed; how many seeds, each confirmation says itself.
        records: References and trials, in any order.
        confirmations: All that there are.
    """
    found = sorted(confirmations, key=lambda c: (c.batch, -c.number, c.seed))
    batches: dict[tuple[int, int, int], set[Seed]] = {}
    for one in found:
        if one.known is None or one.wanted is None:
            continue
        asked = (one.batch, one.known, one.wanted)
        if asked not in batches:
            then = [r for r in records if (r.told_order or 0) <= one.known]
            scores = scores_of(c for c in found if c.batch < one.batch)
            known = terms._replace(seeds=one.wanted), then, scores
            wanted = _wanted(*known, ())
            batches[asked] = {*wanted, *_wanted(*known, {seed.number for seed in wanted})}
        if Seed(one.number, one.seed) not in batches[asked]:
            return one
    return None


class _Doubt(NamedTuple):
    """What is known of the front.

    Attributes:
        subjects: Members, near-members, and whatever has had some of its seeds, in order of doubt.
        references: The trained ones.
        p_on_front: By the trial's number, as far as it is known.
    """

    standing: Standing
    subjects: list[int]
    references: list[int]
    p_on_front: dict[int, float]


def _doubt(terms: Terms, records: Sequence[TrialRecord], scores: Scores) -> _Doubt:
    standing = stand(records, terms.objectives, scores=scores, oracles=terms.oracles)
    p = probabilities(
        standing, terms.objectives, scores, terms.campaign_seed, oracles=terms.oracles
    )
    distance = margins(standing, terms.objectives, oracles=terms.oracles)
    near = near_members(standing, terms.objectives, oracles=terms.oracles)
    numbers = {m.number for m in standing.members} | set(near) | (scores.keys() & distance.keys())
    return _Doubt(
        standing,
        # how far from even chances; from the edge of the front before there are any
        sorted(numbers, key=lambda n: (abs(p[n] - 0.5) if n in p else abs(distance[n]), n)),
        sorted((r.number for r in standing.references if r.outcome.was_trained), reverse=True),
        p,
    )


def _wanted(
    terms: Terms, records: Sequence[TrialRecord], scores: Scores, without: Collection[int]
) -> tuple[Seed, ...]:
    """The seeds of the batch after these scores."""
    found = _doubt(terms, records, scores)
    if not found.subjects:
        return ()
    first = [
        (index, place, Seed(number, index))
        for place, number in enumerate((*found.subjects, *found.references))
        for index in range(len(scores.get(number, ())), terms.seeds)
        if number not in without
    ]
    if first:
        # every subject's first seed before any second one
        return tuple(seed for *_, seed in sorted(first))
    return tuple(
        Seed(number, len(scores[number]))
        for number in _unclear(found)
        if number not in without and len(scores[number]) < MOST * terms.seeds
    )


def _unclear(found: _Doubt) -> list[int]:
    """Designs with seeds that are neither on the front nor off it, most in doubt first."""
    return [n for n in found.subjects if 1 - CLEAR < found.p_on_front.get(n, 0.0) < CLEAR]


def _verdict(
    terms: Terms, records: Sequence[TrialRecord], scores: Scores, without: Collection[int]
) -> str:
    found = _doubt(terms, records, scores)
    if not found.subjects:
        return "the front is empty: there is nothing to confirm"
    lost = [n for n in (*found.subjects, *found.references) if n in without]
    if lost:
        return f"{len(lost)} of the designs could not be trained again"
    unclear = _unclear(found)
    if unclear:
        most = MOST * terms.seeds
        return f"{len(unclear)} designs stay in doubt after {most} fresh seeds each"
    return "who is on the front is clear"

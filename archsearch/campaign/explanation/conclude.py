"""What the trained edits say: how much each costs, and whether that is more than luck."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Final

from archsearch.campaign.estimates import moderated, scores_of, student_quantile
from archsearch.campaign.explanation.edits import Edit
from archsearch.campaign.explanation.motifs import motifs
from archsearch.campaign.explanation.plan import Evidence, ExplainPlan, Subject
from archsearch.campaign.explanation.records import (
    EditRow,
    EditRun,
    Effect,
    Explanation,
    Importance,
    MemberRow,
)
from archsearch.campaign.reading import Reading
from archsearch.canonical import readable

TOLERANCE: Final = 0.02
"""What an edit may lose and still count as one that costs nothing."""

Spread = dict[str, tuple[float, int]]


def conclude(
    reading: Reading,
    plan: ExplainPlan,
    runs: Sequence[EditRun],
    importances: Iterable[Importance],
) -> Explanation:
    """What is known so far.

    Args:
        reading: The campaign's.
        plan: What was to be trained.
        runs: Those that have ended.
        importances: Of the space's parameters.
    """
    evidence = Evidence(plan, runs)
    scores = {digest: evidence.scores(digest) for digest in plan.designs}
    # seeds of the confirmations tell how much designs of this campaign scatter, too
    fresh = {f"trial {n}": found for n, found in scores_of(reading.confirmations).items()}
    spread = moderated(fresh | {digest: found for digest, found in scores.items() if found})
    front = reading.front
    done = [run for run in runs if run.result is not None]
    return Explanation(
        campaign=reading.campaign.settings.study,
        seeds=plan.seeds,
        runs=len(done),
        planned=len(runs) + len(list(evidence.missing())),
        seconds=sum(run.evaluation.seconds for run in runs if run.evaluation is not None),
        members=tuple(_member(s, evidence, scores, spread) for s in plan.subjects),
        importances=tuple(importances),
        motifs=tuple(motifs(reading.records, front)),
        front_size=len(front.members),
        dominated_size=len(front.dominated),
        failures=tuple(f"{run.digest}: {run.problem}" for run in runs if run.result is None),
    )


def _member(
    subject: Subject, evidence: Evidence, scores: dict[str, tuple[float, ...]], spread: Spread
) -> MemberRow:
    digest = subject.architecture.digest
    own = scores[digest]
    return MemberRow(
        number=subject.number,
        digest=digest,
        design=readable(subject.architecture),
        flops=subject.price.flops,
        learning_rate=subject.learning_rate,
        seeds=len(own),
        accuracy=fmean(own) if own else None,
        edits=tuple(_row(subject, edit, evidence, scores, spread) for edit in subject.edits),
    )


def _row(
    subject: Subject,
    edit: Edit,
    evidence: Evidence,
    scores: dict[str, tuple[float, ...]],
    spread: Spread,
) -> EditRow:
    member, digest = subject.architecture.digest, edit.digest
    own, base = scores[digest], scores[member]
    change = fmean(own) - fmean(base) if own and base else None
    low = high = None
    if change is not None and min(len(own), len(base)) > 1:
        half = _half_width([(len(own), *spread[digest]), (len(base), *spread[member])])
        low, high = change - half, change + half
    return EditRow(
        kind=edit.kind,
        layer=edit.layer,
        text=edit.text,
        digest=digest,
        design=readable(edit.architecture),
        architecture=edit.architecture,
        flops_ratio=edit.price.flops / subject.price.flops,
        seeds=len(own),
        learning_rate=evidence.best_rate(digest),
        accuracy=fmean(own) if own else None,
        change=change,
        low=low,
        high=high,
        effect=effect_of(low, high),
    )


def _half_width(samples: Sequence[tuple[int, float, int]]) -> float:
    """Half of the 95 % interval of a difference of means.

    Args:
        samples: (seeds, moderated variance, its degrees of freedom) of each.
    """
    # as many degrees as the better known of the two would give too narrow an interval (Hsu 1938)
    degrees = min(degrees for _, _, degrees in samples)
    return student_quantile(degrees) * math.sqrt(sum(v / n for n, v, _ in samples))


def effect_of(low: float | None, high: float | None) -> Effect:
    """What the interval of a change says."""
    if low is None or high is None:
        return Effect.UNKNOWN
    if high < 0 and (low + high) / 2 < -TOLERANCE:
        return Effect.NEEDED
    if low > 0 and (low + high) / 2 > TOLERANCE:
        return Effect.GAIN
    return Effect.SPARE if low > -TOLERANCE else Effect.UNCLEAR

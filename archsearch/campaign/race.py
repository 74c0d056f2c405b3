"""The runs of one trial: which go on, which are ended, which one is scored. Pure functions.

All runs of a trial come to a rung before any of them is judged there. What a trial becomes then
depends on its own runs and on the trials known when it is judged, not on which worker was fast.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

from archsearch.objectives import capped_accuracy
from archsearch.records import (
    Evaluation,
    Judgement,
    RunOutcome,
    RunVerdict,
    TrialOutcome,
    TrialRecord,
    VerdictKind,
)

TIE_NATS = 0.1
"""Mean log-probabilities this close do not tell two learning rates apart."""

LEAST_GAIN_NATS = 0.2
"""Over guessing, before a rate counts as working at all."""

MOST_SURVIVORS = 2
"""Runs that may go on from a rung of a race."""

Stops = Callable[[Evaluation], bool]
"""Whether the stopping rule ends a run that came to its rung."""


class Plan(NamedTuple):
    """How the designs of a campaign are trained.

    Attributes:
        learning_rates: One run each.
        rungs: Steps at which runs pause to be judged, rising; the last is the whole budget.
        audit: Share of the decisions against a run after which it is finished all the same.
        seed: Of the campaign: decides which.
        guess_nats: Log-probability of a guess among all values.
    """

    learning_rates: tuple[float, ...]
    rungs: tuple[int, ...]
    audit: float = 0.0
    seed: int = 0
    guess_nats: float = 0.0


class Move(NamedTuple):
    """The next piece of a run.

    Attributes:
        from_step: The rung to go on from; None begins the run.
        learning_rate: Of the run.
    """

    run: int
    to_step: int
    from_step: int | None
    learning_rate: float


def mean_log_probability(evaluation: Evaluation) -> float:
    """Of the answer at the last validation, mean over the cells, in nats."""
    values = evaluation.curve[-1].log_probability
    return sum(values) / len(values)


def last_validation(evaluation: Evaluation, guess_nats: float) -> tuple[float, float]:
    """Capped accuracy and log-probability; a run that diverged is as good as guessing."""
    if evaluation.outcome is RunOutcome.DIVERGED or not evaluation.curve:
        return 0.0, guess_nats
    return capped_accuracy(evaluation.curve[-1].accuracy), mean_log_probability(evaluation)


def advance(
    plan: Plan, record: TrialRecord, stops: Stops, known: int
) -> tuple[TrialRecord, tuple[Move, ...]]:
    """What the runs of a trial do next; none of them is under way.

    Args:
        plan: How designs are trained.
        record: The trial, with every rung and judgement so far.
        stops: The stopping rule, with what it knows.
        known: Trials told so far, to be noted with a judgement.

    Returns:
        The trial, with a judgement more if its runs had all come to a rung; and the next pieces of
        its runs. Without any the trial has ended.
    """
    moves = _outstanding(plan, record)
    if moves or not _goes_on(record):
        return record, moves
    judgement = Judgement(
        step=plan.rungs[len(record.judgements)],
        known=known,
        verdicts=_verdicts(plan, record, stops),
    )
    record = record.model_copy(update={"judgements": (*record.judgements, judgement)})
    return record, _outstanding(plan, record)


def _goes_on(record: TrialRecord) -> bool:
    """Whether a run is to be trained further, or nothing was trained yet."""
    against = record.verdicts
    if _out_of_memory(record):
        return False
    return not record.evaluations or any(
        e.outcome is RunOutcome.PAUSED and (run not in against or against[run].audited)
        for run, e in record.runs.items()
    )


def _outstanding(plan: Plan, record: TrialRecord) -> tuple[Move, ...]:
    """The runs that have not come to the rung that is judged next."""
    if not _goes_on(record):
        return ()
    runs, against = record.runs, record.verdicts
    rung = plan.rungs[len(record.judgements)]
    moves = []
    for run, rate in enumerate(plan.learning_rates):
        if run not in runs:
            moves.append(Move(run, rung, None, rate))
        elif (
            runs[run].outcome is RunOutcome.PAUSED
            and runs[run].step < rung
            and (run not in against or against[run].audited)
        ):
            moves.append(Move(run, rung, runs[run].step, rate))
    return tuple(moves)


def _out_of_memory(record: TrialRecord) -> bool:
    return any(e.outcome is RunOutcome.OOM for e in record.evaluations)


def _verdicts(plan: Plan, record: TrialRecord, stops: Stops) -> tuple[RunVerdict, ...]:
    against = record.verdicts
    racing = [e for run, e in sorted(record.runs.items()) if run not in against]
    survivors = _survivors(plan, racing)
    found = []
    for evaluation in racing:
        run = evaluation.seed.run
        if evaluation.outcome is not RunOutcome.PAUSED:
            continue
        if run not in survivors:
            kind = VerdictKind.LOST
        elif stops(evaluation):
            kind = VerdictKind.STOPPED
        else:
            continue
        audited = _audited(plan, record.number, run, kind)
        found.append(RunVerdict(run=run, kind=kind, audited=audited))
    return tuple(found)


def _survivors(plan: Plan, runs: Sequence[Evaluation]) -> set[int]:
    """The paused runs that go on: none beside a success, otherwise the best or the best two."""
    if any(e.outcome is RunOutcome.SOLVED for e in runs):
        return set()
    standing = {e.seed.run: mean_log_probability(e) for e in runs if e.outcome is RunOutcome.PAUSED}
    foremost = sorted(standing, key=lambda run: (-standing[run], run))[:MOST_SURVIVORS]
    return {run for run in foremost if standing[run] >= standing[foremost[0]] - TIE_NATS}


def _audited(plan: Plan, trial: int, run: int, kind: VerdictKind) -> bool:
    """A lottery without state: the same ticket wins again after a restart, and in a replay."""
    text = f"{plan.seed}/{trial}/{run}/{kind.value}/audit".encode()
    drawn = int.from_bytes(hashlib.sha256(text).digest()[:8], "big") / 2**64
    return drawn < plan.audit


def concluded(plan: Plan, record: TrialRecord) -> TrialRecord:
    """The trial with outcome, score and learnability, once no run of it goes on.

    A run that lost its race is no candidate, though it was finished for the audit: only one design
    in ten would be offered a second chance. A run that was to be stopped is one.
    """
    if _out_of_memory(record):
        return record.model_copy(update={"outcome": TrialOutcome.OOM})
    lost = {run for run, v in record.verdicts.items() if v.kind is VerdictKind.LOST}
    racing = [e for run, e in record.runs.items() if run not in lost]
    ended = [e for e in racing if e.test]
    paused = [e for e in racing if e.outcome is RunOutcome.PAUSED]
    changes: dict[str, object] = {"learnability": learnability(plan, record)}
    if ended:
        best = max(ended, key=_merit)
        changes |= {
            "outcome": TrialOutcome(best.outcome.value),
            "scored_run": best.seed.run,
            "accuracy": capped_accuracy([cell.accuracy for cell in best.test]),
        }
    elif paused:
        best = max(paused, key=_merit)
        changes |= {
            "outcome": TrialOutcome.STOPPED,
            "accuracy": capped_accuracy(best.curve[-1].accuracy),
        }
    else:
        changes["outcome"] = TrialOutcome.DIVERGED
    return record.model_copy(update=changes)


def _merit(evaluation: Evaluation) -> tuple[bool, float, float, int]:
    """By validation alone: the test is what is reported, so it chooses nothing."""
    solved = evaluation.outcome is RunOutcome.SOLVED
    if not evaluation.curve:
        return solved, 0.0, 0.0, -evaluation.seed.run
    accuracy = capped_accuracy(evaluation.curve[-1].accuracy)
    return solved, accuracy, mean_log_probability(evaluation), -evaluation.seed.run


def with_rung(record: TrialRecord, evaluation: Evaluation) -> TrialRecord:
    """The trial with one more rung; earlier rungs of the run leave the curve to it."""
    same = evaluation.seed.run
    earlier = (
        e.model_copy(update={"curve": ()}) if e.seed.run == same else e for e in record.evaluations
    )
    rungs = sorted((*earlier, evaluation), key=lambda e: (e.step, e.seed.run))
    return record.model_copy(update={"evaluations": tuple(rungs)})


def abridged(record: TrialRecord) -> TrialRecord:
    """The trial with the last validation of each run and no recall by distance.

    No decision is made by the rest, which is nearly all of a record in memory.
    """
    evaluations = tuple(
        e.model_copy(
            update={
                "curve": e.curve[-1:],
                "test": tuple(c.model_copy(update={"by_distance": ()}) for c in e.test),
            }
        )
        for e in record.evaluations
    )
    return record.model_copy(update={"evaluations": evaluations})


def window(plan: Plan, record: TrialRecord) -> tuple[float, float] | None:
    """The learning rates that work for a design, as far as its race shows: from and to, as log10.

    At the first rung, where all rates stand: a rate works if it gained at least half as much
    log-probability over guessing as the best one. Each working rate next to another one stands for
    the way to the middle of its neighbours, on a log scale; those at the ends of the grid for as
    much outside as inside. A run that diverged until then does not work.

    Returns:
        None with one rate, or while nothing is learned at all.
    """
    rates = plan.learning_rates
    if len(rates) < 2:
        return None
    gains = [_gain(plan, record.runs.get(run)) for run in range(len(rates))]
    best = max(range(len(rates)), key=lambda run: (gains[run], -run))
    if gains[best] < LEAST_GAIN_NATS:
        return None
    works = [gain >= gains[best] / 2 for gain in gains]
    low = high = best
    while low > 0 and works[low - 1]:
        low -= 1
    while high + 1 < len(rates) and works[high + 1]:
        high += 1
    places = [math.log10(rate) for rate in rates]
    edges = [(a + b) / 2 for a, b in pairwise(places)]
    edges = [2 * places[0] - edges[0], *edges, 2 * places[-1] - edges[-1]]
    return edges[low], edges[high + 1]


def learnability(plan: Plan, record: TrialRecord) -> float | None:
    """How wide the window of learning rates that work is, in decades; None where there is none."""
    found = window(plan, record)
    return None if found is None else found[1] - found[0]


def _gain(plan: Plan, run: Evaluation | None) -> float:
    if run is None:
        return 0.0
    # what became of it later is known of those alone that went on
    if run.outcome is RunOutcome.DIVERGED and run.step <= plan.rungs[0]:
        return 0.0
    points = [p for p in run.curve if p.step <= plan.rungs[0]]
    if not points:
        return 0.0
    values = points[-1].log_probability
    return max(0.0, sum(values) / len(values) - plan.guess_nats)

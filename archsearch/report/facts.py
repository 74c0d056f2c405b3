"""What the page shows, as plain JSON-able data from the records; nothing of how it looks."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Sequence
from typing import Any

from archsearch.campaign.confirmation import terms_of
from archsearch.campaign.course import course_of
from archsearch.campaign.estimates import by_trial, cell_intervals, cell_means, wilson
from archsearch.campaign.front import best_of
from archsearch.campaign.policy import plan_of
from archsearch.campaign.race import Plan, window
from archsearch.campaign.reading import Reading, with_crossover
from archsearch.canonical import readable
from archsearch.objectives import OBJECTIVES
from archsearch.records import Confirmation, Front, FrontRow, TrialRecord

MOST_MARKS = 4000
"""Of dominated designs on the page."""

MOST_MARK_BYTES = 4_000_000
"""Of theirs, so that the page stays below 6 MB however long the designs' texts are."""

_MARK = {
    *("number", "design", "accuracy", "low", "high", "worst_cell", "seeds", "learning_rate"),
    *("p_on_front", "cost", "flops", "growth", "params", "state_floats"),
}
"""What the page says of a dominated design."""

MOST_LINES = 200
"""Of designs in parallel coordinates besides the members."""


def facts_of(reading: Reading) -> dict[str, Any]:
    """Everything on the page."""
    campaign, front = reading.campaign, reading.front
    records = {record.number: record for record in reading.records}
    settings = campaign.settings
    plan = plan_of(campaign.file, stopping=settings.stopping, seed=settings.seed)
    confirmations = by_trial(reading.confirmations)
    over_seeds = cell_intervals(reading.confirmations, len(campaign.file.task.test_cells))
    best = best_of(front.members)
    shown = [*front.members, *(r for r in front.references if r.outcome.was_trained)]
    return {
        "about": _about(reading, front, plan),
        "front": {
            "members": [_row(row, front) for row in front.members],
            "dominated": _marks(front),
            "dominated_count": len(front.dominated),
            "references": [_row(row, front) for row in front.references if row.outcome.was_trained],
            "knee": front.knee,
            "best": None if best is None else best.number,
            "cost": OBJECTIVES[front.objectives[1]].unit,
        },
        "hypervolume": [list(point) for point in course_of(reading)],
        "details": {
            str(row.number): _details(
                records[row.number],
                confirmations.get(row.number, []),
                [cell[row.number] for cell in over_seeds if row.number in cell],
                _window(plan, records[row.number]),
            )
            for row in shown
        },
        "parallel": _parallel(front, records),
        "spent": _spent(reading),
        "decisions": reading.decisions.plain(),
        "reference_point": list(settings.reference_point or ()),
    }


def _about(reading: Reading, front: Front, plan: Plan) -> dict[str, Any]:
    campaign = reading.campaign
    file, settings = campaign.file, campaign.settings
    training = file.training
    return {
        "name": file.name,
        "title": file.title,
        "study": settings.study,
        "created_at": settings.created_at,
        "command": settings.command,
        # where the campaign lies is the reader's affair: commands are for the folder above it
        "directory": shlex.quote(campaign.directory.resolve().name),
        "seed": settings.seed,
        "sampler": settings.sampler,
        "stopping": settings.stopping,
        "n_max": campaign.n_max,
        "task": {
            "name": file.task.name,
            "vocab_size": file.task.vocab_size,
            "fillers": file.task.fillers,
            "cells": [str(cell) for cell in file.task.cells],
            "test_cells": [str(cell) for cell in file.task.test_cells],
        },
        "training": {
            "steps": training.steps,
            "batch_tokens": training.batch_tokens,
            "rates": list(plan.learning_rates),
            "first_rung": plan.rungs[0],
        },
        "objectives": list(file.objectives),
        "constraints": [str(constraint) for constraint in file.constraints],
        "versions": settings.versions,
        "counts": {name: number for name, number in front.counts.items() if number},
        "winners_curse": front.winners_curse,
        "confirm_seeds": terms_of(campaign).seeds,
        "elapsed_seconds": reading.elapsed_seconds,
        "confirm_seconds": reading.confirm_seconds,
    }


def _most_accurate(front: Front, count: int) -> list[FrontRow]:
    return sorted(front.dominated, key=lambda row: -row.accuracy)[:count]


def _marks(front: Front) -> list[dict[str, Any]]:
    """The most accurate of the dominated designs, as many as fit."""
    found = []
    left = MOST_MARK_BYTES
    for row in _most_accurate(front, MOST_MARKS):
        mark = row.model_dump(mode="json", include=_MARK)
        left -= len(json.dumps(mark))
        if left < 0:
            break
        found.append(mark)
    return found


def _row(row: FrontRow, front: Front) -> dict[str, Any]:
    return row.model_dump(mode="json") | {"is_knee": row.number == front.knee}


def _window(plan: Plan, record: TrialRecord) -> list[float] | None:
    """From the lowest to the highest learning rate that was ahead at the first rung.

    What a rate comes to later may differ. None where nothing was learned until then.
    """
    found = window(plan, record)
    return None if found is None else [10**exponent for exponent in found]


def _details(
    record: TrialRecord,
    confirmations: Sequence[Confirmation],
    over_seeds: Sequence[tuple[float, float]],
    rates: list[float] | None,
) -> dict[str, Any]:
    design, price = record.architecture, with_crossover(record).price
    return {
        "design": "" if design is None else readable(design),
        "form": None if price is None else price.form,
        "growth": None if price is None else price.growth_text,
        "leading": None if price is None else price.leading_coefficient,
        "crossover": None if price is None else price.crossover_text,
        "cells": _cells(record, confirmations, over_seeds),
        "cells_vary_by": "seeds" if over_seeds else "queries",
        "runs": [_run(record, run) for run in sorted(record.runs)],
        "window": rates,
        "fresh": [c.evaluation.learning_rate for c in confirmations],
        "started_at": record.started_at,
        "finished_at": record.finished_at,
    }


def _cells(
    record: TrialRecord,
    confirmations: Sequence[Confirmation],
    over_seeds: Sequence[tuple[float, float]],
) -> list[dict[str, Any]]:
    """Accuracy on each test cell with its 95 % interval.

    Over fresh seeds where some design has two: seeds differ by far more than the queries of one
    explain. Else there is one seed, and the interval is that of its queries (Wilson 1927).
    """
    means = cell_means(record, confirmations)
    found = []
    for i, cell in enumerate(record.test):
        mean = means[i]
        low, high = over_seeds[i] if over_seeds else wilson(mean * cell.queries, cell.queries)
        found.append(
            {
                "label": cell.label,
                "length": cell.length,
                "pairs": cell.pairs,
                "load": cell.length * cell.pairs,
                "accuracy": mean,
                "low": low,
                "high": high,
            }
        )
    return found


def _run(record: TrialRecord, number: int) -> dict[str, Any]:
    run = record.runs[number]
    verdict = record.verdicts.get(number)
    return {
        "rate": run.learning_rate,
        "outcome": run.outcome.value,
        "verdict": None if verdict is None else verdict.kind.value,
        "audited": verdict is not None and verdict.audited,
        "is_scored": record.scored is not None and record.scored.seed.run == number,
        "curve": [[p.step, sum(p.accuracy) / len(p.accuracy)] for p in run.curve],
        "rungs": [e.step for e in record.evaluations if e.seed.run == number],
    }


def _parallel(front: Front, records: dict[int, TrialRecord]) -> list[dict[str, Any]]:
    """Designs as lines: the members, and the most accurate of the others."""
    others = _most_accurate(front, MOST_LINES)
    found = []
    for row in (*others, *front.members):
        design = records[row.number].architecture
        if design is not None:
            found.append(
                {
                    "number": row.number,
                    "is_member": row.is_member,
                    "d_model": design.d_model,
                    "depth": len(design.blocks),
                    "params": row.params,
                    "state": row.state_floats,
                    "flops": row.flops,
                    "accuracy": row.accuracy,
                }
            )
    return found


def _spent(reading: Reading) -> dict[str, Any]:
    """Time and FLOPs by outcome, and why trials failed."""
    by_outcome: dict[str, dict[str, float]] = {}
    for record in reading.records:
        name = "reference" if record.reference is not None else record.outcome.value
        mine = by_outcome.setdefault(name, {"trials": 0, "seconds": 0.0, "train_flops": 0.0})
        mine["trials"] += 1
        mine["seconds"] += record.seconds
        mine["train_flops"] += record.train_flops
    if reading.confirmations:
        runs = [c.evaluation for c in reading.confirmations]
        by_outcome["confirmation"] = {
            "trials": len(runs),
            "seconds": sum(run.seconds for run in runs),
            "train_flops": sum(run.train_flops for run in runs),
        }
    violated = Counter(name for r in reading.records for name in r.violations)
    return {
        "by_outcome": by_outcome,
        "failures": [list(one) for one in reading.failures],
        "violations": [list(one) for one in violated.most_common()],
    }

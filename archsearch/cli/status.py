"""``archsearch status``: how far a campaign is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from archsearch.cli._options import AsJson, Directory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from archsearch.campaign.config import Campaign
    from archsearch.campaign.decisions import Decisions
    from archsearch.campaign.reading import Reading
    from archsearch.records import TrialRecord

_NUM_REASONS = 5


def status(directory: Directory, as_json: AsJson = False) -> None:
    """Show how far a campaign is and what failed."""
    from archsearch.campaign.reading import read
    from archsearch.cli import render

    reading = read(directory)
    facts = _facts(reading, directory)
    if as_json:
        render.print_json(facts)
    else:
        render.print_block(str(directory), _pairs(facts, reading.decisions))


def _facts(reading: Reading, directory: Path) -> dict[str, Any]:
    from archsearch.campaign.config import resume_command
    from archsearch.campaign.front import best_of
    from archsearch.campaign.lock import holder_of
    from archsearch.campaign.standing import split

    campaign, front = reading.campaign, reading.front
    references, trials = split(reading.records)
    holder = holder_of(campaign.directory)
    expected = _num_references(campaign)
    elapsed = reading.elapsed_seconds
    ending = _ending(campaign, trials, elapsed) if len(references) >= expected else ""
    outstanding = _outstanding_seeds(reading) if ending else 0
    ending = "" if outstanding else ending
    phase = "running" if holder else "finished" if ending else "stopped"
    # before there is a member, of what was trained; who is told the answers is no result
    rows = front.members or [row for row in front.dominated if not row.oracle_bias]
    best = best_of(rows)
    return {
        "name": campaign.file.name,
        "title": campaign.file.title,
        "directory": str(directory),
        "phase": phase,
        "held_by": holder,
        "ended_because": ending or None,
        "trials_done": _num_evaluated(trials),
        "trials_target": campaign.settings.trials,
        "time_budget_minutes": campaign.settings.time_budget_minutes,
        "counts": front.counts,
        "references_done": len(references),
        "references_expected": expected,
        "best_accuracy": best.accuracy if best else None,
        "best_trial": best.number if best else None,
        "front_size": len(front.members),
        "hypervolume": front.hypervolume,
        "confirmation": {
            "members": len(front.members),
            "confirmed": sum(row.confirmed for row in front.members),
            "seeds": len(reading.confirmations),
            "outstanding": outstanding,
            "winners_curse": front.winners_curse,
            "wall_seconds": reading.confirm_seconds,
        },
        "training_seconds": sum(r.seconds for r in reading.records),
        "wall_seconds": elapsed,
        "created_at": campaign.settings.created_at,
        "decisions": reading.decisions.plain(),
        "failures": [{"reason": text, "trials": n} for text, n in reading.failures],
        "resume": resume_command(directory) if phase == "stopped" else None,
    }


def _outstanding_seeds(reading: Reading) -> int:
    """Fresh seeds that a driver would train next, the search being over."""
    from archsearch.campaign.confirmation import agenda, terms_of

    settings = reading.campaign.settings
    minutes = settings.confirm_minutes
    if not settings.confirm_seeds or (
        minutes is not None and reading.confirm_seconds >= 60 * minutes
    ):
        return 0
    terms = terms_of(reading.campaign)
    return len(agenda(terms, reading.records, reading.confirmations).seeds)


def _num_references(campaign: Campaign) -> int:
    from archsearch.campaign.references import reference_designs, reference_widths

    chosen = reference_widths(campaign.file, campaign.settings.reference_widths)
    return sum(len(reference_designs(campaign.file, width)) for width in chosen)


def _num_evaluated(trials: Sequence[TrialRecord]) -> int:
    return sum(t.outcome.was_evaluated for t in trials)


def _ending(campaign: Campaign, trials: Sequence[TrialRecord], elapsed_seconds: float) -> str:
    """Why a driver would ask for nothing more; empty if it would go on."""
    from archsearch.campaign.policy import Action, SearchState, decide
    from archsearch.records import TrialOutcome

    rejected: list[TrialOutcome] = []
    for trial in sorted(trials, key=lambda t: -t.number):
        if trial.outcome not in (TrialOutcome.DUPLICATE, TrialOutcome.INFEASIBLE):
            break
        rejected.append(trial.outcome)
    minutes = campaign.settings.time_budget_minutes
    running = sum(t.outcome is TrialOutcome.RUNNING for t in trials)
    state = SearchState(
        evaluated=_num_evaluated(trials),
        target=campaign.settings.trials,
        elapsed_seconds=elapsed_seconds,
        budget_seconds=None if minutes is None else 60 * minutes,
        known_in_row=rejected.count(TrialOutcome.DUPLICATE),
        infeasible_in_row=rejected.count(TrialOutcome.INFEASIBLE),
    )
    decision = decide(state)
    return decision.reason if decision.action is Action.FINISH and not running else ""


def _pairs(facts: dict[str, Any], decisions: Decisions) -> list[tuple[str, str]]:
    from archsearch.cli._decisions import decision_pairs
    from archsearch.cli._text import accuracy, count, duration

    phase = {
        "running": f"running (held by {facts['held_by']})",
        "finished": f"finished ({facts['ended_because']})",
    }.get(facts["phase"], facts["phase"])
    target = facts["trials_target"]
    counts = ", ".join(f"{n:,} {outcome}" for outcome, n in facts["counts"].items() if n)
    pairs = [
        ("campaign", facts["name"]),
        ("title", facts["title"] or "-"),
        ("phase", phase),
        ("trials", f"{facts['trials_done']:,}" + (f" of {target:,}" if target else "")),
        ("outcomes", counts or "none yet"),
        ("references", f"{facts['references_done']} of {facts['references_expected']}"),
        ("front", count(facts["front_size"], "design")),
    ]
    pairs += _confirmation_pairs(facts["confirmation"])
    if facts["best_trial"] is not None:
        best = f"{accuracy(facts['best_accuracy'])} (trial {facts['best_trial']})"
        pairs.append(("best accuracy", best))
    if facts["hypervolume"] is not None:
        by = " (by fresh seeds where there are any)" if facts["confirmation"]["seeds"] else ""
        pairs.append(("hypervolume", f"{facts['hypervolume']:.4f}{by}"))
    spent = (
        f"{duration(facts['training_seconds'])} of training,"
        f" {duration(facts['wall_seconds'])} of driving"
    )
    pairs.append(("time", spent))
    if facts["time_budget_minutes"] is not None:
        pairs.append(("time budget", duration(60 * facts["time_budget_minutes"])))
    pairs += decision_pairs(decisions)
    for failure in facts["failures"][:_NUM_REASONS]:
        pairs.append(("failed", f"{failure['trials']} x {failure['reason']}"))
    if facts["resume"]:
        pairs.append(("continue", facts["resume"]))
    return pairs


def _confirmation_pairs(found: dict[str, Any]) -> list[tuple[str, str]]:
    from archsearch.cli._text import count, duration

    if not found["seeds"] and not found["outstanding"]:
        return []
    text = f"{found['confirmed']} of {count(found['members'], 'member')} confirmed"
    if found["winners_curse"] is not None:
        text += f", winner's curse {found['winners_curse']:.3f}"
    if found["outstanding"]:
        text += f", {count(found['outstanding'], 'seed')} outstanding"
    if found["seeds"]:
        spent = duration(found["wall_seconds"])
        text += f" ({count(found['seeds'], 'fresh seed')} in {spent})"
    return [("confirmation", text)]

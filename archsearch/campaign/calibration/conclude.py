"""All that a calibration says, in one record."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from archsearch.campaign.calibration.evidence import evidence_of
from archsearch.campaign.calibration.plan import WINDOW, CalibrationPlan, missing
from archsearch.campaign.calibration.precision import check_noise, check_rates, check_time
from archsearch.campaign.calibration.reach import shares_within_reach
from archsearch.campaign.calibration.recall import check_attention, check_convolutions, check_window
from archsearch.campaign.calibration.records import Calibration, CalibrationRun, Finding, Verdict
from archsearch.records import now_text

DECISIVE = ("attention", "conv only", "window")
"""Checks without which nobody knows whether the instrument discriminates."""


def conclude(
    plan: CalibrationPlan, runs: Iterable[CalibrationRun], *, workers: int | None = None
) -> Calibration:
    """What the runs say so far.

    Args:
        plan: Of the runs.
        runs: In any order; some may be missing.
        workers: Runs at a time in the campaign whose time is told; this machine's processors
            unless given.
    """
    runs = list(runs)
    evidence = evidence_of(plan, runs)
    reach = shares_within_reach(plan.designs[WINDOW], plan.file.task, plan.seed)
    checks = (
        check_attention(evidence),
        check_convolutions(evidence),
        check_window(evidence, reach),
        check_rates(evidence),
        check_noise(evidence),
        check_time(evidence, workers),
    )
    findings = tuple(finding for finding in checks if finding is not None)
    left = set(missing(plan, runs))
    yardstick = evidence.yardstick
    made = [e for results in evidence.results.values() for e in results]
    versions = {json.dumps(e.versions, sort_keys=True): e.versions for e in made}
    return Calibration(
        key=plan.key,
        space=plan.file.name,
        complete=not left,
        discriminates=None if left else discriminates(findings),
        seeds=plan.seeds,
        learning_rates=plan.rates,
        cells=tuple(map(str, plan.file.task.test_cells)),
        within_reach=tuple(reach),
        yardstick="" if yardstick is None else yardstick.name,
        runs=len(plan.places) - len(left),
        planned=len(plan.places),
        rows=tuple(row for name in plan.designs for row in evidence.rows[name]),
        findings=findings,
        failures=tuple(f"{r.place}: {r.problem}" for r in runs if r.place in left and r.problem),
        versions=tuple(versions[key] for key in sorted(versions)),
        finished_at=now_text(),
    )


def discriminates(findings: Sequence[Finding]) -> bool:
    """Whether every decisive check was made, and nothing speaks against the instrument."""
    made = {finding.check for finding in findings}
    return made >= set(DECISIVE) and not against(findings)


def against(findings: Iterable[Finding]) -> list[Finding]:
    """What failed; of attention a warning, too: unless it solves, nobody knows the ceiling."""
    return [
        f
        for f in findings
        if f.verdict is Verdict.FAIL or (f.check == "attention" and f.verdict is not Verdict.OK)
    ]

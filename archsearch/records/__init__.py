"""What crosses a process boundary or a disk: frozen, JSON-able, versioned plain data."""

from __future__ import annotations

from archsearch.records.base import now_text, seal, unseal
from archsearch.records.fronts import Front, FrontRow
from archsearch.records.runs import (
    CellScore,
    CurvePoint,
    DistanceBin,
    Evaluation,
    EvaluationRequest,
    Failure,
    FailureKind,
    RunOutcome,
    RunSeed,
)
from archsearch.records.trials import (
    FRESH_RUNS,
    Confirmation,
    Judgement,
    RunVerdict,
    TrialOutcome,
    TrialRecord,
    VerdictKind,
)

__all__ = [
    "FRESH_RUNS",
    "CellScore",
    "Confirmation",
    "CurvePoint",
    "DistanceBin",
    "Evaluation",
    "EvaluationRequest",
    "Failure",
    "FailureKind",
    "Front",
    "FrontRow",
    "Judgement",
    "RunOutcome",
    "RunSeed",
    "RunVerdict",
    "TrialOutcome",
    "TrialRecord",
    "VerdictKind",
    "now_text",
    "seal",
    "unseal",
]

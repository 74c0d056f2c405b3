"""The checks that say whether the instrument discriminates: attention, convolutions, a window.

Each is a function of the evidence, and says nothing before what it looks at was trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from archsearch.campaign.calibration.evidence import CLOSE_NATS, Evidence, gained
from archsearch.campaign.calibration.plan import WINDOW, CalibrationPlan
from archsearch.campaign.calibration.reach import receptive_field, share_within_reach
from archsearch.campaign.calibration.records import CalibrationRow, Finding, Verdict
from archsearch.campaign.references import CONV_ONLY, FULL_ATTENTION
from archsearch.objectives import LEAST_GAP
from archsearch.protocol import SOLVED_ACCURACY, SUCCESS_ACCURACY
from archsearch.records import Evaluation, RunOutcome
from archsearch.tasks.mqar import Cell, MQARConfig

NEARLY = 0.95
"""A worst cell that is not solved and above this is short of the budget rather than at a floor."""

CLEAR_GAP = 0.2
"""Between attention and what must fail: with less there is little room for designs in between."""

EXCESS = 0.1
"""By how much a window may recall more than it reads and guesses: noise and lucky regularities."""

_LAST_PART = 0.75
"""Where the last part of a curve begins."""


def check_attention(evidence: Evidence) -> Finding | None:
    """Whether full attention solves the task at this budget; where not, why and what to change."""
    row = evidence.yardstick
    if row is None:
        return None
    steps = evidence.plan.file.training.steps
    if row.worst_cell >= SOLVED_ACCURACY:
        text = (
            f"{row.name} solves every cell (worst {row.worst_cell:.3f}, {_seeds(row)}) after"
            f" {fmean(row.steps):.0f} of {steps} steps, at rate {row.learning_rate:g}"
        )
        return Finding(check="attention", verdict=Verdict.OK, text=text)
    if not all(map(evidence.tried, FULL_ATTENTION)):
        return None  # another rate may solve it, or the other full attention
    labels = map(str, evidence.plan.file.task.test_cells)
    short = [
        f"{label} {value:.3f}"
        for label, value in zip(labels, row.cell_accuracy, strict=True)
        if value < SOLVED_ACCURACY
    ]
    reason, proposal = _why_not_solved(evidence, row)
    verdict = Verdict.WARN if row.worst_cell >= NEARLY else Verdict.FAIL
    text = (
        f"{row.name}, the better full attention, does not solve {', '.join(short)}"
        f" ({_seeds(row)}, rate {row.learning_rate:g}): {reason}"
    )
    return Finding(check="attention", verdict=verdict, text=text, proposal=proposal)


def _seeds(row: CalibrationRow) -> str:
    return f"mean of {row.seeds} seeds" if row.seeds > 1 else "one seed"


def _why_not_solved(evidence: Evidence, row: CalibrationRow) -> tuple[str, str]:
    """The reason and a proposal."""
    plan = evidence.plan
    cells, steps = plan.file.task.cells, plan.file.training.steps
    results = evidence.results[row.name, row.learning_rate]
    if any(e.outcome is RunOutcome.DIVERGED for e in results):
        return "a seed diverged", "lower learning rates, or a longer warm-up"
    if not gained(plan, row):
        first = min(cells, key=lambda cell: (cell.length, cell.pairs))
        easier = _written(first.length // 2, max(1, first.pairs // 2))
        start = f"shorter cells to begin with, such as {easier}" if first.length >= 16 else ""
        more = f"more steps (steps: {2 * steps}) or other learning rates"
        return "nothing is learned", " or ".join(part for part in (start, more) if part)
    if row.solved == row.seeds:
        return (
            "the training cells are learned, and do not carry over to these",
            "train on cells like them (task.cells), or leave them out of test_cells",
        )
    accuracy = [fmean(e.curve[-1].accuracy[i] for e in results) for i in range(len(cells))]
    if rises(results):
        return "curves were still rising at the end", f"twice the steps (steps: {2 * steps})"
    hardest = cells[accuracy.index(min(accuracy))]
    return "curves were flat at the end", f"leave out {hardest}, or try other learning rates"


def rises(results: Sequence[Evaluation]) -> bool:
    """Whether training cells that are not learned gained in the last quarter of their curves.

    Without an earlier validation to compare with, the answer is yes: nothing says that it is over.
    """
    gains = []
    for evaluation in results:
        last = evaluation.curve[-1]
        earlier = [p for p in evaluation.curve if p.step <= _LAST_PART * last.step]
        if not earlier:
            return True
        for i, accuracy in enumerate(last.accuracy):
            if accuracy < SUCCESS_ACCURACY:
                gains.append(last.log_probability[i] - earlier[-1].log_probability[i])
    return bool(gains) and fmean(gains) >= CLOSE_NATS


# convolutions only fail


def check_convolutions(evidence: Evidence) -> Finding | None:
    """Whether convolutions only fall behind attention; where not, the instrument saturates."""
    attention, row = evidence.yardstick, evidence.best(CONV_ONLY)
    if attention is None or row is None:
        return None
    gap = attention.accuracy - row.accuracy
    text = (
        f"{CONV_ONLY} reaches {row.accuracy:.3f} where attention reaches {attention.accuracy:.3f}"
        f" (mean over the cells; worst {row.worst_cell:.3f} and {attention.worst_cell:.3f})"
    )
    if gap >= CLEAR_GAP:
        return Finding(check="conv only", verdict=Verdict.OK, text=text)
    if attention.worst_cell < NEARLY and row.worst_cell < NEARLY:
        return Finding(
            check="conv only",
            verdict=Verdict.WARN,
            text=f"{text}: both fail, so that the gap says little",
            proposal="bring attention to solve first",
        )
    verdict = Verdict.FAIL if gap < LEAST_GAP else Verdict.WARN
    return Finding(
        check="conv only",
        verdict=verdict,
        text=f"{text}: {'the cells are too easy' if gap < LEAST_GAP else 'there is little room'}",
        proposal=f"a denser or longer cell, such as {_harder(evidence.plan.file.task)}",
    )


def _harder(task: MQARConfig) -> str:
    """The longest test cell with twice the pairs, in twice the length where they have no room."""
    longest = max(task.test_cells, key=lambda cell: (cell.length, cell.pairs))
    pairs = 2 * longest.pairs
    length = longest.length if 4 * pairs <= longest.length else 2 * longest.length
    return _written(length, pairs, longest.power_a) + _vocabulary(task, length)


def _written(length: int, pairs: int, power_a: float = 0.01) -> str:
    """A cell as a campaign file has it."""
    law = "" if power_a == 0.01 else f", power_a: {power_a:g}"
    return f"{{length: {length}, pairs: {pairs}{law}}}"


def _vocabulary(task: MQARConfig, length: int) -> str:
    """What a cell of that length asks of the vocabulary, where it is too small."""
    return "" if task.vocab_size > length else f" with vocab_size: {2 ** length.bit_length()}"


# a window fails beyond its reach


def check_window(evidence: Evidence, reach: Sequence[float]) -> Finding | None:
    """Whether a window falls behind attention where keys lie further back than it reads.

    Args:
        evidence: So far.
        reach: Share of each test cell's queries whose key it can read.
    """
    attention, row = evidence.yardstick, evidence.best(WINDOW)
    if attention is None or row is None:
        return None
    cells = evidence.plan.file.task.test_cells
    tokens = receptive_field(evidence.plan.designs[WINDOW], max(c.length for c in cells))
    parts = [
        f"{cell} {value:.3f} with {share:.3f} in reach"
        for cell, value, share in zip(cells, row.cell_accuracy, reach, strict=True)
    ]
    text = f"{row.name} reads {tokens} tokens back: {', '.join(parts)}"
    both = zip(attention.cell_accuracy, row.cell_accuracy, reach, strict=True)
    # where it can read every key, what it lacks says nothing about its reach
    gap = max((a - w for a, w, share in both if share < 1 - LEAST_GAP), default=0.0)
    odd = [str(cell) for i, cell in enumerate(cells) if _exceeds(row, i, cell, reach[i])]
    if odd:
        return Finding(
            check="window",
            verdict=Verdict.WARN if gap >= CLEAR_GAP else Verdict.FAIL,
            text=f"{text}; on {', '.join(odd)} it recalls more than it can read",
            proposal="cells where the answer cannot be guessed: more pairs, or random fillers",
        )
    if gap >= CLEAR_GAP:
        return Finding(check="window", verdict=Verdict.OK, text=text)
    if attention.worst_cell < NEARLY and gap < LEAST_GAP and min(reach) < NEARLY:
        return Finding(
            check="window",
            verdict=Verdict.WARN,
            text=f"{text}; attention is no better, so that this says little",
            proposal="bring attention to solve first",
        )
    near = gap < LEAST_GAP
    return Finding(
        check="window",
        verdict=Verdict.FAIL if near else Verdict.WARN,
        text=f"{text}; {'nowhere' if near else 'hardly'} behind attention beyond its reach",
        proposal=f"keys further back, such as {_farther(evidence.plan)}",
    )


def _exceeds(row: CalibrationRow, i: int, cell: Cell, share: float) -> bool:
    """Whether a cell is recalled better than by reading what is in reach and guessing the rest."""
    return row.cell_accuracy[i] > share + (1 - share) / cell.pairs + EXCESS


def _farther(plan: CalibrationPlan) -> str:
    """The first of some cells of which the window reads at most half of the keys."""
    task = plan.file.task
    longest = max(task.test_cells, key=lambda cell: (cell.length, cell.power_a))
    design = plan.designs[WINDOW]
    length = longest.length
    while True:
        cell = Cell(length=length, pairs=longest.pairs, power_a=max(1.0, longest.power_a))
        roomy = task.model_copy(update={"vocab_size": max(task.vocab_size, 2 * length)})
        if length >= 2**20 or share_within_reach(design, roomy, cell, plan.seed) <= 0.5:
            break
        length *= 2
    return _written(length, cell.pairs, cell.power_a) + _vocabulary(task, length)

"""The checks that say how finely the instrument measures: learning rates, seeds, time."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

from archsearch.architecture import Architecture
from archsearch.campaign.calibration.evidence import CLOSE_NATS, Evidence
from archsearch.campaign.calibration.plan import WINDOW
from archsearch.campaign.calibration.records import CalibrationRow, Finding, Verdict
from archsearch.campaign.preview import TimeEstimate, preview, time_of
from archsearch.campaign.references import CONV_ONLY
from archsearch.costs import executed_flops_at
from archsearch.errors import InputError
from archsearch.objectives import LEAST_GAP
from archsearch.space import CampaignFile
from archsearch.space.schema import DEFAULT_CONFIRM_SEEDS

CONFIDENCE = 0.95

MOST_SEEDS = 100
"""That a campaign can be asked to confirm with."""

_SAMPLES = 200
"""Random designs whose prices stand for those of a campaign."""

ON_ITS_WAY = (0.2, 0.95)
"""Accuracies between having learned nothing and having solved, where seeds differ most."""

LEAST_SHOWN = 0.001
"""Where all seeds came to the cap their differences are 0, and those of designs are not."""

# learning rates


def check_rates(evidence: Evidence) -> Finding | None:
    """Whether the grid brackets the best rate of every design that learns at all."""
    plan = evidence.plan
    learned = evidence.learned
    if not any(evidence.rows.values()):
        return None
    if not learned:
        return Finding(
            check="learning rates",
            verdict=Verdict.WARN,
            text="nothing is learned at any rate, so that rates cannot be compared",
        )
    if len(plan.rates) == 1:
        return _fixed_rate(evidence)
    at_edge = {name: edge for name in learned if (edge := _edge(evidence, name)) is not None}
    best = ", ".join(f"{name} at {row.learning_rate:g}" for name, row in learned.items())
    if not at_edge:
        return Finding(check="learning rates", verdict=Verdict.OK, text=f"the best: {best}")
    wider = sorted({_next_rate(plan.rates, edge) for edge in at_edge.values()} | {*plan.rates})
    return Finding(
        check="learning rates",
        verdict=Verdict.WARN,
        text=f"the best: {best}; {', '.join(at_edge)} may do better beyond the grid",
        proposal=f"learning_rates: [{', '.join(f'{rate:g}' for rate in wider)}]",
    )


def _fixed_rate(evidence: Evidence) -> Finding:
    [rate] = evidence.plan.rates
    row = evidence.yardstick
    if row is not None and row.solved == row.seeds:
        text = f"one rate, {rate:g}, which the file fixes; full attention solves at it"
        return Finding(check="learning rates", verdict=Verdict.OK, text=text)
    return Finding(
        check="learning rates",
        verdict=Verdict.WARN,
        text=f"one rate, {rate:g}, which the file fixes; another one may be better",
        proposal="leave out training.learning_rate, so that rates race",
    )


def _edge(evidence: Evidence, name: str) -> float | None:
    """The end of the grid at which a design is best; None where the best rate is bracketed.

    So it is if the design solves at several rates, or does as well at an inner one.
    """
    rows, rates = evidence.rows[name], evidence.plan.rates
    best = evidence.best(name)
    if best is None or not evidence.tried(name) or best.learning_rate not in (rates[0], rates[-1]):
        return None
    if sum(row.solved == row.seeds for row in rows) > 1:
        return None
    others = [row for row in rows if row.learning_rate not in (rates[0], rates[-1])]
    if best.solved <= max((row.solved for row in others), default=-1) and any(
        row.log_probability >= best.log_probability - CLOSE_NATS for row in others
    ):
        return None
    return best.learning_rate


def _next_rate(rates: Sequence[float], edge: float) -> float:
    """One step beyond the grid, by its ratio there; two digits."""
    if edge == rates[0]:
        return float(f"{rates[0] ** 2 / rates[1]:.2g}")
    return float(f"{rates[-1] ** 2 / rates[-2]:.2g}")


# seeds


class Noise(NamedTuple):
    """Standard deviation of a score from seed to seed, pooled over designs.

    Attributes:
        sd: The estimate.
        low: Lower end of its 95 % interval.
        high: Its upper end.
        freedom: Degrees of freedom.
    """

    sd: float
    low: float
    high: float
    freedom: int

    def detectable(self, seeds: int) -> float:
        """The least difference between two designs of so many seeds each that is no noise, 95 %.

        By Student's t; never below 0.
        """
        from scipy.special import stdtrit

        quantile = float(stdtrit(self.freedom, 0.5 + CONFIDENCE / 2))
        return quantile * self.sd * math.sqrt(2 / seeds)


def noise_of(scores: Sequence[Sequence[float]]) -> Noise | None:
    """Pools the variances of some designs' scores; None while none has two seeds."""
    # scipy.stats has the quantiles by name, and takes half a second more to import
    from scipy.special import chdtri

    several = [values for values in scores if len(values) > 1]
    freedom = sum(len(values) - 1 for values in several)
    if not freedom:
        return None
    squares = math.fsum((v - fmean(values)) ** 2 for values in several for v in values)
    tail = (1 - CONFIDENCE) / 2
    low, high = (math.sqrt(squares / float(chdtri(freedom, p))) for p in (tail, 1 - tail))
    return Noise(math.sqrt(squares / freedom), low, high, freedom)


def check_noise(evidence: Evidence) -> Finding | None:
    """How far scores move from seed to seed, and what differences can be told apart."""
    plan = evidence.plan
    best = [row for name in plan.designs if (row := evidence.best(name)) is not None]
    if not best:
        return None
    noise = noise_of([row.scores for row in best])
    if noise is None:
        text = "one seed each tells nothing of the noise"
        return Finding(
            check="seeds", verdict=Verdict.WARN, text=text, proposal="calibrate with --seeds 2"
        )
    confirm = plan.file.search.confirm_seeds or DEFAULT_CONFIRM_SEEDS
    one, several = noise.detectable(1), noise.detectable(confirm)
    parts = [
        f"{row.name} {statistics.stdev(row.scores):.3f}" for row in best if len(row.scores) > 1
    ]
    low, high = (f"{max(value, LEAST_SHOWN):.3f}" for value in (several, one))
    text = (
        f"standard deviation {noise.sd:.3f} (95%: {noise.low:.3f} to {noise.high:.3f},"
        f" {noise.freedom} degrees of freedom; {', '.join(parts)}): two designs are told apart from"
        f" {high} on with 1 seed each, from {low} on with {confirm}"
    )
    if several <= LEAST_GAP:
        return _calm(best, text)
    gap = _gap(evidence)
    hopeless = gap is not None and several >= gap
    needed = math.ceil(confirm * (several / LEAST_GAP) ** 2)
    more = f"confirm_seeds: {needed}" if needed <= MOST_SEEDS else "more steps: scores still jump"
    return Finding(
        check="seeds",
        verdict=Verdict.FAIL if hopeless else Verdict.WARN,
        text=text + ("; attention and convolutions lie no further apart" if hopeless else ""),
        proposal=f"{more}, to tell {LEAST_GAP:g} apart" if needed <= MOST_SEEDS else more,
    )


def _calm(best: Sequence[CalibrationRow], text: str) -> Finding:
    """Little noise, if it was measured where there is any.

    A design that solves or learns nothing does so with each seed, and a window's score is its
    reach; of one in between, one seed may solve what the next one misses.
    """
    low, high = ON_ITS_WAY
    if any(low < row.accuracy < high for row in best if row.name != WINDOW):
        return Finding(check="seeds", verdict=Verdict.OK, text=text)
    return Finding(
        check="seeds",
        verdict=Verdict.WARN,
        text=f"{text}; but these solve, learn nothing, or recall what they can reach: a design on"
        " its way may vary far more",
        proposal="believe a front once fresh seeds agree (archsearch confirm)",
    )


def _gap(evidence: Evidence) -> float | None:
    attention, floor = evidence.yardstick, evidence.best(CONV_ONLY)
    if attention is None or floor is None:
        return None
    return attention.accuracy - floor.accuracy


# time


class Pace(NamedTuple):
    """Seconds of a training step, validations included: ``base`` and so many for each FLOP."""

    base: float
    per_flop: float

    def seconds(self, flops: float) -> float:
        """Of a step that computes so many."""
        return self.base + self.per_flop * flops


def pace_of(points: Sequence[tuple[float, float]]) -> Pace:
    """The line through (FLOPs, seconds) of the measured designs, neither part of it below 0."""
    x, y = [flops for flops, _ in points], [seconds for _, seconds in points]
    spread = math.fsum((a - fmean(x)) ** 2 for a in x)
    if not spread:
        return Pace(0.0, fmean(y) / fmean(x))
    slope = math.fsum((a - fmean(x)) * (b - fmean(y)) for a, b in points) / spread
    base = fmean(y) - slope * fmean(x)
    if slope < 0:
        return Pace(fmean(y), 0.0)
    if base < 0:
        return Pace(0.0, math.fsum(a * b for a, b in points) / math.fsum(a * a for a in x))
    return Pace(base, slope)


def step_flops(file: CampaignFile, design: Architecture) -> float:
    """Forward FLOPs of a training step, head included, mean over the training cells."""
    head = 2 * file.task.vocab_size * design.d_model
    return fmean(
        file.training.batch_sequences(cell.length)
        * (executed_flops_at(design, cell.length) + head * cell.pairs)
        for cell in file.task.cells
    )


def check_time(evidence: Evidence, workers: int | None = None) -> Finding | None:
    """How long the campaign of the file takes, from the seconds that were measured.

    Args:
        evidence: So far.
        workers: Runs at a time; this machine's processors unless given.
    """
    plan, file = evidence.plan, evidence.plan.file
    points = []
    for name, rows in evidence.rows.items():
        paces = [row.seconds_per_step for row in rows if row.seconds_per_step is not None]
        if paces:
            # the median, for a worker's first run is slower
            points.append((step_flops(file, plan.designs[name]), statistics.median(paces)))
    if not points:
        return None
    try:
        space = preview(file, num_samples=_SAMPLES)
    except InputError as error:
        return Finding(check="time", verdict=Verdict.WARN, text=error.problems[0])
    pace, steps = pace_of(points), file.training.steps
    cheap, median, dear = (steps * pace.seconds(step_flops(file, p.design)) for p in space.extremes)
    return _time_finding(file, time_of(file, space, (cheap, median, dear), workers=workers))


def _time_finding(file: CampaignFile, times: TimeEstimate) -> Finding:
    trials, minutes = file.search.trials, file.search.time_budget_minutes
    references, trial = times.references, times.mean / times.workers
    runners = "1 worker" if times.workers == 1 else f"{times.workers} workers"
    cheap, _, dear = times.trials
    detail = (
        f"{references} references included, confirmation not; a design takes"
        f" {duration(cheap)} to {duration(dear)}, less if solved or stopped; estimated"
        " from the FLOPs of these references: recurrences take longer"
    )
    if minutes is None:
        assert trials is not None
        total = (references + trials) * trial
        text = f"a campaign of {trials} trials takes about {duration(total)} with {runners}"
        return Finding(check="time", verdict=Verdict.OK, text=f"{text} ({detail})")
    fits = max(0, math.floor(60 * minutes / trial) - references)
    text = f"about {fits} trials fit into {minutes:g} minutes with {runners}"
    if fits >= (trials or 1):
        return Finding(check="time", verdict=Verdict.OK, text=f"{text} ({detail})")
    needed = math.ceil((references + (trials or 1)) * trial / 60)
    return Finding(
        check="time",
        verdict=Verdict.WARN,
        text=f"{text}, fewer than {trials or 1} ({detail})",
        proposal=f"time_budget_minutes: {needed}",
    )


def duration(seconds: float) -> str:
    """To two digits, in the unit that suits."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{float(f'{seconds / size:.2g}'):g} {unit}"
    return f"{float(f'{seconds:.2g}'):g} s"

"""What a campaign would search, and at what price, before anything is trained."""

from __future__ import annotations

import math
import os
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from archsearch.architecture import Architecture
from archsearch.campaign.feasibility import INVALID, priced, violations
from archsearch.campaign.policy import rungs
from archsearch.campaign.references import reference_designs, reference_widths
from archsearch.canonical import campaign_key, has_oracle
from archsearch.costs import Price
from archsearch.errors import InputError
from archsearch.space import CampaignFile, RandomSuggest

NUM_SAMPLES = 1000
LEAST_SHARE = 0.01
"""Below this share of feasible designs the search wastes its proposals: a warning."""

CONTENDERS = 12
"""Designs on a front or near it, for estimates: how many there will be is what is searched for."""

_METRICS = ("flops", "flops_executed", "params", "state_floats")


class Priced(NamedTuple):
    """A design and its price."""

    design: Architecture
    price: Price


class Spread(NamedTuple):
    """Of one price among the feasible samples."""

    low: float
    median: float
    high: float


class Refusal(NamedTuple):
    """How a constraint bears on the samples.

    Attributes:
        constraint: Its text, or what stands for designs that cannot be built.
        refused: Samples that violate it.
        refused_alone: Those that violate nothing else.
        least: The smallest violation seen, relative to the limit.
    """

    constraint: str
    refused: int
    refused_alone: int
    least: float


class TimeEstimate(NamedTuple):
    """Seconds on this machine if one run of each design spends its whole budget.

    The others of its race spend the first rung. Solved and stopped designs take less.

    Attributes:
        trials: Of the cheapest, the median and the dearest feasible sample, in that order.
        trial: Of the median one.
        references: Number of reference runs.
        workers: Runs at a time.
        campaign: All references and trials; None without a number of trials or a time budget.
        confirmation: Fresh seeds of the references and of ``CONTENDERS`` designs, afterwards.
    """

    trials: tuple[float, float, float]
    trial: float
    references: int
    workers: int
    campaign: float | None
    confirmation: float

    @property
    def mean(self) -> float:
        """Of a trial: the median twice, for most designs lie near it."""
        cheap, median, dear = self.trials
        return (cheap + 2 * median + dear) / 4


class Preview(NamedTuple):
    """A space, as 1,000 random designs show it.

    Attributes:
        size: Assignments of the parameters; inf if one of them is continuous.
        num_samples: Designs drawn.
        num_feasible: Those that may be trained.
        num_distinct: Different designs among the feasible ones.
        refusals: The most refusing constraint first.
        spreads: Prices by metric, of the feasible samples.
        growth: Feasible samples by growth class, slowest first.
        examples: Some feasible designs, cheapest first.
        extremes: The cheapest, the median and the dearest feasible sample.
        references: Reference designs by name, at the default width.
        warnings: One sentence each.
    """

    size: int | float
    num_samples: int
    num_feasible: int
    num_distinct: int
    refusals: tuple[Refusal, ...]
    spreads: dict[str, Spread]
    growth: dict[str, int]
    examples: tuple[Priced, ...]
    extremes: tuple[Priced, Priced, Priced]
    references: dict[str, Priced]
    warnings: tuple[str, ...]


def preview(
    file: CampaignFile, *, num_samples: int = NUM_SAMPLES, num_examples: int = 5
) -> Preview:
    """Draws random designs, prices them and checks them against the constraints.

    Raises:
        InputError: None of them may be trained; the message names the tightest constraint. Or a
            reference cannot be built.
    """
    # all that will be trained, so that what cannot be built is refused before it begins
    chosen = reference_widths(file, file.search.reference_widths)
    references = [reference_designs(file, width) for width in chosen]
    generator = np.random.default_rng(file.search.seed)
    feasible: list[Priced] = []
    violated: list[dict[str, float]] = []
    for _ in range(num_samples):
        design, cost, found = violations(file, file.space.sample(RandomSuggest(generator)))
        too_much = {name: value for name, value in found.items() if value > 0}
        if design is None or cost is None or too_much:
            violated.append(too_much)
        else:
            feasible.append(Priced(design, cost))
    refusals = _refusals(violated)
    if not feasible:
        raise InputError(_nothing_feasible(file, num_samples, refusals))
    feasible.sort(key=lambda p: (p.price.flops, p.design.digest))
    n_max = file.task.longest_test_length
    distinct = {campaign_key(p.design, n_max): p for p in reversed(feasible)}
    different = sorted(distinct.values(), key=lambda p: (p.price.flops, p.design.digest))
    return Preview(
        size=file.space.size(),
        num_samples=num_samples,
        num_feasible=len(feasible),
        num_distinct=len(distinct),
        refusals=refusals,
        spreads={
            metric: _spread([getattr(p.price, metric) for p in feasible]) for metric in _METRICS
        },
        growth=_growth(feasible),
        examples=tuple(_evenly(different, num_examples)),
        extremes=(feasible[0], feasible[len(feasible) // 2], feasible[-1]),
        references={
            name: Priced(design, priced(file, design)) for name, design in references[0].items()
        },
        warnings=(
            *_warnings(len(feasible), num_samples, refusals),
            *_oracle_warnings(file, feasible),
        ),
    )


def _refusals(violated: Sequence[dict[str, float]]) -> tuple[Refusal, ...]:
    refused = Counter(name for found in violated for name in found)
    alone = Counter(name for found in violated if len(found) == 1 for name in found)
    least: dict[str, float] = {}
    for found in violated:
        for name, value in found.items():
            least[name] = min(value, least.get(name, math.inf))
    rows = [Refusal(name, refused[name], alone[name], least[name]) for name in refused]
    return tuple(sorted(rows, key=lambda r: (-r.refused, -r.refused_alone, -r.least, r.constraint)))


def _nothing_feasible(file: CampaignFile, num_samples: int, refusals: Sequence[Refusal]) -> str:
    tightest = refusals[0]
    if tightest.constraint == INVALID:
        reason = f"{tightest.refused:,} cannot be built (do all num_heads divide d_model?)"
        advice = "change the mixers' options"
    else:
        reason = (
            f"the tightest constraint is '{tightest.constraint}', violated by"
            f" {tightest.refused:,} of them, by {100 * tightest.least:.3g}% at least"
        )
        advice = "loosen it, or add cheaper mixers"
    found = f"no feasible architecture found in {num_samples:,} samples"
    return f"{file.name}: {found}; {reason}; {advice}"


def _warnings(num_feasible: int, num_samples: int, refusals: Sequence[Refusal]) -> tuple[str, ...]:
    if num_feasible >= LEAST_SHARE * num_samples:
        return ()
    return (
        f"only {num_feasible} of {num_samples:,} random designs are feasible;"
        f" '{refusals[0].constraint}' refuses most of the others",
    )


def _oracle_warnings(file: CampaignFile, feasible: Sequence[Priced]) -> tuple[str, ...]:
    told = sum(has_oracle(p.design) for p in feasible)
    if file.search.oracles or not told:
        return ()
    return (
        f"{told:,} of {len(feasible):,} feasible designs are told where the answers are; they are"
        " trained, and are no members of the front: leave that mixer out, or say"
        " search: {oracles: true}",
    )


def _spread(values: Sequence[float]) -> Spread:
    return Spread(min(values), statistics.median(values), max(values))


def _growth(feasible: Iterable[Priced]) -> dict[str, int]:
    classes = Counter(p.price.growth_class for p in feasible)
    return {str(growth): classes[growth] for growth in sorted(classes)}


def _evenly(items: Sequence[Priced], count: int) -> list[Priced]:
    """From the cheapest to the dearest, in equal strides."""
    if count <= 0:
        return []
    if len(items) <= count:
        return list(items)
    if count == 1:
        return [items[len(items) // 2]]
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


_GO_ON = 1.2
"""What ties and audits add to a race where one run goes on, less what stops save (on the recorded
spaces)."""


def race_length(file: CampaignFile) -> float:
    """Of a trial, in whole runs."""
    first = rungs(file.training, file.search.rungs)[0] / file.training.steps
    alone = 1 + (len(file.search.learning_rates) - 1) * first
    return alone * _GO_ON if alone > 1 and first < 1 else alone


def num_workers() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def estimate_time(
    file: CampaignFile, found: Preview, *, workers: int | None = None
) -> TimeEstimate:
    """Trains the cheapest, the median and the dearest sample for a few steps each.

    Args:
        file: The campaign.
        found: Its preview.
        workers: Runs at a time; this machine's processors unless given.
    """
    from archsearch.estimate import trial_seconds

    known: dict[str, float] = {}
    for sample in found.extremes:
        if sample.design.digest not in known:
            known[sample.design.digest] = trial_seconds(sample.design, file.task, file.training)
    cheap, median, dear = (known[sample.design.digest] for sample in found.extremes)
    return time_of(file, found, (cheap, median, dear), workers=workers)


def time_of(
    file: CampaignFile,
    found: Preview,
    run_seconds: tuple[float, float, float],
    *,
    workers: int | None = None,
) -> TimeEstimate:
    """What a campaign takes, if a whole run takes so long.

    Args:
        file: The campaign.
        found: Its preview.
        run_seconds: Of the cheapest, the median and the dearest sample.
        workers: Runs at a time; this machine's processors unless given.
    """
    workers = workers or num_workers()
    chosen = reference_widths(file, file.search.reference_widths)
    references = len(chosen) * len(found.references)
    confirmation = file.search.confirm_seeds * (references + CONTENDERS) * run_seconds[1] / workers
    if file.search.confirm_minutes is not None:
        confirmation = min(confirmation, 60 * file.search.confirm_minutes)
    race = race_length(file)
    cheap, median, dear = (race * seconds for seconds in run_seconds)
    times = TimeEstimate((cheap, median, dear), median, references, workers, None, confirmation)
    limits = []
    if file.search.trials is not None:
        limits.append((references + file.search.trials) * times.mean / workers)
    if file.search.time_budget_minutes is not None:
        limits.append(60 * file.search.time_budget_minutes)
    return times._replace(campaign=min(limits, default=None))

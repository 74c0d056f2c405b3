"""What is to be run to calibrate a space, and under which key the results are kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from archsearch.architecture import Architecture
from archsearch.campaign.calibration.records import CalibrationRun, Place
from archsearch.campaign.dispatch import WorkerSettings
from archsearch.campaign.references import CONV_ONLY, FULL_ATTENTION, usual_designs, widths
from archsearch.campaign.runs import whole_run
from archsearch.records import EvaluationRequest
from archsearch.space import CampaignFile

WINDOW = "short conv + window"
"""The reference that must fail where a key lies further back than it reads."""

DESIGNS = (*FULL_ATTENTION, CONV_ONLY, WINDOW)

DEFAULT_SEEDS = 2

SEED = 0
"""Of all random streams of a calibration. Not the search's: what is learned here is about cells and
budget, and another campaign seed makes them no others."""

KEY_DIGITS = 12


class CalibrationPlan(NamedTuple):
    """What is to be run.

    Attributes:
        file: The campaign file.
        designs: The references by name, at the default width.
        seeds: Of each design at each rate.
        seed: Of all random streams.
    """

    file: CampaignFile
    designs: dict[str, Architecture]
    seeds: int = DEFAULT_SEEDS
    seed: int = SEED

    @property
    def rates(self) -> tuple[float, ...]:
        """Learning rates, lowest first; one where the file fixes it."""
        return self.file.search.learning_rates

    @property
    def key(self) -> str:
        """Of all that the runs depend on: spaces that train and test alike share it.

        The number of seeds is not in it, so that more can be added.
        """
        decisive = {
            "schema": 1,
            "task": self.file.task.model_dump(mode="json"),
            "training": self.file.training.model_dump(mode="json", exclude={"learning_rate"}),
            "rates": self.rates,
            "designs": {name: design.digest for name, design in self.designs.items()},
            "seed": self.seed,
        }
        text = json.dumps(decisive, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:KEY_DIGITS]

    @property
    def places(self) -> tuple[Place, ...]:
        """All runs, in the order in which they are begun.

        Seed by seed: what is interrupted has seen every design.
        """
        return tuple(
            Place(name, rate, seed)
            for seed in range(self.seeds)
            for name in self.designs
            for rate in self.rates
        )

    def request(self, place: Place, worker: WorkerSettings) -> EvaluationRequest:
        """The run's request; rates of a design share weights and batches: they can be compared."""
        design = self.designs[place.name]
        return whole_run(self.file, design, place.learning_rate, (self.seed, place.seed), worker)


def plan_of(file: CampaignFile, *, seeds: int = DEFAULT_SEEDS) -> CalibrationPlan:
    """What calibrates a space."""
    designs = usual_designs(file, widths(file)[0])
    return CalibrationPlan(file, {name: designs[name] for name in DESIGNS}, seeds)


def missing(plan: CalibrationPlan, runs: Iterable[CalibrationRun]) -> Iterator[Place]:
    """What is to be run still, what failed before included."""
    done = {run.place for run in runs if run.result is not None}
    return (place for place in plan.places if place not in done)

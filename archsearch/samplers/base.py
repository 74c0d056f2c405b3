"""How a sampler's proposals are made repeatable.

A seeded sampler that lives through a campaign repeats itself after a restart. Here a fresh sampler
is made for every draw, seeded by (campaign seed, trial number, parameter name): what a trial draws
depends on its number and on the trials told before, and on nothing that a restart could lose.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import optuna
from optuna.samplers import BaseSampler

from archsearch.architecture import Architecture, Scalar


class Prospect(NamedTuple):
    """A design that is looked at before it is proposed.

    Attributes:
        params: What it was asked, and answered.
        design: In canonical form.
        key: The same for designs that are the same to the campaign.
        is_new: Whether it may be trained: it satisfies the constraints and no earlier trial has it.
        was_stopped: Whether its trial was ended early: what was told of it is a lower bound.
        cost: The second objective as a number to minimise; known without training.
    """

    params: dict[str, Scalar]
    design: Architecture
    key: str
    is_new: bool
    was_stopped: bool
    cost: float


Look = Callable[[Mapping[str, Scalar], np.random.Generator], Prospect | None]
"""Builds and prices the design of some answers; the others are drawn.

None if it cannot be built.
"""


class SamplerFactory(Protocol):
    """Makes samplers without history."""

    def __call__(self, seed: int, look: Look | None = None) -> BaseSampler:
        """A sampler.

        Args:
            seed: Of all that it draws; below 2^32.
            look: For those that look at designs; without it they do as well as they can.
        """


def draw_seed(campaign_seed: int, number: int, name: str) -> int:
    """Seed of one draw: the same in every process."""
    text = f"{campaign_seed}/{number}/{name}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:4], "big")


class TrialSuggest:
    """Draws parameters for one trial; satisfies ``space.Suggest``.

    Args:
        trial: A running trial; parameters that it already has are kept.
        study: The trial's study.
        create: Makes a sampler from a seed.
        campaign_seed: Seed of the campaign.
        look: At designs, before one is proposed.
    """

    def __init__(
        self,
        trial: optuna.Trial,
        study: optuna.Study,
        create: SamplerFactory,
        campaign_seed: int,
        look: Look | None = None,
    ) -> None:
        self._trial = trial
        self._study = study
        self._create = create
        self._campaign_seed = campaign_seed
        self._look = look
        # what is drawn jointly is drawn now, under a seed of its own
        self._reseed("")
        _ = trial.relative_params

    def _reseed(self, name: str) -> None:
        seed = draw_seed(self._campaign_seed, self._trial.number, name)
        self._study.sampler = self._create(seed, self._look)

    def categorical(self, name: str, choices: Sequence[Scalar]) -> Scalar:
        """One of the choices."""
        self._reseed(name)
        value = self._trial.suggest_categorical(name, choices)
        assert value is not None
        return value

    def integer(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """A whole number between the bounds, both included."""
        self._reseed(name)
        return self._trial.suggest_int(name, low, high, step=step, log=log)

    def floating(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """A number between the bounds."""
        self._reseed(name)
        return self._trial.suggest_float(name, low, high, step=step, log=log)

"""Evolution that looks before it trains: of many mutants, the one that promises the most.

Children are bred as by ``structural``, some are drawn uniformly. All are built and priced, which
takes milliseconds where training takes minutes. A Gaussian process over designs says what accuracy
to expect of each, as in surrogate-assisted architecture search (White et al. 2021, arXiv
1910.11858); the price need not be guessed. The child of the greatest expected gain of hypervolume
(Emmerich et al. 2006), which has a closed form where the price is known, is proposed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import optuna
from optuna.trial import FrozenTrial
from scipy.special import ndtr

from archsearch.samplers._draft import Params
from archsearch.samplers._features import Features, features, matrix
from archsearch.samplers._process import Floats, likeliest, posterior
from archsearch.samplers._seen import Seen, seen
from archsearch.samplers.base import Look, Prospect
from archsearch.samplers.structural import StructuralSampler

RANDOM_TRIALS: Final = 10
"""Drawn uniformly before anything is modelled."""
BRED: Final = 32
"""Children to choose from."""
DRAWN: Final = 96
"""Uniform draws to choose from beside them."""
MODELLED: Final = 256
"""Trials that the process is fitted to at most: those near the front and the latest."""
UNFINISHED: Final = 64
"""Trials under way that are minded at most: the latest."""
LEAST_CARE: Final = 1 / 8
"""With more under way fewer designs are looked at and fewer trials modelled, down to this share:
an ask must be quick when a thousand workers wait for one."""


class SurrogateSampler(StructuralSampler):
    """Proposes the child that is expected to add most to the front.

    Without a way to look at designs it chooses as its base does.

    Args:
        seed: Of all that is drawn; below 2^32.
        look: Builds and prices a design that is not proposed yet.
    """

    random_trials = RANDOM_TRIALS

    def __init__(self, seed: int, look: Look | None) -> None:
        super().__init__(seed)
        self._look = look

    def _chosen(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        parents: Sequence[FrozenTrial],
        breed: Callable[[], Params],
        rng: np.random.Generator,
    ) -> Params:
        """The child, or uniform draw, that promises the most."""
        if self._look is None:
            return super()._chosen(study, trial, parents, breed, rng)
        past = seen(study)
        care = _care(len(past.unfinished(trial.number)))
        cache = _designs.setdefault(study, {})
        modelled = round(care * MODELLED)
        known = _Known(past, trial.number, cache, self._look, parents, modelled)
        prospects = _prospects(self._look, breed, rng, care)
        if not known.told:
            # the first will do, and is quick: a thousand workers wait for their first designs
            first = next(prospects, None)
            return {} if first is None else first.params
        found = list(prospects)
        return found[int(np.argmax(known.gains(found)))].params if found else {}


def _care(unfinished: int) -> float:
    """The share of designs that are looked at, and of trials that are modelled."""
    return max(LEAST_CARE, min(1.0, UNFINISHED / max(unfinished, 1)))


def _prospects(
    look: Look, breed: Callable[[], Params], rng: np.random.Generator, care: float
) -> Iterator[Prospect]:
    """Different designs that may be trained and were not."""
    keys: set[str] = set()
    bred, drawn = round(care * BRED), round(care * DRAWN)
    for i in range(bred + drawn):
        prospect = look(breed() if i < bred else {}, rng)
        if prospect is not None and prospect.is_new and prospect.key not in keys:
            keys.add(prospect.key)
            yield prospect


class _Design(NamedTuple):
    """A design that was proposed.

    Attributes:
        was_stopped: Whether what was told of it is only a lower bound of its accuracy.
    """

    features: Features
    cost: float
    was_stopped: bool


_designs: WeakKeyDictionary[optuna.Study, dict[tuple[int, bool], _Design]] = WeakKeyDictionary()


class _Known:
    """What the trials before one say of designs.

    Args:
        past: The study.
        number: Of the trial.
        cache: Designs by trial, and by whether it had ended.
        look: Makes those that are missing.
        foremost: Trials that are to be among those modelled.
        modelled: How many are, at most.
    """

    def __init__(
        self,
        past: Seen,
        number: int,
        cache: dict[tuple[int, bool], _Design],
        look: Look,
        foremost: Sequence[FrozenTrial],
        modelled: int,
    ) -> None:
        self._past, self._cache, self._look = past, cache, look
        losses = past.losses(number)
        designs = self._designs(islice(self._feasible(losses, foremost), modelled))
        self.told = [d for d in designs.values() if not d.was_stopped]
        self._losses = np.array([losses[i, 0] for i, d in designs.items() if not d.was_stopped])
        self._stopped = [d for d in designs.values() if d.was_stopped]
        running = self._designs(past.unfinished(number)[-UNFINISHED:])
        self._running = list(running.values())

    def _feasible(self, losses: Floats, foremost: Sequence[FrozenTrial]) -> Iterator[int]:
        """Complete trials, the foremost first, then the latest."""
        latest = np.flatnonzero(np.isfinite(losses).all(axis=1))[::-1].tolist()
        numbers = dict.fromkeys([trial.number for trial in foremost] + latest)
        return (
            i for i in numbers if max(self._past.trials[i].constraints.values(), default=0.0) <= 0
        )

    def _designs(self, numbers: Iterable[int]) -> dict[int, _Design]:
        """By trial; without what cannot be built, which may wait for being told so."""
        found = {i: self._design(self._past.trials[i]) for i in numbers}
        return {i: design for i, design in found.items() if design is not None}

    def _design(self, trial: FrozenTrial) -> _Design | None:
        place = trial.number, trial.state.is_finished()
        if place not in self._cache:
            found = self._look(trial.params, np.random.default_rng(0))
            if found is None:
                return None
            self._cache[place] = _Design(features(found.design), found.cost, found.was_stopped)
        return self._cache[place]

    def gains(self, prospects: Sequence[Prospect]) -> Floats:
        """Expected gain of hypervolume of each, (n,).

        Trials under way count with the accuracy that is expected of them. So do stopped ones, but
        with none that would add to the front: that is why they were stopped.
        """
        unsure = [*self._stopped, *self._running]
        x = matrix(
            [
                *(d.features for d in [*self.told, *unsure]),
                *(features(p.design) for p in prospects),
            ]
        )
        told, known = len(self.told), len(self.told) + len(unsure)
        cost = np.array([d.cost for d in [*self.told, *unsure]])
        kernel = likeliest(x[:told], self._losses)
        expected, _ = posterior(kernel, x[:told], self._losses, x[told:known])
        for i in range(len(self._stopped)):
            cheaper = self._losses[cost[:told] <= cost[told + i]]
            expected[i] = max(expected[i], cheaper.min(initial=self._losses.max()))
        losses = np.append(self._losses, expected)
        mean, deviation = posterior(kernel, x[:known], losses, x)
        return expected_gains(
            mean[known:],
            deviation[known:],
            np.array([p.cost for p in prospects]),
            np.column_stack([mean[:known], cost]),
        )


def expected_gains(mean: Floats, deviation: Floats, cost: Floats, known: Floats) -> Floats:
    """By how much the hypervolume is expected to grow with a point of known cost, normal loss.

    What a loss L at a cost c adds is the integral over all costs beyond c of how far L is below the
    least known loss there, a staircase: a sum of expected improvements (Jones et al. 1998), each
    times the width of its stair. It is bounded by the greatest loss known and the greatest cost.

    Args:
        mean: (n,), of the losses.
        deviation: (n,), of the losses.
        cost: (n,), to be minimised.
        known: (k, 2), losses and costs, k at least 1.

    Returns:
        (n,).
    """
    known = known[np.argsort(known[:, 1], kind="stable")]
    stairs = np.append(known[0, 0], np.minimum.accumulate(known[:, 0]))
    stairs[0] = known[:, 0].max()
    end = max(known[-1, 1], cost.max())
    edges = np.concatenate([[-np.inf], known[:, 1], [end]])
    width = np.maximum(edges[1:] - np.maximum(edges[:-1], cost[:, None]), 0.0)
    deviation = np.maximum(deviation, 1e-9)[:, None]
    scaled = (stairs - mean[:, None]) / deviation
    density = np.exp(-(scaled**2) / 2) / math.sqrt(2 * math.pi)
    improvement = deviation * (density + scaled * ndtr(scaled))
    gains: Floats = (width * improvement).sum(axis=1)
    return gains


def create(seed: int, look: Look | None = None) -> SurrogateSampler:
    """A surrogate-assisted sampler; it keeps nothing between draws."""
    return SurrogateSampler(seed, look)


SAMPLER = create

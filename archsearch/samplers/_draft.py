"""A trial's parameters read as a stack of layers, and what a designer would change about it.

A space asks for ``depth``, ``layer0.placed.sequence``, ``positions[depth=3,count=1]`` and the like;
those names say which parameters belong to one layer and which layers are placed. Names that follow
no such pattern are parameters of the stack as a whole, so that any space can be drafted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

Params = dict[str, Any]
Space = Mapping[str, BaseDistribution]

WEIGHTS: Final = {"mixer": 3, "option": 3, "placement": 2, "stack": 2}
"""How often which kind of thing is changed, where there are all four."""

_LAYERED: Final = re.compile(r"(layer|attention_at)(\d+)(.*)")
_POSITIONS: Final = re.compile(r"positions\[depth=(\d+),count=(\d+)\]")
_PLACEMENT: Final = re.compile(r"attention_|every$|offset\[|rule$")
_MIXER: Final = re.compile(r"preset$|.*\.(sequence|channel|mixer)$")


@dataclass
class Draft:
    """A design on its way from one trial to another; what is not known of it is not in it.

    Attributes:
        stack: Parameters of the stack as a whole.
        layers: Parameters of each layer; in their names ``*`` stands for the layer.
        placed: Layers that a parameter ``positions[...]`` names, if there is one.
        spare: The layers of its parents, as homologues for what got lost on the way.
    """

    stack: Params
    layers: list[Params]
    placed: frozenset[int] | None
    spare: list[Params]

    @classmethod
    def read(cls, params: Mapping[str, Any]) -> Draft:
        """What a trial's parameters describe."""
        stack: Params = {}
        layers: dict[int, Params] = {}
        placed = None
        depth = 0
        # storages may return names in any order, and draws are made name by name
        for name in sorted(params):
            template, layer = _split(name)
            if layer is not None:
                layers.setdefault(layer, {})[template] = params[name]
            elif found := _POSITIONS.fullmatch(name):
                placed = _subset(params[name])
                depth = int(found[1])
            else:
                stack[name] = params[name]
        if isinstance(stack.get("depth"), int):
            depth = stack["depth"]
        depth = max(depth, 1 + max(layers, default=-1))
        found_layers = [layers.get(i, {}) for i in range(depth)]
        return cls(stack, found_layers, placed, [dict(layer) for layer in found_layers])

    def params(self, space: Space, rng: np.random.Generator) -> Params:
        """A value for every name of the space that the draft has one for.

        A name that it lacks, because a layer moved or the stack grew, takes the value of its
        homologue: the same name at the nearest layer that has it.
        """
        found: Params = {}
        for name, distribution in space.items():
            for value in self._candidates(name, distribution, rng):
                if _fits(distribution, value):
                    found[name] = value
                    break
        return found

    def _candidates(
        self, name: str, distribution: BaseDistribution, rng: np.random.Generator
    ) -> Iterator[Any]:
        template, layer = _split(name)
        if layer is not None:
            for layers in (self.layers, self.spare):
                for i in sorted(range(len(layers)), key=lambda i: abs(i - layer)):
                    if template in layers[i]:
                        yield layers[i][template]
        elif name in self.stack:
            yield self.stack[name]
        elif found := _POSITIONS.fullmatch(name):
            depth, count = int(found[1]), int(found[2])
            asked = (
                self.stack.get("depth", depth) == depth
                and self.stack.get("attention_count", count) == count
            )
            if asked and self.placed is not None:
                assert isinstance(distribution, CategoricalDistribution)
                yield _nearest_subset(self.placed, distribution.choices, rng)
        elif "[" in name:
            # the same question on another condition: offset[every=2], offset[every=3]
            stem = name[: name.index("[") + 1]
            yield from (value for other, value in self.stack.items() if other.startswith(stem))

    def cross(self, other: Draft, rng: np.random.Generator) -> None:
        """Takes about half of the layers from another draft."""
        self.spare += other.spare
        for i in range(min(len(self.layers), len(other.layers))):
            if rng.random() < 0.5:
                self.layers[i] = dict(other.layers[i])

    def mutate(self, space: Space, rng: np.random.Generator) -> None:
        """Makes one change: of a mixer, an option, the placement, or the stack as a whole.

        Args:
            space: What may be changed; at least two values each.
            rng: The only source of randomness.
        """
        by_kind: dict[str, list[str]] = {kind: [] for kind in WEIGHTS}
        for name in [*self.stack, *self._layer_names()]:
            if name in space:
                by_kind[_kind(name)].append(name)
        swaps = self._swaps()
        kinds = [kind for kind in WEIGHTS if by_kind[kind] or (kind == "placement" and swaps)]
        if not kinds:
            return
        weights = np.array([WEIGHTS[kind] for kind in kinds], dtype=float)
        kind = kinds[rng.choice(len(kinds), p=weights / weights.sum())]
        names = by_kind[kind]
        if kind == "placement" and swaps and (not names or rng.random() < 0.5):
            self._swap(*swaps[rng.integers(len(swaps))])
        else:
            self._change(names[rng.integers(len(names))], space, rng)

    def _change(self, name: str, space: Space, rng: np.random.Generator) -> None:
        template, layer = _split(name)
        home = self.stack if layer is None else self.layers[layer]
        home[template] = neighbour(space[name], home[template], rng)
        if name == "depth":
            self._resize(home[name], rng)

    def _layer_names(self) -> Iterator[str]:
        for i, layer in enumerate(self.layers):
            yield from (template.replace("*", str(i), 1) for template in layer)

    def _swaps(self) -> list[tuple[int, int]]:
        """Pairs of layers that differ."""
        placed = self.placed or frozenset()
        return [
            (i, j)
            for j in range(len(self.layers))
            for i in range(j)
            if (i in placed) != (j in placed) or self.layers[i] != self.layers[j]
        ]

    def _swap(self, i: int, j: int) -> None:
        self.layers[i], self.layers[j] = self.layers[j], self.layers[i]
        if self.placed is not None:
            self.placed = frozenset({i: j, j: i}.get(k, k) for k in self.placed)

    def _resize(self, depth: Any, rng: np.random.Generator) -> None:
        """Repeats or leaves out layers; those behind move with all that is theirs."""
        if not isinstance(depth, int) or depth < 1 or not self.layers:
            return
        while len(self.layers) < depth:
            at = int(rng.integers(len(self.layers)))
            self.layers.insert(at, dict(self.layers[at]))
            if self.placed is not None:
                self.placed = frozenset(k + (k > at) for k in self.placed)
        while len(self.layers) > depth:
            at = int(rng.integers(len(self.layers)))
            del self.layers[at]
            if self.placed is not None:
                self.placed = frozenset(k - (k > at) for k in self.placed if k != at)


@lru_cache(maxsize=4096)
def _split(name: str) -> tuple[str, int | None]:
    """``layer2.placed.sequence`` is ``layer*.placed.sequence`` of layer 2."""
    found = _LAYERED.fullmatch(name)
    return (name, None) if found is None else (f"{found[1]}*{found[3]}", int(found[2]))


def _kind(name: str) -> str:
    if _PLACEMENT.match(name):
        return "placement"
    if _MIXER.match(name):
        return "mixer"
    return "option" if "." in name else "stack"


def _subset(text: Any) -> frozenset[int]:
    return frozenset(int(i) for i in str(text).split(",") if i)


def _nearest_subset(
    placed: frozenset[int], choices: Sequence[Any], rng: np.random.Generator
) -> Any:
    """The choice that differs by the fewest layers; a random one of several."""
    changes = np.array([len(placed ^ _subset(choice)) for choice in choices])
    return choices[rng.choice(np.flatnonzero(changes == changes.min()))]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _fits(distribution: BaseDistribution, value: Any) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    assert isinstance(distribution, (IntDistribution, FloatDistribution))
    return _is_number(value) and bool(distribution.low <= value <= distribution.high)


def neighbour(distribution: BaseDistribution, value: Any, rng: np.random.Generator) -> Any:
    """Another value, near the given one where values have an order.

    Choices have one if two of them are numbers: the numbers by size, then the others as listed
    (windows of 16, 64, then ``sqrt``, ``N/8``). One step is the likeliest, two are half as likely,
    and so on. In a range at most a quarter of it is added or taken; of the logarithm of a
    logarithmic one, and at least a step where there are steps.

    Args:
        distribution: Of at least two values.
        value: One of them.
        rng: The only source of randomness.
    """
    if isinstance(distribution, CategoricalDistribution):
        return _neighbouring_choice(distribution.choices, value, rng)
    assert isinstance(distribution, (IntDistribution, FloatDistribution))
    return _neighbouring_number(distribution, value, rng)


def _neighbouring_choice(choices: Sequence[Any], value: Any, rng: np.random.Generator) -> Any:
    numbers = sorted(choice for choice in choices if _is_number(choice))
    if len(numbers) < 2:
        others = [choice for choice in choices if choice != value]
        return others[rng.integers(len(others))]
    order = numbers + [choice for choice in choices if not _is_number(choice)]
    here, last = order.index(value), len(order) - 1
    up = here == 0 or (here < last and rng.random() < 0.5)
    steps = int(rng.geometric(0.5))
    return order[min(here + steps, last) if up else max(here - steps, 0)]


def _neighbouring_number(
    distribution: IntDistribution | FloatDistribution, value: float, rng: np.random.Generator
) -> float:
    low, high = distribution.low, distribution.high
    ends = np.array([low, high, value], dtype=float)
    least, most, here = np.log(ends) if distribution.log else ends
    change = rng.uniform(0, (most - least) / 4) * rng.choice([-1, 1])
    if not least <= here + change <= most:
        change = -change
    moved = math.exp(here + change) if distribution.log else float(here + change)
    if distribution.step:
        start, end = (round((edge - low) / distribution.step) for edge in (value, high))
        steps = round((moved - low) / distribution.step)
        if steps == start:
            steps += 1 if start == 0 or (change > 0 and start < end) else -1
        moved = low + distribution.step * steps
    moved = min(max(moved, low), high)
    return int(moved) if isinstance(distribution, IntDistribution) else moved

"""How a space asks for values: a protocol, and the two simplest things that answer it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from archsearch.architecture import Scalar


class Suggest(Protocol):
    """Answers a space's questions.

    A name always comes with the same choices or bounds within one space, so that an answer can be
    a draw, a stored value or a sampler's proposal.
    """

    def categorical(self, name: str, choices: Sequence[Scalar]) -> Scalar:
        """One of the choices."""

    def integer(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """A whole number low, low + step, ..., high; ``log`` makes equal ratios equally likely."""

    def floating(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """A number between low and high, both included; on the grid of ``step`` if there is one."""


class RandomSuggest:
    """Independent draws from a generator.

    Args:
        generator: The only source of randomness; equal states give equal designs.
    """

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator = generator

    def categorical(self, name: str, choices: Sequence[Scalar]) -> Scalar:
        """Each choice equally likely."""
        return choices[int(self._generator.integers(len(choices)))]

    def integer(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """Uniform, or uniform in the logarithm of [low - 1/2, high + 1/2] and rounded."""
        if log:
            drawn = math.exp(self._generator.uniform(math.log(low - 0.5), math.log(high + 0.5)))
            return min(max(round(drawn), low), high)
        return low + step * int(self._generator.integers((high - low) // step + 1))

    def floating(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """Uniform, on the grid, or uniform in the logarithm."""
        if log:
            drawn = math.exp(self._generator.uniform(math.log(low), math.log(high)))
        elif step is not None:
            drawn = low + step * int(self._generator.integers(round((high - low) / step) + 1))
        else:
            drawn = float(self._generator.uniform(low, high))
        return min(max(drawn, low), high)


class CompletedSuggest:
    """Given answers where they are allowed, and draws for the other questions.

    Args:
        given: Answers by name; those that are not asked for are left aside.
        generator: The only source of randomness.

    Attributes:
        answers: All that was asked for.
    """

    def __init__(self, given: Mapping[str, Scalar], generator: np.random.Generator) -> None:
        self._given = given
        self._drawn = RandomSuggest(generator)
        self.answers: dict[str, Scalar] = {}

    def categorical(self, name: str, choices: Sequence[Scalar]) -> Scalar:
        """The given choice."""
        value = self._given.get(name)
        if value is None or value not in choices:
            value = self._drawn.categorical(name, choices)
        self.answers[name] = value
        return value

    def integer(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """The given number."""
        value = self._given.get(name)
        if not isinstance(value, int) or not low <= value <= high:
            value = self._drawn.integer(name, low, high, step=step, log=log)
        self.answers[name] = value
        return value

    def floating(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """The given number."""
        value = self._given.get(name)
        if not isinstance(value, float) or not low <= value <= high:
            value = self._drawn.floating(name, low, high, step=step, log=log)
        self.answers[name] = value
        return value


class FirstSuggest:
    """Always the first choice or the lowest value: a space's default design."""

    def categorical(self, name: str, choices: Sequence[Scalar]) -> Scalar:
        """The first."""
        return choices[0]

    def integer(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """The lowest."""
        return low

    def floating(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """The lowest."""
        return low

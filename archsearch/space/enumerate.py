"""Every assignment of a finite space, one after another: a walk over the tree of its questions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, TypeVar

from archsearch.architecture import Architecture, Scalar
from archsearch.errors import InputError
from archsearch.space.schema import Space

LIMIT: Final = 100_000
"""Assignments that are walked at most unless more are asked for."""

Option = TypeVar("Option")


class Assignment(NamedTuple):
    """One way to answer all questions of a space.

    Attributes:
        answers: By the name of the parameter, in the order of the questions.
        design: What they give: not canonical, and not sure to be buildable.
    """

    answers: dict[str, Scalar]
    design: Architecture


def assignments(space: Space, *, limit: int = LIMIT) -> Iterator[Assignment]:
    """All assignments, ``space.size()`` of them; the last question's answer changes first.

    Each is given once. Several may describe the same design.

    Args:
        space: Without continuous ranges.
        limit: The most assignments to walk.

    Raises:
        InputError: A range is continuous, or there are more assignments than the limit; before the
            first one is given.
    """
    size = space.size()
    if size == math.inf:
        raise InputError(
            "the space has a continuous range, and no end of assignments; give the range a step"
        )
    if size > limit:
        raise InputError(f"the space has {size:,} assignments; at most {limit:,} can be walked")
    # a function of its own, so that a refusal comes with the call
    return _walk(space)


def _walk(space: Space) -> Iterator[Assignment]:
    odometer = _Odometer()
    while True:
        design = space.sample(odometer)
        yield Assignment(odometer.answers, design)
        if not odometer.advance():
            return


class _Odometer:
    """Answers the i-th question with the option that the i-th wheel shows.

    What is asked behind a wheel may depend on it: a wheel is made when its question first comes,
    and thrown away when one before it moves.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Scalar] = {}
        self._places: list[int] = []
        self._widths: list[int] = []

    def advance(self) -> bool:
        """Moves the last wheel that can move, and begins anew; False when none can."""
        self.answers = {}
        while self._places:
            self._places[-1] += 1
            if self._places[-1] < self._widths[-1]:
                return True
            self._places.pop()
            self._widths.pop()
        return False

    def categorical(self, name: str, choices: Sequence[Scalar]) -> Scalar:
        """In their order."""
        return self._answer(name, choices)

    def integer(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """From low to high."""
        return self._answer(name, range(low, high + 1, step))

    def floating(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """From low to high on the grid."""
        assert step is not None  # the size would be infinite
        grid = [low + i * step for i in range(round((high - low) / step) + 1)]
        return self._answer(name, grid)

    def _answer(self, name: str, options: Sequence[Option]) -> Option:
        # as many questions were answered since the last move as there are answers
        place = len(self.answers)
        if place == len(self._places):
            self._places.append(0)
            self._widths.append(len(options))
        chosen = options[self._places[place]]
        assert name not in self.answers, name
        self.answers[name] = chosen  # type: ignore[assignment]
        return chosen

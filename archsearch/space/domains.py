"""What may vary: values, and mixers with options that are themselves domains."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from archsearch.architecture import Component, Scalar
from archsearch.canonical import spec_of
from archsearch.errors import InputError
from archsearch.mixers import specs
from archsearch.space.sample import Suggest

Size = int | float
"""A number of assignments: whole, or infinite."""

_MAX_FORMS: Final = 4096
"""Option combinations of a mixer that ``contains`` will write out to compare canonical forms."""


def product(sizes: Iterable[Size]) -> Size:
    """Product; infinite as soon as one factor is (a large int times inf would overflow)."""
    sizes = list(sizes)
    return math.inf if math.inf in sizes else math.prod(sizes)


def total(sizes: Iterable[Size]) -> Size:
    """Sum; infinite as soon as one term is."""
    sizes = list(sizes)
    return math.inf if math.inf in sizes else sum(sizes)


def power(size: Size, exponent: int) -> Size:
    """``size ** exponent``, without overflow."""
    return 1 if exponent == 0 else math.inf if size == math.inf else size**exponent


def same(a: Scalar, b: Scalar) -> bool:
    """Equality that keeps True apart from 1."""
    return isinstance(a, bool) == isinstance(b, bool) and a == b


@dataclass(frozen=True)
class Fixed:
    """One value; nothing is asked for."""

    value: Scalar

    def draw(self, name: str, suggest: Suggest) -> Scalar:
        """The value."""
        return self.value

    def size(self) -> Size:
        """1."""
        return 1

    def contains(self, value: Scalar) -> bool:
        """Whether it is the value."""
        return same(self.value, value)

    def values(self) -> Iterator[Scalar]:
        """The value."""
        yield self.value

    def plain(self) -> Any:
        """As in a campaign file."""
        return self.value


@dataclass(frozen=True)
class Choice:
    """One of at least two different values; their order is part of the space."""

    options: tuple[Scalar, ...]

    def draw(self, name: str, suggest: Suggest) -> Scalar:
        """Asks which."""
        return suggest.categorical(name, self.options)

    def size(self) -> Size:
        """The number of values."""
        return len(self.options)

    def contains(self, value: Scalar) -> bool:
        """Whether it is one of the values."""
        return any(same(option, value) for option in self.options)

    def values(self) -> Iterator[Scalar]:
        """The values in order."""
        yield from self.options

    def plain(self) -> Any:
        """As in a campaign file."""
        return {"choice": list(self.options)}


@dataclass(frozen=True)
class IntRange:
    """Whole numbers low, low + step, ..., high."""

    low: int
    high: int
    step: int = 1
    log: bool = False

    def draw(self, name: str, suggest: Suggest) -> Scalar:
        """Asks for one."""
        return suggest.integer(name, self.low, self.high, step=self.step, log=self.log)

    def size(self) -> Size:
        """How many there are."""
        return (self.high - self.low) // self.step + 1

    def contains(self, value: Scalar) -> bool:
        """Whether it is one of them."""
        if isinstance(value, (bool, str)) or not self.low <= value <= self.high:
            return False
        return (value - self.low) % self.step == 0

    def values(self) -> Iterator[Scalar]:
        """From low to high."""
        yield from range(self.low, self.high + 1, self.step)

    def plain(self) -> Any:
        """As in a campaign file."""
        extras = ({"log": True} if self.log else {}) | (
            {"step": self.step} if self.step > 1 else {}
        )
        return {"range": [self.low, self.high], **extras}


@dataclass(frozen=True)
class FloatRange:
    """Numbers from low to high; with a step only low, low + step, ..., high."""

    low: float
    high: float
    step: float | None = None
    log: bool = False

    def draw(self, name: str, suggest: Suggest) -> Scalar:
        """Asks for one."""
        return suggest.floating(name, self.low, self.high, step=self.step, log=self.log)

    def size(self) -> Size:
        """Infinite without a step."""
        return math.inf if self.step is None else round((self.high - self.low) / self.step) + 1

    def contains(self, value: Scalar) -> bool:
        """Whether it lies within, and on the grid if there is one."""
        if isinstance(value, (bool, str)) or not self.low <= value <= self.high:
            return False
        steps = 0.0 if self.step is None else (value - self.low) / self.step
        return math.isclose(steps, round(steps), abs_tol=1e-6)

    def values(self) -> Iterator[Scalar]:
        """The grid; only the ends where there is none, as an enumeration must end."""
        if self.step is None:
            yield from (self.low, self.high)
        else:
            yield from (self.low + i * self.step for i in range(int(self.size())))

    def plain(self) -> Any:
        """As in a campaign file."""
        extras: dict[str, Any] = {"log": True} if self.log else {}
        if self.step is not None:
            extras["step"] = self.step
        return {"range": [self.low, self.high], **extras}


Domain = Fixed | Choice | IntRange | FloatRange


def draw_int(domain: Domain, name: str, suggest: Suggest) -> int:
    """A draw from a domain that the loader has checked to hold whole numbers."""
    value = domain.draw(name, suggest)
    assert isinstance(value, int)
    return value


def ints(domain: Domain) -> Iterator[int]:
    """All values of a domain that the loader has checked to hold whole numbers."""
    for value in domain.values():
        assert isinstance(value, int)
        yield value


@dataclass(frozen=True)
class MixerOption:
    """One mixer; every option of its spec has a domain, in the spec's order."""

    name: str
    options: tuple[tuple[str, Domain], ...]

    def draw(self, prefix: str, suggest: Suggest) -> Component:
        """Asks for each option under ``prefix.mixer.option``."""
        drawn = {
            key: domain.draw(f"{prefix}.{self.name}.{key}", suggest) for key, domain in self.options
        }
        absent = self._left_out
        return Component(
            name=self.name,
            options={k: v for k, v in drawn.items() if k not in absent or v != absent[k]},
        )

    def size(self) -> Size:
        """The number of option combinations."""
        return product(domain.size() for _, domain in self.options)

    def components(self) -> Iterator[Component]:
        """Every combination; of a continuous option only the two ends."""
        keys = [key for key, _ in self.options]
        for values in itertools.product(*(domain.values() for _, domain in self.options)):
            yield Component(name=self.name, options=dict(zip(keys, values, strict=True)))

    def contains(self, component: Component) -> bool:
        """Whether name and options, as written, fit."""
        if component.name != self.name:
            return False
        options = {**self._left_out, **component.options}
        return options.keys() == {key for key, _ in self.options} and all(
            domain.contains(options[key]) for key, domain in self.options
        )

    def plain(self) -> Any:
        """As in a campaign file; later options only where they are not at their default."""
        absent = self._left_out
        written = {
            key: domain.plain()
            for key, domain in self.options
            if key not in absent or domain != Fixed(absent[key])
        }
        return {"mixer": self.name, **written} if written else self.name

    @property
    def _left_out(self) -> dict[str, Scalar]:
        """Options that plain data may leave out, with what they then are."""
        if self.name not in specs:
            return {}
        spec = specs.get(self.name)
        return {key: spec.model_fields[key].default for key in spec.later_options}


@dataclass(frozen=True)
class MixerDomain:
    """One of some mixers, all of one kind and with different names."""

    choices: tuple[MixerOption, ...]

    def draw(self, prefix: str, kind: str, suggest: Suggest) -> Component:
        """Asks for the mixer under ``prefix.kind`` if there is more than one, then for options."""
        if len(self.choices) == 1:
            return self.choices[0].draw(prefix, suggest)
        name = suggest.categorical(f"{prefix}.{kind}", tuple(c.name for c in self.choices))
        chosen = next(choice for choice in self.choices if choice.name == name)
        return chosen.draw(prefix, suggest)

    def size(self) -> Size:
        """The number of mixers with their option combinations."""
        return total(choice.size() for choice in self.choices)

    def contains(self, component: Component) -> bool:
        """Whether some choice is this component, as written or in canonical form."""
        try:
            spec = spec_of(component)
        except InputError:
            return any(choice.contains(component) for choice in self.choices)
        written = spec.component()
        if any(choice.contains(written) for choice in self.choices):
            return True
        return _key(spec.canonical()) in self._forms

    @cached_property
    def _forms(self) -> frozenset[str]:
        """Canonical forms of all finite, not too numerous choices."""
        forms = set()
        for choice in self.choices:
            if choice.size() > _MAX_FORMS:
                continue
            for component in choice.components():
                try:
                    forms.add(_key(spec_of(component).canonical()))
                except InputError:
                    continue
        return frozenset(forms)

    def plain(self) -> Any:
        """As in a campaign file."""
        if len(self.choices) == 1:
            return self.choices[0].plain()
        return {"choice": [choice.plain() for choice in self.choices]}


def _key(component: Component) -> str:
    return json.dumps([component.name, component.options], sort_keys=True)

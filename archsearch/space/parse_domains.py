"""Nodes to domains: scalars that may vary, and mixers whose options may."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from archsearch.architecture import Scalar
from archsearch.canonical import spec_of
from archsearch.errors import InputError, UnknownNameError, suggestion
from archsearch.mixers import specs
from archsearch.mixers.base import MixerSpec
from archsearch.space.domains import (
    Choice,
    Domain,
    Fixed,
    FloatRange,
    IntRange,
    MixerDomain,
    MixerOption,
    ints,
    same,
)
from archsearch.space.nodes import UNREADABLE, Node, Place, join, shown
from archsearch.space.reader import Reader, found

_LIST: Final = "'archsearch mixers' lists them"
Kind = Literal["sequence", "channel", "parallel"]

_DOMAIN_FORMS: Final = "a value, {choice: [...]} or {range: [low, high]}"
_MIXER_FORMS: Final = "a mixer's name, {mixer: name, option: ...} or {choice: [...]}"
_MAX_TRIES: Final = 2000
"""Combinations of width and options that are tried before a mixer is taken to be buildable."""


def strict(annotation: Any) -> TypeAdapter[Any]:
    """An adapter that converts nothing."""
    return TypeAdapter(annotation, config=ConfigDict(strict=True))


_BOOL = strict(bool)
_INT = strict(int)
_FLOAT = strict(float)


@cache
def option_adapter(spec: type[MixerSpec], key: str) -> TypeAdapter[Any]:
    """The validation of one option, as its spec declares it."""
    field = spec.model_fields[key]
    if not field.metadata:
        return strict(field.annotation)
    return strict(Annotated[field.annotation, *field.metadata])


def read_domain(reader: Reader, node: Node, path: str, adapter: TypeAdapter[Any]) -> Domain | None:
    """A domain of values that the adapter accepts; None when a problem was reported."""
    if node.value is UNREADABLE:
        return None
    if isinstance(node.value, tuple) or node.value is None:
        hint = "; write {choice: [...]}" if node.value else ""
        reader.report(node.place, path, f"{found(node.plain())}; must be {_DOMAIN_FORMS}{hint}")
        return None
    if not isinstance(node.value, dict):
        before = len(reader.problems)
        value = reader.value(node, path, adapter)
        return None if len(reader.problems) > before else Fixed(value)
    if "choice" in node.keys and "range" in node.keys:
        reader.report(node.place, path, "has both 'choice' and 'range'; keep one")
        return None
    if "choice" in node.keys:
        known = reader.mapping(node, path, ("choice",))
        return _read_choice(reader, (known or {}).get("choice"), join(path, "choice"), adapter)
    if "range" in node.keys:
        return _read_range(reader, node, path, adapter)
    reader.mapping(node, path, ("choice", "range", "log", "step"))
    if not node.keys or node.keys.keys() <= {"log", "step"}:
        reader.report(node.place, path, f"neither 'choice' nor 'range'; must be {_DOMAIN_FORMS}")
    return None


def _read_choice(
    reader: Reader, node: Node | None, path: str, adapter: TypeAdapter[Any]
) -> Domain | None:
    items = None if node is None else reader.items(node, path)
    if node is None or items is None:
        return None
    if not items:
        reader.report(node.place, path, "the list is empty; give at least one value")
        return None
    values: list[Scalar] = []
    good = True
    for i, item in enumerate(items):
        before = len(reader.problems)
        value = reader.value(item, join(path, i), adapter)
        if item.value is UNREADABLE or len(reader.problems) > before:
            good = False
        elif any(same(value, other) for other in values):
            reader.report(item.place, join(path, i), f"{shown(value)} again; list each value once")
            good = False
        else:
            values.append(value)
    if not good:
        return None
    return Fixed(values[0]) if len(values) == 1 else Choice(tuple(values))


def _read_range(reader: Reader, node: Node, path: str, adapter: TypeAdapter[Any]) -> Domain | None:
    entries = reader.mapping(node, path, ("range", "log", "step")) or {}
    before = len(reader.problems)
    bounds = _read_bounds(reader, entries.get("range"), join(path, "range"), adapter)
    log = bool("log" in entries and reader.value(entries["log"], join(path, "log"), _BOOL))
    if bounds is None:
        return None
    low, high = bounds
    whole = isinstance(low, int) and isinstance(high, int)
    step = _read_step(reader, entries.get("step"), join(path, "step"), whole)
    place = entries["range"].place
    if low > high:
        reader.report(
            place, join(path, "range"), f"low {low} is above high {high}; write [{high}, {low}]"
        )
    if log and low <= 0:
        reader.report(place, join(path, "range"), f"low is {low}; must be above 0 with log: true")
    if log and "step" in entries:
        reader.report(
            entries["step"].place, join(path, "step"), "cannot be combined with log; drop one"
        )
    if len(reader.problems) > before or any(e.value is UNREADABLE for e in entries.values()):
        return None
    if step is not None:
        _check_grid(reader, entries["step"].place, join(path, "step"), (low, high, step))
    if low == high:
        return Fixed(low)
    if whole:
        return IntRange(int(low), int(high), int(step or 1), log)
    return FloatRange(float(low), float(high), step, log)


def _read_bounds(
    reader: Reader, node: Node | None, path: str, adapter: TypeAdapter[Any]
) -> tuple[float, float] | None:
    items = None if node is None else reader.items(node, path)
    if node is None or items is None:
        return None
    if len(items) != 2:
        reader.report(node.place, path, f"got {len(items)} numbers; must be [low, high]")
        return None
    bounds = []
    for i, item in enumerate(items):
        before = len(reader.problems)
        value = reader.value(item, join(path, i), adapter)
        if len(reader.problems) > before or item.value is UNREADABLE:
            continue
        if isinstance(value, (bool, str)) or value is None:
            text = f"{found(value)}; a range needs numbers; write {{choice: [...]}}"
            reader.report(item.place, join(path, i), text)
        else:
            bounds.append(value)
    return (bounds[0], bounds[1]) if len(bounds) == 2 else None


def _read_step(reader: Reader, node: Node | None, path: str, whole: bool) -> float | None:
    if node is None:
        return None
    before = len(reader.problems)
    step = reader.value(node, path, _INT if whole else _FLOAT)
    if len(reader.problems) > before or step is None:
        return None
    if step <= 0:
        reader.report(node.place, path, f"{found(step)}; must be above 0")
        return None
    return float(step) if not whole else step


def _check_grid(reader: Reader, place: Place, path: str, grid: tuple[float, float, float]) -> None:
    """Refuses a high end that no number of steps reaches: samplers would move it in silence."""
    low, high, step = grid
    steps = (high - low) / step
    if not math.isclose(steps, round(steps), abs_tol=1e-9):
        last = low + math.floor(steps) * step
        reader.report(
            place,
            path,
            f"steps of {step:.12g} from {low:.12g} miss {high:.12g};"
            f" end the range at {last:.12g} or change the step",
        )


@dataclass(frozen=True)
class ReadMixer:
    """A mixer and where it was read, for the checks that need the rest of the file."""

    option: MixerOption
    place: Place
    path: str


class MixerReader:
    """Reads mixer domains and remembers them.

    Args:
        reader: Where problems go.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.seen: list[ReadMixer] = []

    def read(self, node: Node, path: str, kind: Kind) -> MixerDomain | None:
        """A mixer domain; None when a problem was reported."""
        if isinstance(node.value, dict) and "choice" in node.keys:
            return self._choice(node, path, kind)
        option = self._one(node, path, kind)
        return None if option is None else MixerDomain((option,))

    def _choice(self, node: Node, path: str, kind: Kind) -> MixerDomain | None:
        path_choice = join(path, "choice")
        known = self._reader.mapping(node, path, ("choice",)) or {}
        items = self._reader.items(known["choice"], path_choice) if "choice" in known else None
        if items is None:
            return None
        if not items:
            text = "the list is empty; give at least one mixer"
            self._reader.report(known["choice"].place, path_choice, text)
            return None
        options: list[MixerOption] = []
        for i, item in enumerate(items):
            option = self._one(item, join(path_choice, i), kind)
            if option is None:
                continue
            if any(option.name == other.name for other in options):
                text = f"'{option.name}' again; list a mixer once and give its options a choice"
                self._reader.report(item.place, join(path_choice, i), text)
            options.append(option)
        return MixerDomain(tuple(options)) if options else None

    def _one(self, node: Node, path: str, kind: Kind) -> MixerOption | None:
        if node.value is UNREADABLE:
            return None
        if isinstance(node.value, str):
            return self._option(node, path, kind, {}, node)
        if isinstance(node.value, dict) and "mixer" in node.value:
            entries = {key: value for key, value in node.value.items() if key != "mixer"}
            return self._option(node.value["mixer"], join(path, "mixer"), kind, entries, node)
        hint = "; 'choice' cannot stand inside 'choice'" if "choice" in node.keys else ""
        if isinstance(node.value, tuple):
            hint = "; write {choice: [...]}"
        elif isinstance(node.value, dict) and not hint:
            hint = "; the key 'mixer' is missing"
        self._reader.report(
            node.place, path, f"{found(node.plain())}; must be {_MIXER_FORMS}{hint}"
        )
        return None

    def _spec(self, node: Node, path: str, kind: Kind) -> type[MixerSpec] | None:
        if node.value is UNREADABLE:
            return None
        if not isinstance(node.value, str):
            text = f"{found(node.plain())}; must be one mixer's name"
            if isinstance(node.value, dict) and "choice" in node.value:
                text += "; to choose among mixers write {choice: [...]} in place of {mixer: ...}"
            self._reader.report(node.place, path, text)
            return None
        try:
            spec = specs.get(node.value)
        except UnknownNameError:
            fitting = [name for name in specs if specs.get(name).fits(kind)]
            hint = suggestion(node.value, fitting) or suggestion(node.value, specs)
            text = f"unknown mixer {shown(node.value)}{hint} ({_LIST})"
            self._reader.report(node.place, path, text)
            return None
        if not spec.fits(kind):
            wanted = "sequence" if kind == "parallel" else kind
            text = f"'{spec.name}' is a {spec.kind} mixer; must be a {wanted} mixer ({_LIST})"
            self._reader.report(node.place, path, text)
            return None
        return spec

    def _option(
        self, name: Node, path: str, kind: Kind, entries: dict[str, Node], owner: Node
    ) -> MixerOption | None:
        spec = self._spec(name, path, kind)
        if spec is None:
            return None
        path = path.removesuffix(".mixer")
        fields = spec.model_fields
        options: list[tuple[str, Domain]] = []
        good = True
        if entries or owner.keys:
            self._reader.mapping(owner, path, ("mixer", *fields))
        for key, field in fields.items():
            if key in entries:
                domain = read_domain(
                    self._reader, entries[key], join(path, key), option_adapter(spec, key)
                )
                good &= domain is not None
                if domain is not None:
                    options.append((key, domain))
            elif field.is_required():
                self._reader.report(owner.place, path, f"missing key '{key}' of '{spec.name}'")
                good = False
            else:
                options.append((key, Fixed(field.get_default(call_default_factory=True))))
        option = MixerOption(spec.name, tuple(options))
        if good:
            self.seen.append(ReadMixer(option, owner.place, path))
        return option

    def check_widths(self, d_model: Domain) -> None:
        """Reports each mixer that no width of the space and none of its options can build."""
        for mixer in self.seen:
            reason = _unbuildable(mixer.option, d_model)
            if reason:
                self._reader.report(
                    mixer.place, mixer.path, f"fits no width of the space; {reason}"
                )


def _unbuildable(option: MixerOption, d_model: Domain) -> str:
    """Why no combination can be built; empty if one can or there are too many to try."""
    reason = ""
    pairs = itertools.product(ints(d_model), option.components())
    for tried, (width, component) in enumerate(pairs):
        if tried == _MAX_TRIES:
            return ""
        try:
            problems = spec_of(component).problems(width)
        except (InputError, ValidationError) as error:
            problems = [str(error)]
        if not problems:
            return ""
        reason = reason or f"for one, {'; '.join(problems)}"
    return reason

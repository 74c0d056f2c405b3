"""YAML text to a tree in which every value knows its line and column.

The tree is built from parser events rather than by ``yaml.safe_load``, for four reasons: positions
stay, a duplicate key is seen, depth is bounded before anything recurses, and scalars follow the
YAML 1.2 core schema (``1e-3`` is a number, ``no`` is text). What the two versions of YAML read
differently (``010``, ``12:30``, dates, ``1_000``) is refused, since no reading is the obvious one.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from archsearch.errors import InputError

MAX_BYTES: Final = 1_000_000
MAX_DEPTH: Final = 50
MAX_PROBLEMS: Final = 100
MAX_WHOLE: Final = 2**53

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_WORDS: Final[dict[str, bool | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_AMBIGUOUS = (
    (re.compile(r"[-+]?0[0-9_]+"), "some readers of YAML take a leading zero for base 8"),
    (re.compile(r"0[xob][0-9a-fA-F_]+"), "only decimal numbers are read"),
    (
        re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?"),
        "some readers of YAML take it for a number in base 60",
    ),
    (
        re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ].*)?"),
        "some readers of YAML take it for a date",
    ),
    (
        re.compile(r"[-+]?[0-9][0-9_.]*_[0-9_.]*([eE][-+]?[0-9]+)?"),
        "digits must not be grouped by '_'",
    ),
)
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Place(NamedTuple):
    """A position in a file; both numbers count from 1."""

    line: int
    column: int


class Unreadable:
    """Stands for a value that was already reported, so that nobody reports it again."""


UNREADABLE: Final = Unreadable()

Value = None | bool | int | float | str | tuple["Node", ...] | dict[str, "Node"] | Unreadable


@dataclass(frozen=True)
class Node:
    """A value and where it stands.

    Attributes:
        value: A scalar, a tuple of nodes, or a dict of nodes.
        place: Where the value begins.
        keys: For a mapping, where each key begins.
    """

    value: Value
    place: Place
    keys: dict[str, Place] = field(default_factory=dict)

    def plain(self) -> Any:
        """The same as lists, dicts and scalars."""
        if isinstance(self.value, tuple):
            return [item.plain() for item in self.value]
        if isinstance(self.value, dict):
            return {key: item.plain() for key, item in self.value.items()}
        return self.value


class Problem(NamedTuple):
    """Something wrong at a place; sorts by place."""

    place: Place
    path: str
    text: str

    def line(self, filename: str) -> str:
        """``file:line:column: dotted.key: what is wrong``."""
        where = f"{filename}:{self.place.line}:{self.place.column}: "
        return where + (f"{self.path}: " if self.path else "") + self.text


def input_error(filename: str, problems: list[Problem]) -> InputError:
    """All problems as one error, in the order of the file."""
    ordered = list(dict.fromkeys(sorted(problems)))
    lines = [problem.line(filename) for problem in ordered[:MAX_PROBLEMS]]
    if len(ordered) > MAX_PROBLEMS:
        lines.append(f"{filename}: and {len(ordered) - MAX_PROBLEMS} more problems")
    return InputError(lines)


def shown(value: object) -> str:
    """A value as text of one line and bounded length."""
    text = repr(value) if isinstance(value, str) else str(value)
    if isinstance(value, bool):
        text = text.lower()
    return text if len(text) <= 60 else text[:57] + "..."


def join(path: str, part: str | int) -> str:
    """The dotted path of a key or index below a path."""
    if isinstance(part, int):
        return f"{path}[{part}]"
    part = part if re.fullmatch(r"[\w.\[\]=,-]{1,40}", part) else shown(part)
    return f"{path}.{part}" if path else part


def read_text(path: str | Path, kind: str = "campaign file") -> str:
    """The text of a campaign file, or of another small one.

    Args:
        path: The file.
        kind: What it is, for messages.

    Raises:
        InputError: It is missing, no file, too large, not UTF-8 or not readable.
    """
    path = Path(path)
    if "\0" in str(path):
        raise InputError(f"{str(path)!r}: a file name cannot contain a NUL character")
    try:
        if path.is_dir():
            raise InputError(f"{path}: is a folder; give the {kind} in it")
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if len(raw) > MAX_BYTES:
        raise InputError(f"{path}: larger than {MAX_BYTES} bytes, which no {kind} needs")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - raw.rfind(b"\n", 0, error.start)
        raise InputError(
            f"{path}:{line}:{column}: byte 0x{raw[error.start]:02x} is not UTF-8;"
            " save the file as UTF-8"
        ) from None


class UnclearScalarError(ValueError):
    """A plain scalar that should not be guessed at."""


def resolve(text: str) -> bool | int | float | str | None:
    """What an unquoted scalar means.

    Raises:
        UnclearScalarError: Readers of YAML differ about it, or it is no finite number.
    """
    if text in _WORDS:
        return _WORDS[text]
    for pattern, reason in _AMBIGUOUS:
        if pattern.fullmatch(text):
            raise UnclearScalarError(f"{reason}; {_clear_form(text)}")
    if _INT.fullmatch(text):
        if len(text) > 17 or abs(int(text)) > MAX_WHOLE:
            raise UnclearScalarError("whole numbers go up to 2^53")
        return int(text)
    if _NOT_FINITE.fullmatch(text) or (_FLOAT.fullmatch(text) and math.isinf(float(text))):
        raise UnclearScalarError("numbers must be finite")
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def _clear_form(text: str) -> str:
    digits = text.replace("_", "")
    if re.fullmatch(r"[-+]?[0-9]+", digits):
        return f"write {shown(int(digits)) if len(digits) < 20 else 'the number'} or quote it"
    if re.fullmatch(r"0[xob][0-9a-fA-F]{1,16}", digits):
        with contextlib.suppress(ValueError):  # 0b12
            return f"write {int(digits, 0)} or quote it"
    return "quote it if it is text"


@dataclass
class _Frame:
    """A collection that is being read; ``key`` is the mapping's key that waits for its value."""

    place: Place
    items: list[Node] | None = None
    entries: dict[str, Node] = field(default_factory=dict)
    keys: dict[str, Place] = field(default_factory=dict)
    unreadable: bool = False
    key: str | None = None
    key_place: Place | None = None

    @property
    def wants_key(self) -> bool:
        return self.items is None and self.key_place is None

    def node(self) -> Node:
        if self.unreadable:
            return Node(UNREADABLE, self.place)
        if self.items is not None:
            return Node(tuple(self.items), self.place)
        return Node(self.entries, self.place, self.keys)


class _Builder:
    """Puts events together; problems are collected, only hopeless ones end the reading."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.root: Node | None = None
        self._stack: list[_Frame] = []

    def run(self, events: Iterator[Any]) -> None:
        documents = 0
        for event in events:
            place = Place(event.start_mark.line + 1, event.start_mark.column + 1)
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._report(place, "a second document begins; keep one document a file")
                    return
            elif not self._take(event, place):
                return

    def _take(self, event: Any, place: Place) -> bool:
        """Handles one event; False when reading on makes no sense."""
        if isinstance(event, yaml.AliasEvent):
            self._report(place, f"alias '*{event.anchor}' is not supported; write the value out")
            self._put(Node(UNREADABLE, place))
            return True
        tagged = isinstance(event, yaml.NodeEvent) and self._refuse_properties(event, place)
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event, place, tagged)
        elif isinstance(event, yaml.CollectionStartEvent):
            if len(self._stack) >= MAX_DEPTH:
                self._report(place, f"nested deeper than {MAX_DEPTH} levels", path="")
                return False
            is_list = isinstance(event, yaml.SequenceStartEvent)
            self._stack.append(_Frame(place, [] if is_list else None, unreadable=tagged))
        elif isinstance(event, yaml.CollectionEndEvent):
            self._put(self._stack.pop().node())
        return True

    def _refuse_properties(self, event: Any, place: Place) -> bool:
        """Reports an anchor or a tag; True when the tag leaves the value's meaning open."""
        if event.anchor is not None:
            self._report(place, f"anchor '&{event.anchor}' is not supported; write the value out")
        tag = getattr(event, "tag", None)
        if tag is not None:
            self._report(place, f"tag {shown(tag)} is not supported; write the plain value")
        return tag is not None

    def _scalar(self, event: Any, place: Place, tagged: bool) -> None:
        if self._stack and self._stack[-1].wants_key:
            self._key(event.value, place)
            return
        value: Value = UNREADABLE if tagged else event.value
        if event.implicit[0] and not tagged:
            try:
                value = resolve(event.value)
            except UnclearScalarError as error:
                self._report(place, f"got {shown(event.value)[1:-1]}; {error}")
                value = UNREADABLE
        self._put(Node(value, place))

    def _key(self, key: str, place: Place) -> None:
        frame = self._stack[-1]
        frame.key_place = place
        if key in frame.keys:
            first = frame.keys[key]
            self._report(
                place, f"key {shown(key)} again; the first is on line {first.line}; keep one"
            )
            return
        frame.key = key
        frame.keys[key] = place

    def _put(self, node: Node) -> None:
        if not self._stack:
            self.root = node
            return
        frame = self._stack[-1]
        if frame.items is not None:
            frame.items.append(node)
        elif frame.wants_key:
            if node.value is not UNREADABLE:
                self._report(node.place, "a key must be a name, not a list or mapping")
            frame.key_place = node.place
        else:
            if frame.key is not None:
                frame.entries[frame.key] = node
            frame.key = frame.key_place = None

    def _report(self, place: Place, text: str, path: str | None = None) -> None:
        if path is None:
            path = ""
            for frame in self._stack:
                if frame.items is not None:
                    path = join(path, len(frame.items))
                elif frame.key is not None:
                    path = join(path, frame.key)
        self.problems.append(Problem(place, path, text))


def compose(text: str) -> tuple[Node | None, list[Problem]]:
    """The tree of a text and everything wrong with its form.

    Returns:
        The root, or None when the text is empty or could not be read to its end; and the problems.
    """
    bad = _UNPRINTABLE.search(text)
    if bad:
        line = text.count("\n", 0, bad.start()) + 1
        column = bad.start() - text.rfind("\n", 0, bad.start())
        return None, [
            Problem(Place(line, column), "", f"character {bad.group()!r} is not allowed; remove it")
        ]
    builder = _Builder()
    try:
        builder.run(yaml.parse(text, Loader=_LOADER))
    except yaml.MarkedYAMLError as error:
        builder.problems.append(_syntax_problem(error, text))
        return None, builder.problems
    return builder.root, builder.problems


def _syntax_problem(error: yaml.MarkedYAMLError, text: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line, mark.column) if mark else (0, 0)
    rows = text.split("\n")
    row = rows[line] if line < len(rows) else ""
    what = error.problem or "cannot be read"
    if "\t" in row[: len(row) - len(row.lstrip())]:
        hint = "; indent with spaces, not with tabs"
    elif "mapping values" in what:
        hint = "; check the indentation, and quote text that contains ': '"
    elif "expected" in what or "could not find" in what:
        hint = "; check the indentation and that every bracket and quote is closed"
    elif "cannot start any token" in what:
        hint = "; quote text that begins with a special character"
    else:
        hint = ""
    context = f" {error.context}" if error.context else ""
    return Problem(Place(line + 1, column + 1), "", f"not YAML: {what}{context}{hint}")

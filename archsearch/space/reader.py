"""Checked reading of a node tree: problems are collected, each with place, path and remedy."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from archsearch.errors import suggestion
from archsearch.space.nodes import (
    UNREADABLE,
    Node,
    Place,
    Problem,
    UnclearScalarError,
    join,
    resolve,
    shown,
)

M = TypeVar("M", bound=BaseModel)

_BOUNDS = {
    "greater_than": ("gt", "greater than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
    "multiple_of": ("multiple_of", "a multiple of"),
}
_TYPES = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "none_required": "null",
    "tuple_type": "a list",
    "list_type": "a list",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dict_type": "a mapping",
}
_PATTERNS = {r"^(sqrt|cbrt|N/[1-9]\d{0,5})$": "'sqrt', 'cbrt', or 'N/k' such as 'N/8'"}


def found(value: object) -> str:
    """How a message names a value from a file."""
    if value is None:
        return "got nothing"
    if isinstance(value, (list, tuple)):
        return "got a list"
    if isinstance(value, dict):
        return "got a mapping"
    return f"got {shown(value)}"


def _allowed(detail: Any) -> str:
    """What pydantic would have accepted, as the end of a sentence that begins with 'must be'."""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        return f"{words} {context[key]:.12g}"
    if kind in _TYPES:
        return _TYPES[kind]
    if kind == "literal_error":
        expected: str = context["expected"].replace(" or ", ", ")
        return f"one of {expected}" if ", " in expected else expected
    if kind == "string_pattern_mismatch":
        pattern = context["pattern"]
        return _PATTERNS.get(pattern, f"text of the form {pattern}")
    message: str = detail["msg"].removeprefix("Value error, ").removeprefix("must be ")
    return message


def explain(details: Sequence[Any], value: object) -> str:
    """One sentence on why a value was refused; alternatives of a union are joined by 'or'."""
    texts = list(dict.fromkeys(_allowed(detail) for detail in details))
    single = details[0]["type"] if len(details) == 1 else ""
    if single in ("value_error", "assertion_error") and not details[0]["msg"].startswith(
        "Value error, must be "
    ):
        return texts[0] if isinstance(value, (list, dict)) else f"{found(value)}; {texts[0]}"
    hint = _hint(details, value)
    return f"{found(value)}; must be {', or '.join(texts)}{hint}"


def _hint(details: Sequence[Any], value: object) -> str:
    kinds = {detail["type"] for detail in details}
    if isinstance(value, float) and value.is_integer() and kinds & {"int_type", "int_from_float"}:
        return f"; write {int(value)}"
    if isinstance(value, str):
        expected = [
            word.strip("'")
            for detail in details
            if detail["type"] == "literal_error"
            for word in detail["ctx"]["expected"].replace(" or ", ", ").split(", ")
        ]
        return suggestion(value, expected) or _unquoted_hint(kinds, value)
    if kinds == {"string_type"} and not isinstance(value, (list, dict, type(None))):
        return "; put it in quotes"
    return ""


def _unquoted_hint(kinds: set[str], value: str) -> str:
    if "bool_type" in kinds and value.lower() in ("yes", "on", "no", "off"):
        return f"; write {'true' if value.lower() in ('yes', 'on') else 'false'}"
    try:
        meant = resolve(value)
    except UnclearScalarError:
        return ""
    fits = (isinstance(meant, bool) and "bool_type" in kinds) or (
        isinstance(meant, (int, float))
        and not isinstance(meant, bool)
        and bool(kinds & {"int_type", "float_type"})
    )
    return "; remove the quotes" if fits else ""


def adapted(adapter: TypeAdapter[Any], value: object) -> Any:
    """A value as an adapter accepts it.

    Raises:
        ValueError: It does not; the message is fit for a user.
    """
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        raise ValueError(explain(error.errors(), value)) from None


class Reader:
    """Reads one file's nodes and keeps a list of all problems."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def report(self, place: Place, path: str, text: str) -> None:
        """Adds a problem."""
        self.problems.append(Problem(place, path, text))

    def value(self, node: Node, path: str, adapter: TypeAdapter[Any]) -> Any:
        """A scalar's checked value; None when a problem was reported."""
        if node.value is UNREADABLE:
            return None
        try:
            return adapted(adapter, node.plain())
        except ValueError as error:
            self.report(node.place, path, str(error))
            return None

    def mapping(
        self, node: Node, path: str, known: Collection[str], required: Collection[str] = ()
    ) -> dict[str, Node] | None:
        """The known keys of a mapping; None when it is not a mapping."""
        if node.value is UNREADABLE:
            return None
        if not isinstance(node.value, dict):
            keys = ", ".join(known)
            self.report(node.place, path, f"{found(node.plain())}; must be a mapping with {keys}")
            return None
        for key, place in node.keys.items():
            if key not in known:
                hint = suggestion(key, [k for k in known if k not in node.keys])
                self.report(
                    place, join(path, key), f"unknown key{hint} (known: {', '.join(known)})"
                )
        for key in required:
            if key not in node.keys:
                self.report(node.place, path, f"missing key '{key}'")
        return {key: value for key, value in node.value.items() if key in known}

    def items(self, node: Node, path: str) -> tuple[Node, ...] | None:
        """The items of a list; None when it is not a list."""
        if node.value is UNREADABLE:
            return None
        if not isinstance(node.value, tuple):
            self.report(node.place, path, f"{found(node.plain())}; must be a list")
            return None
        return node.value

    def model(self, model_class: type[M], node: Node, path: str) -> M | None:
        """A pydantic model; every complaint lands at the value that it is about."""
        if node.value is UNREADABLE:
            return None
        if not isinstance(node.value, dict):
            self.mapping(node, path, list(model_class.model_fields))
            return None
        try:
            return model_class.model_validate(node.plain())
        except ValidationError as error:
            grouped: dict[tuple[Place, str], list[Any]] = {}
            for detail in error.errors():
                place, where, exact = _locate(node, path, detail["loc"])
                if detail["type"] in ("missing", "extra_forbidden"):
                    self._key_problem(model_class, node, path, detail)
                elif exact:
                    grouped.setdefault((place, where), []).append(detail)
            for (place, where), details in grouped.items():
                self.report(place, where, explain(details, details[0]["input"]))
            return None

    def _key_problem(self, model_class: type[M], node: Node, path: str, detail: Any) -> None:
        owner, where, _ = _locate(node, path, detail["loc"][:-1])
        key = str(detail["loc"][-1])
        if detail["type"] == "missing":
            self.report(owner, where, f"missing key '{key}'")
            return
        known = _fields_at(model_class, detail["loc"][:-1])
        text = f"unknown key{suggestion(key, known)} (known: {', '.join(known)})"
        self.report(_key_place(node, detail["loc"]) or owner, join(where, key), text)


def _locate(node: Node, path: str, loc: Sequence[str | int]) -> tuple[Place, str, bool]:
    """Follows a pydantic location; names of union members are no keys and are skipped."""
    for part in loc:
        if isinstance(node.value, dict) and part in node.value:
            node, path = node.value[str(part)], join(path, part)
        elif isinstance(node.value, tuple) and isinstance(part, int) and part < len(node.value):
            node, path = node.value[part], join(path, part)
    return node.place, path, node.value is not UNREADABLE


def _key_place(node: Node, loc: Sequence[str | int]) -> Place | None:
    for part in loc[:-1]:
        if isinstance(node.value, dict) and part in node.value:
            node = node.value[str(part)]
        elif isinstance(node.value, tuple):
            node = node.value[int(part)]
    return node.keys.get(str(loc[-1]))


def _fields_at(model_class: type[BaseModel], loc: Sequence[str | int]) -> list[str]:
    """Field names of the model that a location ends in."""
    for part in loc:
        field = model_class.model_fields.get(part) if isinstance(part, str) else None
        inner = _model_in(field.annotation) if field else None
        model_class = inner or model_class
    return list(model_class.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found_model = _model_in(argument)
        if found_model is not None:
            return found_model
    return None

"""Chosen definitions and all that they need, written out as one file that stands alone.

Source lines stay as they are, comments included. What changes: methods that nothing uses are left
out, specs become frozen dataclasses of their options, a name that two files use gets the file's
name behind it, and a mixer is documented by its formula and paper.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from textwrap import wrap
from typing import NamedTuple

from archsearch.exporters._source import (
    PACKAGE,
    Place,
    default_of,
    file_of,
    free_names,
    is_class_variable,
    is_spec,
    kept_of,
    needed,
    node_of,
    resolve,
)


class Bundle(NamedTuple):
    """Source text.

    Attributes:
        imports: Lines that import from elsewhere.
        body: Definitions, each after what it needs.
        names: What a definition is called in ``body``.
        packages: Where the imports are from.
    """

    imports: str
    body: str
    names: Mapping[Place, str]
    packages: frozenset[str]


def bundle(
    roots: Iterable[Place],
    methods: Iterable[str],
    *,
    docstrings: Mapping[Place, str],
    substitutes: Mapping[Place, str],
) -> Bundle:
    """Gathers the source of definitions.

    Args:
        roots: What is wanted.
        methods: Names of methods and attributes that callers will use.
        docstrings: Of classes, in place of their own.
        substitutes: Builtins to take in place of definitions.
    """
    found = needed(roots, methods, without=substitutes)
    names = _names(found.places) | dict(substitutes)
    foreign = dict(found.foreign)
    if any(is_spec(place) for place in found.places):
        foreign["dataclass"] = "dataclasses", "dataclass"
    writer = _Writer(names, found.used, docstrings)
    sections = []
    for module in _in_order({place.module for place in found.places}):
        own = file_of(module).own
        mine = {place.name: place for place in found.places if place.module == module}
        # one statement may define two names
        wanted = {id(own[name]): mine[name] for name in own if name in mine}.values()
        sections.append(_heading(module) + "".join(map(writer.text, wanted)))
    return Bundle(_imports(foreign), "\n\n".join(sections), names, _packages(foreign))


def _names(places: list[Place]) -> dict[Place, str]:
    """A name of its own for each; the first to use a name keeps it."""
    taken: set[str] = set()
    found = {}
    for place in places:
        name = place.name
        if name in taken:
            *_, folder, file = place.module.split(".")
            name = f"{name}_{folder if file in ('module', 'spec') else file.strip('_')}"
        assert name not in taken, place
        taken.add(name)
        found[place] = name
    return found


def _in_order(modules: set[str]) -> list[str]:
    """Files, each after those that it imports."""
    done: dict[str, None] = {}

    def visit(module: str) -> None:
        for source, _ in file_of(module).imports.values():
            if source.split(".")[0] == PACKAGE and source in modules and source not in done:
                visit(source)
        done.setdefault(module)

    for module in sorted(modules):
        visit(module)
    return list(done)


def _heading(module: str) -> str:
    lines = wrap(f"{module.removeprefix(PACKAGE + '.')}: {file_of(module).title}", 96)
    return "".join(f"# {line}\n" for line in lines)


def _imports(foreign: Mapping[str, tuple[str, str | None]]) -> str:
    """Lines as formatters sort them: the standard library, then the rest."""
    whole = {(module, local) for local, (module, name) in foreign.items() if name is None}
    parts: dict[str, list[str]] = {}
    for local, (module, name) in sorted(foreign.items()):
        if name is not None:
            parts.setdefault(module, []).append(name if name == local else f"{name} as {local}")
    lines: dict[bool, list[str]] = {False: [], True: []}
    for module, local in sorted(whole):
        as_local = "" if module == local else f" as {local}"
        lines[_is_foreign(module)].append(f"import {module}{as_local}")
    for module, names in sorted(parts.items()):
        lines[_is_foreign(module)].append(f"from {module} import {', '.join(sorted(names))}")
    return "\n\n".join("\n".join(group) for group in lines.values() if group) + "\n"


def _is_foreign(module: str) -> bool:
    return module.split(".")[0] not in sys.stdlib_module_names


def _packages(foreign: Mapping[str, tuple[str, str | None]]) -> frozenset[str]:
    return frozenset(m.split(".")[0] for m, _ in foreign.values() if _is_foreign(m))


class _Writer:
    def __init__(
        self, names: Mapping[Place, str], used: set[str], docstrings: Mapping[Place, str]
    ) -> None:
        self._names, self._used, self._docstrings = names, used, docstrings
        count = Counter(place.name for place in names)
        self._ambiguous = {p.name for p, now in names.items() if count[p.name] > 1 or now != p.name}

    def text(self, place: Place) -> str:
        """The lines of a definition, and those between it and the one before."""
        node = node_of(place)
        space = "\n" if isinstance(node, ast.Assign | ast.AnnAssign) else "\n\n"
        if is_spec(place):
            return space + "\n".join(self._dataclass(place)) + "\n"
        lines = self._lines(place, node)
        if isinstance(node, ast.ClassDef):
            lines = self._class(place, node, lines)
        text = "\n".join(line for line in lines.values() if line is not None)
        return f"{space}{text.rstrip()}\n"

    def _lines(self, place: Place, node: ast.AST) -> dict[int, str | None]:
        """Source lines by number, names as they are called now."""
        file = file_of(place.module)
        first, last = _span(node)
        if isinstance(node, ast.Assign | ast.AnnAssign):
            last = _with_docstring(place, last)
        lines: dict[int, str | None] = {n: file.lines[n - 1] for n in range(first, last + 1)}
        for line, column, old, new in sorted(self._renamed(place, node), reverse=True):
            text = lines[line]
            assert text is not None
            assert text.encode()[column:].startswith(old.encode()), (place, old, text)
            raw = text.encode()
            lines[line] = (raw[:column] + new.encode() + raw[column + len(old) :]).decode()
        return lines

    def _renamed(self, place: Place, node: ast.AST) -> Iterator[tuple[int, int, str, str]]:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and self._names[place] != node.name:
            column = node.col_offset + (4 if isinstance(node, ast.FunctionDef) else 6)
            yield node.lineno, column, node.name, self._names[place]
        for name in ast.walk(node) if isinstance(node, ast.Assign | ast.AnnAssign) else ():
            if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store):
                now = self._names.get(Place(place.module, name.id), name.id)
                yield name.lineno, name.col_offset, name.id, now
        for name in free_names(node):
            if name.id in self._ambiguous:
                found = resolve(place.module, name.id)
                # one that is not there belongs to a method that is left out
                if isinstance(found, Place) and self._names.get(found, name.id) != name.id:
                    yield name.lineno, name.col_offset, name.id, self._names[found]

    def _class(
        self, place: Place, node: ast.ClassDef, lines: dict[int, str | None]
    ) -> dict[int, str | None]:
        kept = kept_of(place, self._used)
        for part in node.body:
            if part not in kept.body:
                first, last = _span(part)
                while (lines.get(first - 1) or "").strip().startswith("#"):
                    first -= 1
                while lines.get(first - 1) == "":
                    first -= 1
                lines |= dict.fromkeys(range(first, last + 1))
        if place in self._docstrings:
            first, last = _span(node.body[0])
            lines |= dict.fromkeys(range(first, last + 1))
            lines[first] = _quoted(self._docstrings[place])
        return lines

    def _dataclass(self, place: Place) -> list[str]:
        """A spec's options, and of its methods those that are used."""
        node = node_of(place)
        assert isinstance(node, ast.ClassDef)
        kept, written = kept_of(place, self._used), self._lines(place, node)
        bases = ", ".join(self._written(place, base) for base in kept.bases)
        lines = ["@dataclass(frozen=True)", f"class {self._names[place]}{bases and f'({bases})'}:"]
        lines += [_quoted(self._docstrings.get(place, "What the options of mixers share.")), ""]
        for part in kept.body:
            if isinstance(part, ast.AnnAssign):
                lines.append(self._option(place, part))
            elif not isinstance(part, ast.Expr):
                first, last = _span(part)
                lines += ["", *(written[n] or "" for n in range(first, last + 1))]
        return lines if lines[-1] else lines[:-1]

    def _option(self, place: Place, part: ast.AnnAssign) -> str:
        (name,) = (part.target.id,) if isinstance(part.target, ast.Name) else ("",)
        if is_class_variable(part):
            assert part.value is not None
            return f"    {name} = {self._written(place, part.value)}"
        default = default_of(part)
        kind = _plain_type(part.annotation, default)
        if default is None:
            return f"    {name}: {kind}"
        return f"    {name}: {kind} = {self._written(place, default)}"

    def _written(self, place: Place, node: ast.expr) -> str:
        """An expression, names as they are called now."""
        for name in free_names(node):
            found = resolve(place.module, name.id)
            if isinstance(found, Place) and self._names.get(found, name.id) != name.id:
                assert node is name, (place, name.id)
                return self._names[found]
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return f'"{node.value}"'
        return ast.unparse(node)


def _plain_type(annotation: ast.expr, default: ast.expr | None) -> str:
    text = ast.unparse(annotation)
    if text == "Reach":
        return "int | str"
    if text in ("int", "float", "bool", "str"):
        return text
    assert isinstance(default, ast.Constant), text
    return type(default.value).__name__


def _span(node: ast.AST) -> tuple[int, int]:
    """First and last line, decorators included."""
    assert isinstance(node, ast.stmt)
    decorators = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(d.lineno for d in decorators)])
    assert node.end_lineno is not None
    return first, node.end_lineno


def _with_docstring(place: Place, last: int) -> int:
    """The last line of what is said of a constant below it."""
    lines = file_of(place.module).lines
    if last < len(lines) and lines[last].startswith('"""'):
        end = last
        while not lines[end].endswith('"""') or (end == last and lines[end] == '"""'):
            end += 1
        return end + 1
    return last


def _quoted(text: str) -> str:
    """A docstring in a class."""
    lines = text.splitlines()
    if len(lines) == 1:
        return f'    """{lines[0]}"""'
    body = "\n".join(f"    {line}" if line else "" for line in lines[1:])
    return f'    """{lines[0]}\n{body}\n    """'

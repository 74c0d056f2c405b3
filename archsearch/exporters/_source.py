"""The definitions of this package's source: where they are, and what they need.

Nothing is imported: files are read and parsed. A definition is a function, class or constant at the
top of a file. What is needed of a class depends on what else is kept: a method stays if its name is
used somewhere, so that what only tests, prices and training need is left behind.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

PACKAGE = "archsearch"
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


class Place(NamedTuple):
    """A definition: the dotted name of its file, and its own."""

    module: str
    name: str


SPEC = Place(f"{PACKAGE}.mixers.base", "MixerSpec")
"""The root of what describes a mixer: pydantic models, which stay behind."""


class File:
    """A file of the package, parsed.

    Attributes:
        lines: Its text.
        title: The first line of what it says of itself.
        own: Its definitions by name.
        imports: (file, name there) by name here; None where a whole module is imported.
    """

    def __init__(self, module: str) -> None:
        found = find_spec(module)
        assert found is not None
        assert found.origin is not None
        text = Path(found.origin).read_text(encoding="utf-8")
        self.lines, tree = text.splitlines(), ast.parse(text)
        self.title = (ast.get_docstring(tree) or "").split("\n")[0]
        self.own: dict[str, ast.stmt] = {}
        self.imports: dict[str, tuple[str, str | None]] = {}
        for node in tree.body:
            self.own |= dict.fromkeys(defined(node), node)
            if isinstance(node, ast.Import):
                self.imports |= {a.asname or a.name: (a.name, None) for a in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                self.imports |= {a.asname or a.name: (node.module, a.name) for a in node.names}


@cache
def file_of(module: str) -> File:
    """A file by its dotted name."""
    return File(module)


def node_of(place: Place) -> ast.stmt:
    """The statement that makes a definition."""
    return file_of(place.module).own[place.name]


def module_class(mixer: str) -> Place:
    """What runs of a mixer: the class that its ``MODULE`` names."""
    return _named(Place(f"{PACKAGE}.mixers.{mixer}.module", "MODULE"))


def spec_class(mixer: str) -> Place:
    """What describes a mixer: the class that its ``SPEC`` names."""
    return _named(Place(f"{PACKAGE}.mixers.{mixer}.spec", "SPEC"))


def _named(place: Place) -> Place:
    node = node_of(place)
    assert isinstance(node, ast.Assign)
    assert isinstance(node.value, ast.Name)
    return Place(place.module, node.value.id)


def defined(node: ast.stmt) -> list[str]:
    """The names that a statement defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign):
        targets = [node.target]
    return [n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)]


def resolve(module: str, name: str) -> Place | tuple[str, str | None] | None:
    """What a name means at the top of a file: a place, an import from elsewhere, or a builtin."""
    file = file_of(module)
    if name in file.own:
        return Place(module, name)
    if name not in file.imports:
        return None
    source, original = file.imports[name]
    if source.split(".")[0] != PACKAGE:
        return source, original
    assert original is not None
    return resolve(source, original)


# what a definition consists of


def is_spec(place: Place) -> bool:
    """Whether a class describes a mixer."""
    if place == SPEC:
        return True
    node = node_of(place)
    names = node.bases if isinstance(node, ast.ClassDef) else []
    bases = [resolve(place.module, b.id) for b in names if isinstance(b, ast.Name)]
    return any(isinstance(base, Place) and is_spec(base) for base in bases)


def is_class_variable(node: ast.stmt) -> bool:
    """Whether a statement of a class's body says ``name: ClassVar[...]``."""
    return isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation).startswith("ClassVar")


def default_of(field: ast.AnnAssign) -> ast.expr | None:
    """What an option is if nothing is said; None where something must be said."""
    value = field.value
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "Field":
        return value.args[0] if value.args else None
    return value


class Kept(NamedTuple):
    """What is kept of a class: its bases, and statements of its body."""

    bases: list[ast.expr]
    body: list[ast.stmt]


def kept_of(place: Place, used: Iterable[str]) -> Kept:
    """What is kept of a class if those names are used."""
    node = node_of(place)
    assert isinstance(node, ast.ClassDef)
    spec = is_spec(place)

    def stays(part: ast.stmt) -> bool:
        if isinstance(part, ast.FunctionDef):
            return part.name in used or part.name.startswith("__")
        if spec and isinstance(part, ast.Assign):
            return False  # pydantic's settings
        if is_class_variable(part):
            assert isinstance(part, ast.AnnAssign)
            return part.value is not None and any(name in used for name in defined(part))
        return True

    bases = [] if place == SPEC else node.bases
    return Kept(bases, [part for part in node.body if stays(part)])


def _pieces(place: Place, used: Iterable[str]) -> Iterator[ast.AST]:
    """What names are to be looked for in."""
    node = node_of(place)
    if not isinstance(node, ast.ClassDef):
        yield node
        return
    kept, spec = kept_of(place, used), is_spec(place)
    yield from (*kept.bases, *node.decorator_list)
    for part in kept.body:
        if spec and isinstance(part, ast.AnnAssign):
            # an option's type and bounds stay behind
            default = part.value if is_class_variable(part) else default_of(part)
            if default is not None:
                yield default
        else:
            yield part


class Needed(NamedTuple):
    """Definitions and what they use.

    Attributes:
        places: In the order in which they were found.
        foreign: Imports from other packages: (module, name there) by name here.
        used: Names of all attributes.
    """

    places: list[Place]
    foreign: dict[str, tuple[str, str | None]]
    used: set[str]


def needed(
    roots: Iterable[Place], methods: Iterable[str], *, without: Collection[Place] = ()
) -> Needed:
    """All that these definitions need, if callers use those methods and attributes.

    What is ``without`` is not followed: the caller has something in its place.
    """
    places = dict.fromkeys(roots)
    foreign: dict[str, tuple[str, str | None]] = {}
    used = set(methods)
    before = -1
    while before != (now := len(places) + len(foreign) + len(used)):
        before = now
        for place in list(places):
            for piece in _pieces(place, used):
                used |= {n.attr for n in ast.walk(piece) if isinstance(n, ast.Attribute)}
                for name in {n.id for n in free_names(piece)}:
                    found = resolve(place.module, name)
                    if isinstance(found, Place):
                        if found not in without:
                            places.setdefault(found)
                    elif found is not None:
                        foreign[name] = found
    return Needed(list(places), foreign, used)


# names


def free_names(node: ast.AST) -> Iterator[ast.Name]:
    """Names that are read and not bound by a function, lambda or comprehension inside ``node``."""
    yield from _free(node, frozenset())


def _free(node: ast.AST, bound: frozenset[str]) -> Iterator[ast.Name]:
    if isinstance(node, ast.Name):
        if isinstance(node.ctx, ast.Load) and node.id not in bound:
            yield node
        return
    inside = bound
    outer: list[ast.AST] = []
    body: list[ast.AST]
    if isinstance(node, ast.FunctionDef | ast.Lambda):
        arguments = node.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        every += [a for a in (arguments.vararg, arguments.kwarg) if a is not None]
        inside = bound | {a.arg for a in every}
        outer = [*arguments.defaults, *(d for d in arguments.kw_defaults if d is not None)]
        outer += [a.annotation for a in every if a.annotation is not None]
        if isinstance(node, ast.FunctionDef):
            inside |= set(_bound_in(node.body))
            outer += [*node.decorator_list, *([node.returns] if node.returns else [])]
        body = list(node.body) if isinstance(node.body, list) else [node.body]
    elif isinstance(node, _COMPREHENSIONS):
        inside = bound | {
            n.id for g in node.generators for n in ast.walk(g.target) if isinstance(n, ast.Name)
        }
        body = list(ast.iter_child_nodes(node))
    else:
        body = list(ast.iter_child_nodes(node))
    for part in outer:
        yield from _free(part, bound)
    for part in body:
        yield from _free(part, inside)


def _bound_in(body: Iterable[ast.AST]) -> Iterator[str]:
    """Names that statements bind, those of functions inside them aside."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.alias):
            yield node.asname or node.name.split(".")[0]
        elif not isinstance(node, (ast.Lambda, *_COMPREHENSIONS)):
            yield from _bound_in(ast.iter_child_nodes(node))

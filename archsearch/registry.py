"""Name to component, found by looking into a package: adding a file adds the component."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Generic, TypeVar

from archsearch.errors import UnknownNameError, suggestion

T = TypeVar("T")


class Registry(Generic[T]):
    """The components of one kind that live in one package.

    A component ``x`` of the package ``p`` is the attribute ``attribute`` of ``p.x`` (a file), or of
    ``p.x.<inner>`` (a folder) when ``inner`` is given. Modules called ``base`` or beginning with an
    underscore are not components. Names are listed without importing anything.

    Args:
        kind: What a component is called in messages, such as ``"mixer"``.
        package: The package to look into.
        attribute: The name that each component module defines.
        inner: The module inside a component's folder that defines it.
    """

    def __init__(self, kind: str, package: str, attribute: str, inner: str | None = None) -> None:
        self.kind = kind
        self._package = package
        self._attribute = attribute
        self._inner = inner
        self._names: tuple[str, ...] | None = None
        # asking the import system again takes as long as pricing a layer
        self._modules: dict[str, ModuleType] = {}

    def names(self) -> tuple[str, ...]:
        """All names, sorted."""
        if self._names is None:
            package = importlib.import_module(self._package)
            self._names = tuple(
                sorted(
                    found.name
                    for found in pkgutil.iter_modules(package.__path__)
                    if found.name != "base"
                    and not found.name.startswith("_")
                    and found.ispkg == (self._inner is not None)
                )
            )
        return self._names

    def get(self, name: str) -> T:
        """The component of that name.

        Raises:
            UnknownNameError: No component has that name; the message lists those that exist.
        """
        if name not in self._modules:
            if name not in self.names():
                raise UnknownNameError(
                    f"unknown {self.kind} '{name}'{suggestion(name, self.names())}"
                    f" (known: {', '.join(self.names())})"
                )
            path = f"{self._package}.{name}" + (f".{self._inner}" if self._inner else "")
            self._modules[name] = importlib.import_module(path)
        component: T = getattr(self._modules[name], self._attribute)
        return component

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __contains__(self, name: object) -> bool:
        return name in self.names()

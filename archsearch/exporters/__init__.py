"""Designs as files, one format per file of this package; and back again."""

from __future__ import annotations

from archsearch.exporters._writing import write
from archsearch.exporters.base import Exporter, load, read
from archsearch.registry import Registry

exporters: Registry[Exporter] = Registry("export format", __name__, "EXPORTER")

__all__ = ["exporters", "load", "read", "write"]

"""Whole designs by name, one file each: what a published stack fixes besides width and depth."""

from __future__ import annotations

from archsearch.presets.base import Preset
from archsearch.registry import Registry

presets: Registry[Preset] = Registry("preset", __name__, "PRESET")

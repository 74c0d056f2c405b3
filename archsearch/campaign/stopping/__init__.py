"""Rules that end runs at a rung, one file each: pure functions of what is known by then."""

from __future__ import annotations

from archsearch.campaign.stopping.base import Rule
from archsearch.registry import Registry

rules: Registry[Rule] = Registry("stopping rule", __name__, "STOPS")

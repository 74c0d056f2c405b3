"""Tasks, one file each: settings, a vectorised generator and a score; numpy only."""

from __future__ import annotations

from typing import Any

from archsearch.registry import Registry
from archsearch.tasks.base import Task

tasks: Registry[type[Task[Any]]] = Registry("task", __name__, "TASK")

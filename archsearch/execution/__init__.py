"""Where requests are carried out, one file each: in one process beside the driver, or on Ray."""

from __future__ import annotations

from archsearch.execution.base import Executor
from archsearch.registry import Registry

executors: Registry[type[Executor]] = Registry("executor", __name__, "EXECUTOR")

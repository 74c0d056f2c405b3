"""Search methods, one file each, as factories of Optuna samplers."""

from __future__ import annotations

from archsearch.registry import Registry
from archsearch.samplers.base import SamplerFactory

samplers: Registry[SamplerFactory] = Registry("sampler", __name__, "SAMPLER")

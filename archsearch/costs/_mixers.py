"""The mixers of a design, counted: what all costs are sums over."""

from __future__ import annotations

from collections import Counter

from archsearch.architecture import Architecture
from archsearch.canonical import spec_of
from archsearch.mixers.base import MixerSpec


def sequence_mixers(architecture: Architecture) -> Counter[MixerSpec]:
    """Each distinct sequence mixer and how often it occurs."""
    return Counter(spec_of(block.sequence) for block in architecture.blocks)


def active_mixers(architecture: Architecture) -> Counter[MixerSpec]:
    """Each distinct mixer that computes something, of both kinds, and how often it occurs."""
    mixers = sequence_mixers(architecture)
    mixers.update(spec_of(block.channel) for block in architecture.blocks)
    return Counter({spec: count for spec, count in mixers.items() if not spec.skipped})

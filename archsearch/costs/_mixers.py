"""The mixers of a design, counted: what all costs are sums over."""

from __future__ import annotations

from collections import Counter

from archsearch.architecture import Architecture, Component
from archsearch.canonical import spec_of
from archsearch.mixers.base import MixerSpec


def sequence_mixers(architecture: Architecture) -> Counter[MixerSpec]:
    """Each distinct sequence mixer and how often it occurs.

    The convolution in front of a block's mixers is one too.
    """
    mixers: Counter[MixerSpec] = Counter()
    for block in architecture.blocks:
        mixers.update(spec_of(mixer) for mixer in block.mixers)
        if block.local_conv:
            conv = Component(name="short_conv", options={"kernel_size": block.local_conv})
            mixers[spec_of(conv)] += 1
    return _without_skipped(mixers)


def channel_mixers(architecture: Architecture) -> Counter[MixerSpec]:
    """Each distinct channel mixer that stands behind a norm, and how often it occurs."""
    return _without_skipped(Counter(spec_of(block.channel) for block in architecture.blocks))


def active_mixers(architecture: Architecture) -> Counter[MixerSpec]:
    """Each distinct mixer that computes something, of both kinds, and how often it occurs."""
    return sequence_mixers(architecture) + channel_mixers(architecture)


def _without_skipped(mixers: Counter[MixerSpec]) -> Counter[MixerSpec]:
    return Counter({spec: count for spec, count in mixers.items() if not spec.skipped})

"""The mixers, one folder each: ``spec.py`` describes and prices, ``module.py`` computes.

``specs`` finds a mixer's description without torch; ``modules`` finds what runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from archsearch.mixers.base import MixerSpec
from archsearch.registry import Registry

if TYPE_CHECKING:
    from archsearch.mixers._module import ChannelMixer, SequenceMixer

specs: Registry[type[MixerSpec]] = Registry("mixer", __name__, "SPEC", inner="spec")
modules: Registry[type[SequenceMixer] | type[ChannelMixer]] = Registry(
    "mixer", __name__, "MODULE", inner="module"
)

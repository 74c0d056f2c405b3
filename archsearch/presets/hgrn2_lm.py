"""HGRN2: a gated recurrence with lower bounds that rise from layer to layer, and SwiGLU."""

from __future__ import annotations

from archsearch.architecture import Block, Component
from archsearch.mixers.base import Citation
from archsearch.presets.base import Preset


def _block(num_heads: int) -> Block:
    return Block(sequence=Component(name="hgrn2"), channel=Component(name="swiglu"))


PRESET = Preset(
    name="hgrn2_lm",
    summary="RMSNorm, HGRN2, SwiGLU of hidden width 8d/3; no positions.",
    citation=Citation("Qin et al. 2024 (HGRN2)", "2404.07904", "section 3"),
    norm="rmsnorm",
    position="none",
    block=_block,
)

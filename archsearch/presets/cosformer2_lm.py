"""cosFormer2: linear attention turned by position, without decay, and SwiGLU."""

from __future__ import annotations

from archsearch.architecture import Block, Component
from archsearch.mixers.base import Citation
from archsearch.presets.base import Preset


def _block(num_heads: int) -> Block:
    return Block(
        sequence=Component(name="cosformer2", options={"num_heads": num_heads}),
        channel=Component(name="swiglu"),
    )


PRESET = Preset(
    name="cosformer2_lm",
    summary="RMSNorm, cosFormer2 (a reading), SwiGLU of hidden width 8d/3; no other positions.",
    citation=Citation("Shen et al. 2024 (linear scaling laws)", "2406.16690", "section 3"),
    norm="rmsnorm",
    position="none",
    block=_block,
)

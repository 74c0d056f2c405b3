"""LLaMA: the softmax transformer that linear models are compared with."""

from __future__ import annotations

from archsearch.architecture import Block, Component
from archsearch.mixers.base import Citation
from archsearch.presets.base import Preset


def _block(num_heads: int) -> Block:
    return Block(
        sequence=Component(name="attention", options={"num_heads": num_heads}),
        channel=Component(name="swiglu"),
    )


PRESET = Preset(
    name="llama",
    summary="RMSNorm, rotary full attention, SwiGLU of hidden width 8d/3; no biases.",
    citation=Citation("Touvron et al. 2023 (LLaMA)", "2302.13971", "section 2.2"),
    norm="rmsnorm",
    position="rotary",
    block=_block,
)

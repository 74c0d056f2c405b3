"""TransNormerLLM: linear attention with constant decay, and a gated unit without activation."""

from __future__ import annotations

from archsearch.architecture import Block, Component
from archsearch.mixers.base import Citation
from archsearch.presets.base import Preset


def _block(num_heads: int) -> Block:
    # with one head all weights decay alike; the published slopes spread over several
    return Block(
        sequence=Component(name="tnl", options={"num_heads": max(2, num_heads)}),
        channel=Component(name="sglu"),
    )


PRESET = Preset(
    name="transnormer",
    summary="RMSNorm for SRMSNorm, TNL of at least two heads, SGLU; no LRPE in the first layer.",
    citation=Citation("Qin et al. 2023 (TransNormerLLM)", "2307.14995", "section 3"),
    norm="rmsnorm",
    position="none",
    block=_block,
)

"""How full causal attention is computed, and at what cost; torch-free."""

from __future__ import annotations

BLOCK = 64
"""Queries of a block, which meet the keys up to its end: the fastest of 32 to 512, measured."""

MOST_SCORES = 2**22
"""Of a masked pattern in a batch: 16 MB, about where torch's fused kernel begins to win."""

_LONGEST = 4096
"""Above this length (times heads) the kept scores of a batch would be large: 134 MB here, of 16,384
tokens. torch's fused kernel, which is as fast there, keeps none."""


def causal_in_blocks(length: int, num_heads: int) -> bool:
    """Whether blocks of queries serve; one block alone is no better than torch's kernel."""
    return length > BLOCK and length * num_heads <= _LONGEST


def executed_causal_pairs(length: int, num_heads: int) -> int:
    """Pairs of a query and a key that are multiplied, masked or not."""
    return block_pairs(length) if causal_in_blocks(length, num_heads) else length**2


def block_pairs(length: int) -> int:
    """Pairs of blocks of queries with the keys up to their ends."""
    whole, rest = divmod(length, BLOCK)
    return BLOCK**2 * whole * (whole + 1) // 2 + rest * length

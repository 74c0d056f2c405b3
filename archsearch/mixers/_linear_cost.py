"""The price of the chunked linear attention, torch-free."""

from __future__ import annotations

CHUNK = 64
"""Positions of a chunk: part of the algorithm, no option, or a search would gain by lowering it."""


def linear_attention_flops(length: int, key_width: int, value_width: int) -> int:
    """One head: 2NC(E + V) within chunks and 4NEV between them, for N a multiple of the chunk C."""
    chunk = min(CHUNK, length)
    return length * (2 * chunk * (key_width + value_width) + 4 * key_width * value_width)


def padded(length: int) -> int:
    """The length that the chunks cover."""
    chunk = min(CHUNK, length)
    return -(-length // chunk) * chunk

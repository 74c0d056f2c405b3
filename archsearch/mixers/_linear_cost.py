"""The price of the chunked linear attention, torch-free."""

from __future__ import annotations

from typing import NamedTuple

CHUNK = 64
"""Positions of a chunk: part of the algorithm, no option, or a search would gain by lowering it."""

SUBCHUNK = 16
"""Where each channel decays at its own pace, a chunk is worked off in parts of this size."""

HALVED = (16, 8, 4)
"""Sizes of the blocks on the diagonal whose later half reads their earlier half as a product."""


def linear_attention_flops(length: int, key_width: int, value_width: int) -> int:
    """One head: 2NC(E + V) within chunks and 4NEV between them, for N a multiple of the chunk C."""
    chunk = min(CHUNK, length)
    return length * (2 * chunk * (key_width + value_width) + 4 * key_width * value_width)


def padded(length: int) -> int:
    """The length that the chunks cover."""
    chunk = min(CHUNK, length)
    return -(-length // chunk) * chunk


def carry_flops(length: int, key_width: int, value_width: int) -> int:
    """One head, with decay: 2EV for each chunk, from one chunk to the next; no matrix product."""
    return 2 * -(-length // CHUNK) * key_width * value_width


def channel_chunk(length: int) -> int:
    """Positions of a chunk where each channel decays at its own pace: whole sub-chunks."""
    return min(CHUNK, -(-length // SUBCHUNK) * SUBCHUNK)


def channel_matmul_flops(length: int, key_width: int, value_width: int) -> int:
    """One head's products with a decay per channel, whole chunks covered.

    The C x C scores are computed block row by block row, those within a sub-chunk once more by
    halves: 2 (b/2)^2 E for each block of b positions.
    """
    chunk = channel_chunk(length)
    covered = -(-length // chunk) * chunk
    halves = sum(HALVED) // 2 * key_width
    return covered * (2 * chunk * (key_width + value_width) + 4 * key_width * value_width + halves)


def channel_elementwise_flops(length: int, key_width: int, value_width: int) -> int:
    """One head's multiply-adds outside products: neighbours and the diagonal, and the carry."""
    chunk = channel_chunk(length)
    covered = -(-length // chunk) * chunk
    return 7 * covered // 2 * key_width + carry_flops(length, key_width, value_width)


class CoreCost(NamedTuple):
    """FLOPs of the recurrence of all heads of a mixer, its projections not included."""

    useful: int
    executed: int
    matmul: int


def plain_core(length: int, heads: int, key_width: int, value_width: int) -> CoreCost:
    """No decay; the running sums are additions, which do not count."""
    useful = heads * linear_attention_flops(length, key_width, value_width)
    matmul = useful // length * padded(length)
    return CoreCost(useful, matmul, matmul)


def scalar_core(length: int, heads: int, key_width: int, value_width: int) -> CoreCost:
    """One decay per head, constant or made of the input."""
    core = plain_core(length, heads, key_width, value_width)
    carried = heads * carry_flops(length, key_width, value_width)
    return core._replace(executed=core.executed + carried)


def channel_core(length: int, heads: int, key_width: int, value_width: int) -> CoreCost:
    """One decay per channel of the keys."""
    useful = heads * linear_attention_flops(length, key_width, value_width)
    matmul = heads * channel_matmul_flops(length, key_width, value_width)
    other = heads * channel_elementwise_flops(length, key_width, value_width)
    return CoreCost(useful, matmul + other, matmul)


def core_slope(heads: int, key_width: int, value_width: int) -> float:
    """Useful FLOPs per token of all heads, from one full chunk on."""
    return heads * linear_attention_flops(CHUNK, key_width, value_width) / CHUNK


def delta_core(length: int, heads: int, key_width: int, value_width: int) -> CoreCost:
    """The delta rule, with or without decay.

    Useful is 6NEV + NC(5E + 3V) per head: for each chunk two products of C x E with E x C, one of
    C x C with C x V, a triangular system with E + V right sides, and three of C x E x V. We also
    make a transition of E x E, and multiply the transitions into the state one after the other.
    """
    chunk = min(CHUNK, length)
    within = chunk * (5 * key_width + 3 * value_width)
    useful = heads * length * (6 * key_width * value_width + within)
    covered = padded(length)
    products = 4 * chunk * key_width + 2 * chunk * value_width + 6 * key_width * value_width
    matmul = covered * (products + 2 * key_width**2)
    matmul += 2 * (covered // chunk - 1) * key_width**2 * value_width
    solved = covered * chunk * (key_width + value_width)
    return CoreCost(useful, heads * (matmul + solved), heads * matmul)

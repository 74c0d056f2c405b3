"""Attention to blocks that each query picks for itself, by tiles of queries with the same block.

Axes: Z batch and heads, M queries, N blocks that a query reads (the first is its own), L length,
C positions of a block, E width of a head, K blocks, T tiles, R queries of a tile, P pairs of a
query and a block, S slots of all tiles, X any row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from archsearch.mixers._blocks_cost import Picking

# Elements of scores that are made at once, if one head of one sequence does not need more.
_SLICE = 2**22


class _Regroup(torch.autograd.Function):
    """Rows in another order, forwards and backwards without adding anything up.

    ``to`` and ``back`` are inverse to one another but for rows of padding, on the source's side or
    on the result's: the result's hold anything, the source's, ``unread``, have gradient 0.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, to: Tensor, back: Tensor, unread: Tensor | None) -> Tensor:
        ctx.save_for_backward(back, unread)
        return rows.index_select(0, to)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        back, unread = ctx.saved_tensors
        found = gradients[0].index_select(0, back)
        if unread is not None:
            found.index_fill_(0, unread, 0.0)
        return found, None, None, None


class _Tiles(NamedTuple):
    """Which pair (query, block) stands in which slot of which tile.

    Attributes:
        slot: Of each of the Z M N pairs.
        pair: In each slot; any in an empty one.
        empty: The slots without a pair.
        block: Of each tile, among all Z K.
    """

    slot: Tensor
    pair: Tensor
    empty: Tensor
    block: Tensor

    def to_slots(self, rows_PX: Tensor) -> Tensor:
        return _Regroup.apply(rows_PX, self.pair, self.slot, None)  # type: ignore[no-untyped-call]

    def to_pairs(self, rows_SX: Tensor) -> Tensor:
        return _Regroup.apply(rows_SX, self.slot, self.pair, self.empty)  # type: ignore[no-untyped-call]


@torch.no_grad()
def _tiles(chosen_ZMN: Tensor, cut: Picking) -> _Tiles:
    """Pairs sorted by block, the pairs of each block from the start of a tile on."""
    block_ZP = chosen_ZMN.flatten(1)
    batch, num_pairs = block_ZP.shape
    sorted_ZP, order_ZP = block_ZP.sort(dim=1)
    count_ZK = block_ZP.new_zeros(batch, cut.num_blocks)
    count_ZK.scatter_add_(1, block_ZP, torch.ones_like(block_ZP))
    tiles_ZK = (count_ZK + cut.rows - 1) // cut.rows
    end_ZK = tiles_ZK.cumsum(1)
    # how much further back than in the sorted list the pairs of a block stand
    shift_ZK = (end_ZK - tiles_ZK) * cut.rows - (count_ZK.cumsum(1) - count_ZK)
    rank_P = torch.arange(num_pairs, device=block_ZP.device)
    slot_ZP = rank_P + shift_ZK.gather(1, sorted_ZP)
    sequence_Z1 = torch.arange(batch, device=block_ZP.device)[:, None]
    slots = cut.tiles * cut.rows
    # -1 stays in empty slots
    pair_ZS = block_ZP.new_full((batch, slots), -1).scatter_(1, slot_ZP, order_ZP)
    tile_T = torch.arange(cut.tiles, device=block_ZP.device).repeat(batch, 1)
    tile_block = torch.searchsorted(end_ZK, tile_T, right=True).clamp_max(cut.num_blocks - 1)
    return _Tiles(
        slot=(
            slot_ZP.new_zeros(slot_ZP.shape).scatter_(1, order_ZP, slot_ZP) + sequence_Z1 * slots
        ).flatten(),
        pair=(pair_ZS.clamp_min(0) + sequence_Z1 * num_pairs).flatten(),
        empty=(pair_ZS.flatten() < 0).nonzero().flatten(),
        block=(tile_block + sequence_Z1 * cut.num_blocks).flatten(),
    )


def picked_attention(
    q_ZME: Tensor,
    k_ZLE: Tensor,
    v_ZLE: Tensor,
    chosen_ZMN: Tensor,
    cut: Picking,
    weigh: Callable[[Tensor], Tensor],
) -> Tensor:
    """Outputs (Z, M, E) of the last M positions, which read the ``chosen`` blocks.

    ``weigh`` makes weights of scores, both (Z, M, N, C), those of later positions -inf.
    """
    batch, queries, count = chosen_ZMN.shape
    tiles = _tiles(chosen_ZMN, cut)
    k_TCE, v_TCE = (_of_tiles(x, tiles, cut) for x in (k_ZLE, v_ZLE))
    q_PE = (q_ZME / q_ZME.shape[2] ** 0.5)[:, :, None].expand(-1, -1, count, -1).flatten(0, 2)
    q_TRE = tiles.to_slots(q_PE).view(-1, cut.rows, q_ZME.shape[2])
    score_SC = (q_TRE @ k_TCE.transpose(1, 2)).flatten(0, 1)
    score_ZMNC = tiles.to_pairs(score_SC).view(batch, queries, count, cut.size)
    future_MNC = _future(queries, count, cut, score_SC.device)
    weight_ZMNC = weigh(score_ZMNC.masked_fill(future_MNC, float("-inf")))
    weight_TRC = tiles.to_slots(weight_ZMNC.flatten(0, 2)).view(-1, cut.rows, cut.size)
    y_PE = tiles.to_pairs((weight_TRC @ v_TCE).flatten(0, 1))
    return y_PE.view(batch, queries, count, -1).sum(2)


def _of_tiles(x_ZLE: Tensor, tiles: _Tiles, cut: Picking) -> Tensor:
    """Keys or values of each tile's block."""
    padded = F.pad(x_ZLE, (0, 0, 0, cut.num_blocks * cut.size - x_ZLE.shape[1]))
    rows = padded.reshape(-1, cut.size * x_ZLE.shape[2])
    return rows.index_select(0, tiles.block).view(-1, cut.size, x_ZLE.shape[2])


def _future(queries: int, count: int, cut: Picking, device: torch.device) -> Tensor:
    """(M, N, C) booleans: is the key later than the query? In its own block only."""
    place_M = torch.arange(cut.dense, cut.dense + queries, device=device) % cut.size
    later_MC = torch.arange(cut.size, device=device) > place_M[:, None]
    own_N1 = torch.arange(count, device=device)[:, None] == 0
    return later_MC[:, None] & own_N1


def in_slices(function: Callable[..., Tensor], elements: int, *inputs: Tensor) -> Tensor:
    """The function of all inputs, of a part of the first axis at a time; ``elements`` per entry."""
    step = max(1, _SLICE // max(1, elements))
    starts = range(0, inputs[0].shape[0], step)
    return torch.cat([function(*(x[i : i + step] for x in inputs)) for i in starts])

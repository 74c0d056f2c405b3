"""Attention for selected positions, and causal rules that select.

Axes: B batch, L length, D width, H heads, G heads of keys and values, E width of a head, M served
positions, K chunks, C positions of a chunk, R ranked scores.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archsearch.mixers._attention import (
    masked_attention,
    remember,
    rotary_angles,
    rotate,
    spread,
)
from archsearch.mixers._module import SequenceMixer, State, taken
from archsearch.mixers._selection_cost import SelectingSpec

_RANKING_CHUNK = 64


def select(open_BL: Tensor, cap: int) -> tuple[Tensor, Tensor]:
    """The first ``cap`` open positions of each sequence in order, and which slots they fill.

    Slots that nothing fills point at position 0.
    """
    batch, length = open_BL.shape
    rank_BL = open_BL.cumsum(1) - 1
    # one slot more than there is, for everything that is not served
    slot_BL = torch.where(open_BL & (rank_BL < cap), rank_BL, cap)
    position_BL = torch.arange(length, device=open_BL.device).expand(batch, length)
    slots = position_BL.new_zeros(batch, cap + 1).scatter(1, slot_BL, position_BL)
    filled = torch.arange(cap, device=open_BL.device) < open_BL.sum(1, keepdim=True)
    return slots[:, :cap], filled


def select_in_chunks(open_BL: Tensor, cap: int, chunk: int) -> tuple[Tensor, Tensor]:
    """``select`` in every chunk; a last one that is shorter than the cap has fewer slots.

    Slots that nothing fills point at the first position of their chunk.
    """
    batch, length = open_BL.shape
    first_K = torch.arange(0, length, chunk, device=open_BL.device)
    padded = F.pad(open_BL, (0, -length % chunk), value=False)
    position, filled = select(padded.reshape(-1, chunk), cap)
    position_BKM = position.reshape(batch, -1, cap) + first_K[:, None]
    slots = length // chunk * cap + min(cap, length % chunk)
    return position_BKM.flatten(1)[:, :slots], filled.reshape(batch, -1)[:, :slots]


def place(y_BMD: Tensor, position_BM: Tensor, length: int) -> Tensor:
    """Adds each row to its position of an empty sequence, (B, L, D)."""
    index_BMD = position_BM[..., None].expand_as(y_BMD)
    empty_BLD = y_BMD.new_zeros(y_BMD.shape[0], length, y_BMD.shape[2])
    return empty_BLD.scatter_add(1, index_BMD, y_BMD)


@torch.no_grad()
def prefix_rank(score_BL: Tensor, rank: int) -> Tensor:
    """Is the score among the ``rank`` largest so far, earlier ones first where they are equal?

    Within chunks by comparing all pairs, before them by the largest scores of all earlier chunks.
    """
    length = score_BL.shape[1]
    if rank >= length:
        return torch.ones_like(score_BL, dtype=torch.bool)
    chunk = min(_RANKING_CHUNK, length)
    padded = F.pad(score_BL, (0, -length % chunk), value=float("-inf"))
    score_BKC = padded.reshape(padded.shape[0], -1, chunk)
    not_smaller = score_BKC[..., None, :] >= score_BKC[..., None]
    ahead_BKC = not_smaller.tril(-1).sum(-1)
    best_BKR = F.pad(_largest_so_far(score_BKC, rank)[:, :-1], (0, 0, 1, 0), value=float("-inf"))
    ascending = best_BKR.flip(-1).contiguous()
    smaller_BKC = torch.searchsorted(ascending, score_BKC.contiguous())
    ahead_BKC += ascending.shape[-1] - smaller_BKC
    return (ahead_BKC < rank).flatten(1)[:, :length]


def _largest_so_far(score_BKC: Tensor, rank: int) -> Tensor:
    """The largest scores of all chunks up to each, descending; -inf where there are too few.

    After each round a chunk's list covers twice as many chunks, as in a parallel prefix sum.
    """
    chunks, step = score_BKC.shape[1], 1
    best_BKR = score_BKC.topk(min(rank, score_BKC.shape[2])).values
    while step < chunks:
        earlier = F.pad(best_BKR[:, :-step], (0, 0, step, 0), value=float("-inf"))
        both = torch.cat((best_BKR, earlier), dim=-1)
        best_BKR = both.topk(min(rank, both.shape[2])).values
        step *= 2
    return best_BKR


def chunked_rank(score_BL: Tensor, rank: int, chunk: int) -> Tensor:
    """``prefix_rank`` begun again every ``chunk`` positions."""
    batch, length = score_BL.shape
    padded = F.pad(score_BL, (0, -length % chunk), value=float("-inf"))
    picked = prefix_rank(padded.reshape(-1, chunk), rank)
    return picked.reshape(batch, -1)[:, :length]


class SelectedAttention(SequenceMixer):
    """Attention with keys and values of every position, and queries and output of some.

    A subclass calls ``add_projections`` and decides who is served.
    """

    def add_projections(self, spec: SelectingSpec) -> None:
        """The linear maps, no biases; after those of the subclass, which are drawn first."""
        width = self.context.d_model
        self.num_heads = spec.num_heads
        self.head_width = width // spec.num_heads
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * spec.key_width(width), bias=False)
        self.output = nn.Linear(width, width, bias=False)

    def attend(self, x_BLD: Tensor, position_BM: Tensor) -> Tensor:
        """Outputs (B, M, D) of the positions."""
        length = x_BLD.shape[1]
        q = self._split(self.query(taken(x_BLD, position_BM)))
        k, v = self._keys_values(x_BLD)
        if self.context.rotary:
            cos_LE, sin_LE = rotary_angles(length, self.head_width, q)
            q = rotate(q, cos_LE[position_BM][:, None], sin_LE[position_BM][:, None])
            k = rotate(k, cos_LE, sin_LE)
        past_BML = torch.arange(length, device=x_BLD.device) <= position_BM[..., None]
        k, v = spread(k, self.num_heads), spread(v, self.num_heads)
        core = F.scaled_dot_product_attention(q, k, v, attn_mask=past_BML[:, None])
        return self._merge(core)

    def attend_everywhere(self, x_BLD: Tensor) -> Tensor:
        """Outputs (B, L, D) of all positions, with the dense matrix: for references."""
        length = x_BLD.shape[1]
        q = self._split(self.query(x_BLD))
        k, v = self._keys_values(x_BLD)
        if self.context.rotary:
            turn = rotary_angles(length, self.head_width, q)
            q, k = rotate(q, *turn), rotate(k, *turn)
        k, v = (x.repeat_interleave(self.num_heads // x.shape[1], dim=1) for x in (k, v))
        past_LL = torch.ones(length, length, dtype=torch.bool, device=x_BLD.device).tril()
        return self._merge(masked_attention(q, k, v, past_LL))

    def initial_state(self, batch: int, length: int) -> State:
        groups = self.key_value.out_features // (2 * self.head_width)
        empty = self.zeros(batch, groups, 0, self.head_width)
        count = torch.zeros(batch, dtype=torch.int64, device=empty.device)
        total = torch.full_like(count, length)
        return {
            "key": empty, "value": empty, "position": count, "length": total, "served": count,
        }  # fmt: skip

    def attend_here(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        """The output (B, D) at the next position, and the state with its key and value."""
        q = self._split(self.query(x_BD[:, None]))
        k, v = self._keys_values(x_BD[:, None])
        if self.context.rotary:
            turn = rotary_angles(1, self.head_width, q, first=int(state["position"][0]))
            q, k = rotate(q, *turn), rotate(k, *turn)
        state = remember(state, key=k, value=v)
        k, v = (spread(state[key], self.num_heads) for key in ("key", "value"))
        return self._merge(F.scaled_dot_product_attention(q, k, v)).squeeze(1), state

    def _keys_values(self, x_BLD: Tensor) -> tuple[Tensor, Tensor]:
        k, v = self.key_value(x_BLD).chunk(2, dim=-1)
        return self._split(k), self._split(v)

    def _split(self, x_BLD: Tensor) -> Tensor:
        return x_BLD.reshape(*x_BLD.shape[:2], -1, self.head_width).transpose(1, 2)

    def _merge(self, y_BHLE: Tensor) -> Tensor:
        return self.output(y_BHLE.transpose(1, 2).flatten(2))

"""What the attention mixers share: heads, rotary turns, caches and the dense masked reference.

Axes: B batch, L length, D width, H heads, G heads of keys and values, E width of a head, T kept
positions.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archsearch.mixers._heads import HeadedSpec
from archsearch.mixers._module import SequenceMixer, State, taken
from archsearch.mixers._softmax_attention import softmax_attention
from archsearch.mixers._window import WindowBlocks, window_blocks
from archsearch.mixers.base import MixerContext

ROTARY_BASE = 10000.0

_FAR = 16
"""So many times a window's keys in the sequence: fetching them for each query is then faster than
scores over all. Measured at d = 64; a fetched key costs as much as about so many scores."""


def rotary_angles(
    length: int, head_width: int, like: Tensor, first: int = 0
) -> tuple[Tensor, Tensor]:
    """Cosine and sine of i base^(-2j/E), each (L, E/2), typed as ``like`` (2104.09864, eq. 15).

    The positions i are ``first`` and the ``length`` - 1 after it.
    """
    exponent = torch.arange(0, head_width, 2, dtype=torch.float64, device=like.device) / head_width
    position = torch.arange(first, first + length, dtype=torch.float64, device=like.device)
    angle_LE = position[:, None] * ROTARY_BASE**-exponent
    return angle_LE.cos().to(like.dtype), angle_LE.sin().to(like.dtype)


def rotate(x_BHLE: Tensor, cos_LE: Tensor, sin_LE: Tensor) -> Tensor:
    """Turns each pair (x_j, x_{j+E/2}) by its angle."""
    a, b = x_BHLE.chunk(2, dim=-1)
    return torch.cat((a * cos_LE - b * sin_LE, a * sin_LE + b * cos_LE), dim=-1)


def masked_attention(q_BHLE: Tensor, k_BHLE: Tensor, v_BHLE: Tensor, mask_LL: Tensor) -> Tensor:
    """Softmax attention over the pairs where the mask is true, written out; empty rows give 0."""
    score = q_BHLE @ k_BHLE.transpose(-1, -2) / q_BHLE.shape[-1] ** 0.5
    weight = score.masked_fill(~mask_LL, float("-inf")).softmax(-1)
    return weight.nan_to_num(0.0) @ v_BHLE


def windowed_attention(q_BHLE: Tensor, k_BHLE: Tensor, v_BHLE: Tensor, window: int) -> Tensor:
    """Causal attention over the last ``window`` keys, self included, block by block."""
    length = q_BHLE.shape[2]
    if window >= length:
        return F.scaled_dot_product_attention(q_BHLE, k_BHLE, v_BHLE, is_causal=True)
    blocks = window_blocks(window, length)
    if blocks is None:
        mask_LL = window_mask(length, window, q_BHLE.device)
        return F.scaled_dot_product_attention(q_BHLE, k_BHLE, v_BHLE, attn_mask=mask_LL)
    q, k, v = blocked(q_BHLE, k_BHLE, v_BHLE, blocks)
    mask = block_mask(window, blocks, q_BHLE.device)[None]
    y = softmax_attention(q, k, v, mask)
    return y.flatten(1, 2)[:, :length].reshape(q_BHLE.shape)


def blocked(
    q_BHLE: Tensor, k_BHLE: Tensor, v_BHLE: Tensor, blocks: WindowBlocks
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries by block, and the keys and values that each block reads; see ``neighbourhoods``."""
    q = neighbourhoods(q_BHLE, blocks, 0)
    k, v = (neighbourhoods(x, blocks, blocks.num_previous) for x in (k_BHLE, v_BHLE))
    return q, k, v


def neighbourhoods(x_BHLE: Tensor, blocks: WindowBlocks, num_previous: int) -> Tensor:
    """Each block behind its ``num_previous`` predecessors, (B*H, blocks, positions, E).

    Zeros stand before the first token and behind the last.
    """
    span = blocks.num_blocks * blocks.size
    tail = span - x_BHLE.shape[2]
    padded = F.pad(x_BHLE.flatten(0, 1), (0, 0, num_previous * blocks.size, tail))
    shape = (padded.shape[0], blocks.num_blocks, blocks.size, padded.shape[2])
    starts = range(0, (num_previous + 1) * blocks.size, blocks.size)
    return torch.cat([padded[:, s : s + span].reshape(shape) for s in starts], dim=2)


def block_mask(window: int, blocks: WindowBlocks, device: torch.device) -> Tensor:
    """(blocks, queries, keys) booleans: inside the window, and not before the first token."""
    start = torch.arange(blocks.num_blocks, device=device)[:, None, None] * blocks.size
    query = start + torch.arange(blocks.size, device=device)[:, None]
    key = start + torch.arange(-blocks.num_previous * blocks.size, blocks.size, device=device)
    distance = query - key
    return (distance >= 0) & (distance < window) & (key >= 0)


def window_mask(length: int, window: int, device: torch.device) -> Tensor:
    """(L, L) booleans: is key j one of the ``window`` up to i?"""
    position = torch.arange(length, device=device)
    return in_window(position[:, None] - position, window)


def in_window(distance: Tensor, window: int, dilation: int = 1) -> Tensor:
    """Is the distance one of 0, r, ..., (window-1) r, for dilation r?"""
    near = (distance >= 0) & (distance < window * dilation)
    # remainders cost more than all the rest
    return near if dilation == 1 else near & (distance % dilation == 0)


def spread(x_BGLE: Tensor, num_heads: int) -> Tensor:
    """Keys or values for each of H heads of queries, neighbouring heads sharing one: (B, H, L, E).

    Copies are no slower than torch's own grouped attention, and are there for every kernel.
    """
    batch, groups, length, width = x_BGLE.shape
    if groups == num_heads:
        return x_BGLE
    shared = x_BGLE[:, :, None].expand(-1, -1, num_heads // groups, -1, -1)
    return shared.reshape(batch, num_heads, length, width)


def _attention_nearby(
    q_BHME: Tensor, k_BGLE: Tensor, v_BGLE: Tensor, position_BM: Tensor, count: int, step: int
) -> Tensor:
    """Each query over the ``count`` keys up to its position, fetched for it alone: (B, H, M, E)."""
    batch, groups, length, width = k_BGLE.shape
    key_BMT = position_BM[..., None] - step * torch.arange(count, device=position_BM.device)
    first_B11 = length * torch.arange(batch, device=position_BM.device)[:, None, None]
    row = (first_B11 + key_BMT.clamp(min=0)).flatten()
    k, v = (
        x.transpose(1, 2)
        .reshape(batch * length, groups * width)
        .index_select(0, row)
        .view(-1, count, groups, width)
        .transpose(1, 2)
        for x in (k_BGLE, v_BGLE)
    )
    num_heads = q_BHME.shape[1]
    q = q_BHME.transpose(1, 2).reshape(-1, num_heads, 1, width)
    mask = (key_BMT >= 0).view(-1, 1, 1, count)
    y = softmax_attention(q, spread(k, num_heads), spread(v, num_heads), mask)
    return y.view(batch, -1, num_heads, width).transpose(1, 2)


def remember(state: State, **latest: Tensor) -> State:
    """The state with one more position in each named cache (B, G, T, E), and in the count."""
    longer = {key: torch.cat((state[key], new), dim=2) for key, new in latest.items()}
    return {**state, **longer, "position": state["position"] + 1}


class HeadedAttention(SequenceMixer):
    """Projections to H heads, a pattern-specific core, and a projection back; no biases.

    A subclass gives ``core`` (fast), ``allowed`` (the pairs) and ``held`` (what decoding keeps).
    Sequences of a batch are decoded in step.
    """

    def __init__(self, spec: HeadedSpec, context: MixerContext) -> None:
        super().__init__(spec, context)
        width = context.d_model
        self.spec = spec
        self.num_heads = spec.num_heads
        self.num_kv_heads = spec.num_kv_heads or spec.num_heads
        self.head_width = width // spec.num_heads
        self.query_key_value = nn.Linear(width, width + 2 * spec.key_width(width), bias=False)
        self.output = nn.Linear(width, width, bias=False)

    @abstractmethod
    def core(self, q_BHLE: Tensor, k_BHLE: Tensor, v_BHLE: Tensor) -> Tensor:
        """The attention itself, (B, H, L, E)."""

    @abstractmethod
    def allowed(self, query: Tensor, key: Tensor, length: int) -> Tensor:
        """May the query at one position read the key at another? Broadcasts; (H, ...) if by head.

        Queries lie among the ``length`` positions of the sequence, keys not after their query.
        """

    def reach(self, length: int) -> tuple[int, int] | None:
        """(count, step) if a query's keys are ``count`` up to itself, ``step`` apart; else None."""
        return None

    @abstractmethod
    def held(self, count: int, length: int) -> Tensor:
        """The positions, ascending, that are kept behind the first ``count`` of ``length``."""

    def heads(self, x_BLD: Tensor, first: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (B, H, L, E), keys and values (B, G, L, E), turned if rotary.

        ``first`` is the position of the first token.
        """
        groups = (self.num_heads, self.num_kv_heads, self.num_kv_heads)
        joint = self.query_key_value(x_BLD).unflatten(-1, (-1, self.head_width))
        q, k, v = (part.transpose(1, 2) for part in joint.split(groups, dim=2))
        if self.context.rotary:
            cos, sin = rotary_angles(x_BLD.shape[1], self.head_width, q, first)
            q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        return q, k, v

    def merge(self, y_BHLE: Tensor) -> Tensor:
        """Heads side by side, then the output projection."""
        return self.output(y_BHLE.transpose(1, 2).flatten(2))

    def forward(self, x_BLD: Tensor) -> Tensor:
        q, k, v = self.heads(x_BLD)
        return self.merge(self.core(q, spread(k, self.num_heads), spread(v, self.num_heads)))

    def at(self, x_BLD: Tensor, position_BM: Tensor, *tokens: Tensor) -> Tensor:
        length = x_BLD.shape[1]
        if position_BM.shape[1] * length > self.spec.executed_pairs(length):
            return super().at(x_BLD, position_BM, *tokens)
        q, k, v = self._heads_at(x_BLD, position_BM)
        reach = self.reach(length)
        if reach is not None and length > _FAR * reach[0]:
            return self.merge(_attention_nearby(q, k, v, position_BM, *reach))
        k, v = spread(k, self.num_heads), spread(v, self.num_heads)
        query, key = position_BM[..., None], torch.arange(length, device=x_BLD.device)
        mask = (key <= query) & self.allowed(query, key, length)
        mask = mask[:, None] if mask.ndim == 3 else mask.transpose(0, 1)
        return self.merge(softmax_attention(q, k, v, mask))

    def _heads_at(self, x_BLD: Tensor, position_BM: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (B, H, M, E) of the positions; keys and values of all."""
        width = x_BLD.shape[2]
        weight = self.query_key_value.weight
        q, joint = (
            F.linear(x, w).view(*x.shape[:2], -1, self.head_width).transpose(1, 2)
            for x, w in ((taken(x_BLD, position_BM), weight[:width]), (x_BLD, weight[width:]))
        )
        k, v = joint.chunk(2, dim=1)
        if self.context.rotary:
            cos, sin = rotary_angles(x_BLD.shape[1], self.head_width, q)
            q = rotate(q, cos[position_BM][:, None], sin[position_BM][:, None])
            k = rotate(k, cos, sin)
        return q, k, v

    def reference(self, x_BLD: Tensor) -> Tensor:
        q, k, v = self.heads(x_BLD)
        length = x_BLD.shape[1]
        position = torch.arange(length, device=x_BLD.device)
        past = position[:, None] >= position
        mask = past & self.allowed(position[:, None], position, length)
        k, v = (x.repeat_interleave(self.num_heads // x.shape[1], dim=1) for x in (k, v))
        return self.merge(masked_attention(q, k, v, mask))

    def initial_state(self, batch: int, length: int) -> State:
        empty = self.zeros(batch, self.num_kv_heads, 0, self.head_width)
        position = torch.zeros(batch, dtype=torch.int64, device=empty.device)
        total = torch.full_like(position, length)
        return {"key": empty, "value": empty, "position": position, "length": total}

    def step(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        here, length = int(state["position"][0]), int(state["length"][0])
        q, k, v = self.heads(x_BD[:, None], first=here)
        state = remember(state, key=k, value=v)
        query = torch.tensor([here], device=x_BD.device)
        position_T = torch.cat((self.held(here, length).to(query), query))
        # (1, T), or (H, 1, T) where heads differ
        mask = self.allowed(query[:, None], position_T, length)
        k, v = (spread(state[key], self.num_heads) for key in ("key", "value"))
        y_BD = self.merge(F.scaled_dot_product_attention(q, k, v, attn_mask=mask)).squeeze(1)
        kept_T = torch.isin(position_T, self.held(here + 1, length).to(query))
        return y_BD, {**state, **{key: state[key][:, :, kept_T] for key in ("key", "value")}}

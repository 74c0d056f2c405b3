"""Differential attention by blocks of queries.

Axes: B batch, L length, D width, H heads, G heads of keys and values, M maps (two to a head, side
by side), E width of a map's queries and keys, V = 2E width of a head's values, Q queries of a
block, K keys up to its end, T kept positions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from archsearch.mixers._attention import remember, rotary_angles, rotate, spread
from archsearch.mixers._module import SequenceMixer, State
from archsearch.mixers._softmax_cost import BLOCK
from archsearch.mixers.base import MixerContext
from archsearch.mixers.differential_attention.spec import DifferentialAttention

# Beyond this the maps of all blocks are too large to be kept for the backward pass.
_LONGEST_KEPT = 1024


def lambda_start(layer_index: int) -> float:
    """The constant offset of lambda, from 0.2 in the first layer (counted from 0) towards 0.8."""
    return 0.8 - 0.6 * math.exp(-0.3 * layer_index)


def _block(q_MQE: Tensor, k_MKE: Tensor, v_HKV: Tensor, weight: Tensor) -> Tensor:
    """The last Q positions' outputs (H, Q, V); the batch stands among maps and heads."""
    queries, keys = q_MQE.shape[1], k_MKE.shape[1]
    score = torch.bmm(q_MQE, k_MKE.transpose(1, 2))
    future = torch.ones(queries, queries, dtype=torch.bool, device=score.device).triu(1)
    score[:, :, keys - queries :].masked_fill_(future, float("-inf"))
    first, second = score.softmax(-1).view(-1, 2, queries, keys).unbind(1)
    return torch.bmm((first - weight * second).to(v_HKV.dtype), v_HKV)


class DifferentialAttentionModule(SequenceMixer):
    """See ``spec.DifferentialAttention``."""

    def __init__(self, spec: DifferentialAttention, context: MixerContext) -> None:
        super().__init__(spec, context)
        width = context.d_model
        self.num_heads = spec.num_heads
        self.num_kv_heads = spec.num_kv_heads or spec.num_heads
        self.map_width = spec.head_width(width)
        self.query_key_value = nn.Linear(width, width + 2 * spec.key_width(width), bias=False)
        self.output = nn.Linear(width, width, bias=False)
        # u1, w1, u2, w2 behind one another
        self.lambda_vectors = nn.Parameter(torch.zeros(4 * self.map_width))
        self.lambda_start = lambda_start(context.layer_index)
        self.norm = nn.RMSNorm(2 * self.map_width, eps=1e-5)

    def initialise(self, generator: torch.Generator) -> None:
        with torch.no_grad():
            self.lambda_vectors.normal_(0.0, 0.1, generator=generator)

    def weight(self) -> Tensor:
        """Lambda, the share of the second map that is taken away."""
        u1, w1, u2, w2 = self.lambda_vectors.view(4, -1)
        return (u1 * w1).sum().exp() - (u2 * w2).sum().exp() + self.lambda_start

    def forward(self, x_BLD: Tensor) -> Tensor:
        length = x_BLD.shape[1]
        q, *key_value = self._heads(x_BLD)
        k, v = self._spread(*key_value)
        q, weight = q.flatten(0, 1) * self.map_width**-0.5, self.weight()
        recompute = length > _LONGEST_KEPT and torch.is_grad_enabled()
        blocks = []
        for start in range(0, length, BLOCK):
            end = min(start + BLOCK, length)
            parts = (q[:, start:end], k[:, :end], v[:, :end], weight)
            blocks.append(
                checkpoint(_block, *parts, use_reentrant=False, preserve_rng_state=False)
                if recompute
                else _block(*parts)
            )
        return self._merge(torch.cat(blocks, dim=1))

    def reference(self, x_BLD: Tensor) -> Tensor:
        q, k, v = self._heads(x_BLD)
        shared = self.num_heads // self.num_kv_heads
        k = torch.stack([k[:, ::2], k[:, 1::2]], dim=2)
        k = k.repeat_interleave(shared, dim=1).flatten(1, 2)
        v = v.repeat_interleave(shared, dim=1)
        score = q @ k.transpose(-1, -2) / self.map_width**0.5
        future = torch.ones(score.shape[-2:], dtype=torch.bool, device=score.device).triu(1)
        share = score.masked_fill(future, float("-inf")).softmax(-1)
        y_BHLV = share[:, ::2] @ v - self.weight() * (share[:, 1::2] @ v)
        return self._merge(y_BHLV.flatten(0, 1))

    def initial_state(self, batch: int, length: int) -> State:
        return {
            "key": self.zeros(batch, 2 * self.num_kv_heads, 0, self.map_width),
            "value": self.zeros(batch, self.num_kv_heads, 0, 2 * self.map_width),
            "position": torch.zeros(batch, dtype=torch.int64, device=self.lambda_vectors.device),
        }

    def step(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        q, k, v = self._heads(x_BD[:, None], first=int(state["position"][0]))
        state = remember(state, key=k, value=v)
        keys, values = self._spread(state["key"], state["value"])
        y = _block(q.flatten(0, 1) * self.map_width**-0.5, keys, values, self.weight())
        return self._merge(y).squeeze(1), state

    def _heads(self, x_BLD: Tensor, first: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (B, 2H, L, E) and keys (B, 2G, L, E), turned if rotary; values (B, G, L, V)."""
        groups = (2 * self.num_heads, 2 * self.num_kv_heads, 2 * self.num_kv_heads)
        joint = self.query_key_value(x_BLD).unflatten(-1, (-1, self.map_width))
        q, k, v = joint.split(groups, dim=2)
        v = v.unflatten(2, (-1, 2)).flatten(-2)
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        if self.context.rotary:
            cos, sin = rotary_angles(x_BLD.shape[1], self.map_width, q, first)
            q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        return q, k, v

    def _spread(self, k_BMTE: Tensor, v_BGTV: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values for all H heads, which stand with the batch."""
        kept, width = k_BMTE.shape[2:]
        # the two maps of a head stay together
        pairs = k_BMTE.reshape(-1, self.num_kv_heads, 2 * kept, width)
        k = spread(pairs, self.num_heads).reshape(-1, kept, width)
        return k, spread(v_BGTV, self.num_heads).flatten(0, 1)

    def _merge(self, y_HLV: Tensor) -> Tensor:
        """The norms of the heads (which stand with the batch), and the output projection."""
        normed = self.norm(y_HLV.to(self.norm.weight.dtype)) * (1 - self.lambda_start)
        y_BHLV = normed.view(-1, self.num_heads, *normed.shape[1:])
        return self.output(y_BHLV.transpose(1, 2).flatten(2))


MODULE = DifferentialAttentionModule

"""Native sparse attention: three branches and their gates.

Axes: B batch, L length, D width, H heads, G heads of keys and values, E width of a head, M queries
that choose, K blocks, N chosen blocks, T kept positions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archsearch.mixers._attention import (
    masked_attention,
    remember,
    spread,
    window_mask,
    windowed_attention,
)
from archsearch.mixers._blocks import in_slices, picked_attention
from archsearch.mixers._blocks_cost import block_size, picking
from archsearch.mixers._module import State
from archsearch.mixers._retrieval import (
    RetrievalMixer,
    add_up,
    best_blocks,
    block_means,
    counters,
    exact_scores,
    graded,
)
from archsearch.mixers.base import MixerContext, reach_at
from archsearch.mixers.native_sparse_attention.spec import NativeSparseAttention


def _joint_softmax(score: Tensor) -> Tensor:
    return score.flatten(-2).softmax(-1).view_as(score)


def _importance(weight: Tensor) -> Tensor:
    """What blocks are compared by: the logarithm, never that of 0."""
    return weight.clamp_min(torch.finfo(weight.dtype).tiny).log()


class NativeSparseAttentionModule(RetrievalMixer):
    """See ``spec.NativeSparseAttention``."""

    def __init__(self, spec: NativeSparseAttention, context: MixerContext) -> None:
        super().__init__(spec, context)
        self.spec = spec
        self.gate = nn.Linear(context.d_model, 3 * spec.num_heads)

    def forward(self, x_BLD: Tensor) -> Tensor:
        length = x_BLD.shape[1]
        size = block_size(self.spec.block, length)
        q, k, v = self.heads(x_BLD)
        # the last block is before nobody's
        k_mean, v_mean = (block_means(x[:, :, : length - 1], size) for x in (k, v))
        block_L = torch.arange(length, device=x_BLD.device) // size
        y_far, weight = self._summaries(q[:, :, size:], k_mean, v_mean, block_L[size:])
        q, k = self.turned(q, k)
        k, v = (spread(x, self.num_heads) for x in (k, v))
        y_picked = self._selected(q, k, v, weight, size)
        y_near = windowed_attention(q, k, v, reach_at(self.spec.window, length))
        return self._mix(x_BLD, F.pad(y_far, (0, 0, size, 0)), y_picked, y_near)

    def _mix(self, x_BLD: Tensor, *branches_BHLE: Tensor) -> Tensor:
        gates_BLH = self.gate(x_BLD).sigmoid().chunk(3, dim=-1)
        gated = (
            g.transpose(1, 2)[..., None] * y for g, y in zip(gates_BLH, branches_BHLE, strict=True)
        )
        return self.merge(sum(gated, start=torch.zeros_like(branches_BHLE[0])))

    def _summaries(
        self, q_BHLE: Tensor, k_BGKE: Tensor, v_BGKE: Tensor, block_L: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Attention to the summaries before each query's block, of which there must be one.

        The second result are its weights (B, G, L, K), added up over the heads of a group.
        """
        batch, heads, length, width = q_BHLE.shape
        groups = self.num_kv_heads
        q = (q_BHLE / width**0.5).reshape(batch, groups, heads // groups * length, width)
        score = exact_scores(q, k_BGKE)
        score = score.view(batch, groups, heads // groups, length, k_BGKE.shape[2])
        before_LK = torch.arange(k_BGKE.shape[2], device=q.device) < block_L[:, None]
        weight = score.masked_fill(~before_LK, float("-inf")).softmax(-1)
        y_BHLE = (weight.flatten(2, 3).to(v_BGKE.dtype) @ v_BGKE).view(batch, heads, length, width)
        return y_BHLE, weight.detach().sum(2)

    def _selected(
        self, q_BHLE: Tensor, k_BHLE: Tensor, v_BHLE: Tensor, weight_BGLK: Tensor, size: int
    ) -> Tensor:
        """Attention to the chosen blocks; weights are of the queries behind the first block."""
        length, count = q_BHLE.shape[2], self.spec.num_selected
        cut = picking(size, count, length)
        q, k, v = (x[:, :, : cut.dense] for x in (q_BHLE, k_BHLE, v_BHLE))
        y_dense = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        if not cut.rest:
            return y_dense
        block_M = torch.arange(cut.dense, length, device=q_BHLE.device) // size
        chosen_BGMN = self._chosen(weight_BGLK[:, :, cut.dense - size :], block_M)
        y_ZME = in_slices(
            lambda q, k, v, chosen: picked_attention(q, k, v, chosen, cut, _joint_softmax),
            cut.rest * count * size,
            q_BHLE[:, :, cut.dense :].flatten(0, 1),
            k_BHLE.flatten(0, 1),
            v_BHLE.flatten(0, 1),
            spread(chosen_BGMN, self.num_heads).flatten(0, 1),
        )
        return torch.cat((y_dense, y_ZME.view(*q_BHLE.shape[:2], cut.rest, -1)), dim=2)

    def _chosen(self, weight_BGMK: Tensor, block_M: Tensor) -> Tensor:
        """Own, previous and first block, then the best of the others: all different, (B, G, M, N).

        Only for queries with at least N blocks before their own.
        """
        block = torch.arange(weight_BGMK.shape[3], device=block_M.device)
        open_MK = (block > 0) & (block < block_M[:, None] - 1)
        ranked = _importance(weight_BGMK).masked_fill(~open_MK, float("-inf"))
        best = best_blocks(ranked, self.spec.num_selected - 3)
        forced_MN = torch.stack((block_M, block_M - 1, torch.zeros_like(block_M)), dim=-1)
        return torch.cat((forced_MN.expand(*best.shape[:3], 3), best), dim=-1)

    def reference(self, x_BLD: Tensor) -> Tensor:
        length = x_BLD.shape[1]
        size = block_size(self.spec.block, length)
        q, k, v = self.heads(x_BLD)
        k, v = (x.repeat_interleave(self.num_heads // x.shape[1], dim=1) for x in (k, v))
        position = torch.arange(length, device=x_BLD.device)
        block_L, block_K = position // size, torch.arange(-(-length // size), device=x_BLD.device)
        mean_KL = (block_L == block_K[:, None]).to(x_BLD.dtype) / size
        score = q @ (mean_KL @ k).transpose(-1, -2) / self.head_width**0.5
        before_LK = block_K < block_L[:, None]
        weight = score.masked_fill(~before_LK, float("-inf")).softmax(-1).nan_to_num(0.0)
        y_far = weight @ (mean_KL @ v)
        chosen_BHLK = self._chosen_by_counting(weight.detach(), block_L[:, None], block_K)
        q, k = self.turned(q, k)
        past = position[:, None] >= position
        y_picked = masked_attention(q, k, v, chosen_BHLK[..., block_L] & past)
        near = window_mask(length, reach_at(self.spec.window, length), x_BLD.device)
        return self._mix(x_BLD, y_far, y_picked, masked_attention(q, k, v, near))

    def _chosen_by_counting(self, weight_BHLK: Tensor, own_L1: Tensor, block_K: Tensor) -> Tensor:
        """Is a block among the chosen ones? Counts those ahead of it in the order of choice."""
        group = self.num_heads // self.num_kv_heads
        shared = torch.stack(
            [
                weight_BHLK[:, h - h % group : h - h % group + group].sum(1)
                for h in range(self.num_heads)
            ],
            dim=1,
        )
        forced = (block_K == own_L1) | (block_K == own_L1 - 1) | (block_K == 0)
        rank = graded(_importance(shared)).masked_fill(forced, float("inf"))
        rank = rank.masked_fill(block_K > own_L1, float("-inf"))
        other, this = rank[..., None, :], rank[..., None]
        ahead = (other > this) | ((other == this) & (block_K < block_K[:, None]))
        return (ahead.sum(-1) < self.spec.num_selected) & (block_K <= own_L1)

    def initial_state(self, batch: int, length: int) -> State:
        empty = self.zeros(batch, self.num_kv_heads, 0, self.head_width)
        caches = dict.fromkeys(("key", "value", "key_sum", "value_sum"), empty)
        return {**caches, **counters(batch, length, empty)}

    def step(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        here, length = int(state["position"][0]), int(state["length"][0])
        size = block_size(self.spec.block, length)
        own, begins = here // size, here % size == 0
        q, k, v = self.heads(x_BD[:, None])
        sums = {
            "key_sum": add_up(state["key_sum"], k, begins),
            "value_sum": add_up(state["value_sum"], v, begins),
        }
        block_1 = torch.tensor([own], device=x_BD.device)
        position_T = torch.arange(here + 1, device=x_BD.device)
        y_far, picked = torch.zeros_like(q), torch.ones_like(position_T, dtype=torch.bool)
        if own:
            k_mean, v_mean = (sums[key][:, :, :own] / size for key in ("key_sum", "value_sum"))
            y_far, weight = self._summaries(q, k_mean, v_mean, block_1)
            if own >= self.spec.num_selected:
                chosen_BGN = self._chosen(weight, block_1).squeeze(2)
                picked_BGT = (position_T[:, None] // size == chosen_BGN[:, :, None]).any(-1)
                picked = spread(picked_BGT[:, :, None], self.num_heads)
        q, k = self.turned(q, k, first=here)
        state = {**remember(state, key=k, value=v), **sums}
        k, v = (spread(state[key], self.num_heads) for key in ("key", "value"))
        near = here - position_T < reach_at(self.spec.window, length)
        y_picked, y_near = (
            F.scaled_dot_product_attention(q, k, v, attn_mask=mask.expand(*q.shape[:3], -1))
            for mask in (picked, near)
        )
        return self._mix(x_BD[:, None], y_far, y_picked, y_near).squeeze(1), state


MODULE = NativeSparseAttentionModule

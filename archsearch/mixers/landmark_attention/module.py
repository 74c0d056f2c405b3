"""Landmark attention, dense and by chosen blocks.

Axes: B batch, L length, D width, H heads, G heads of keys and values, E width of a head, M queries,
K blocks before the last, C positions of a block, N blocks that a query reads, T kept positions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archsearch.mixers._attention import remember, spread
from archsearch.mixers._blocks import in_slices, picked_attention
from archsearch.mixers._blocks_cost import block_size, picking
from archsearch.mixers._module import State, wide
from archsearch.mixers._retrieval import (
    RetrievalMixer,
    add_up,
    best_blocks,
    block_means,
    counters,
    exact_scores,
    graded,
)
from archsearch.mixers.base import MixerContext
from archsearch.mixers.landmark_attention.spec import LandmarkAttention


class LandmarkAttentionModule(RetrievalMixer):
    """See ``spec.LandmarkAttention``."""

    def __init__(self, spec: LandmarkAttention, context: MixerContext) -> None:
        super().__init__(spec, context)
        self.spec = spec
        self.landmark = nn.Linear(context.d_model, spec.key_width(context.d_model), bias=False)

    def forward(self, x_BLD: Tensor) -> Tensor:
        length = x_BLD.shape[1]
        size = block_size(self.spec.block, length)
        q, k, v = self.heads(x_BLD)
        q, k = self.turned(q, k)
        k, v = (spread(x, self.num_heads) for x in (k, v))
        # the last block is before nobody's
        mean_BKD = block_means(x_BLD[:, None, : length - 1], size).squeeze(1)
        landmark_BGKE = self._by_head(self.landmark(mean_BKD))
        position = torch.arange(length, device=x_BLD.device)
        opening = self._opening(q[:, :, size:], landmark_BGKE, position[size:], size)
        cut = picking(size, self.spec.top_k + 1, length)
        dense = cut.dense if self.spec.top_k else length
        early = F.pad(opening[:, :, : dense - size], (0, 0, size, 0), value=float("-inf"))
        q_near, k_near, v_near = (x[:, :, :dense] for x in (q, k, v))
        y = _grouped_attention(q_near, k_near, v_near, early, position[:dense], size)
        if dense < length:
            late = opening[:, :, dense - size :]
            y = torch.cat((y, self._picked(q[:, :, dense:], k, v, late, size)), dim=2)
        return self.merge(y)

    def _by_head(self, x_BKD: Tensor) -> Tensor:
        batch, count, _ = x_BKD.shape
        return x_BKD.view(batch, count, self.num_kv_heads, self.head_width).transpose(1, 2)

    def _opening(
        self, q_BHME: Tensor, landmark_BGKE: Tensor, position_M: Tensor, size: int
    ) -> Tensor:
        """Scores (B, H, M, K) of the landmarks before the queries' blocks, -inf of the others."""
        (landmark,) = self.turned(landmark_BGKE, first=size - 1, stride=size)
        scaled = q_BHME / self.head_width**0.5
        score = exact_scores(scaled, spread(landmark, self.num_heads))
        block_K = torch.arange(score.shape[3], device=score.device)
        return score.masked_fill(block_K >= position_M[:, None] // size, float("-inf"))

    def _picked(
        self, q_BHME: Tensor, k_BHLE: Tensor, v_BHLE: Tensor, opening_BHMK: Tensor, size: int
    ) -> Tensor:
        """Queries that have more blocks before their own than they open."""
        count, length = self.spec.top_k + 1, k_BHLE.shape[2]
        cut = picking(size, count, length)
        best = best_blocks(opening_BHMK, count - 1)
        score_BHMN = opening_BHMK.gather(3, best)
        own_M1 = torch.arange(cut.dense, length, device=best.device)[:, None] // size
        chosen = torch.cat((own_M1.expand(*best.shape[:3], 1), best), dim=-1)
        y_ZME = in_slices(
            lambda q, k, v, chosen, score: picked_attention(
                q, k, v, chosen, cut, lambda inside: _grouped_weights(inside, score)
            ),
            cut.rest * count * size,
            *(x.flatten(0, 1) for x in (q_BHME, k_BHLE, v_BHLE, chosen, score_BHMN)),
        )
        return y_ZME.view(q_BHME.shape)

    def reference(self, x_BLD: Tensor) -> Tensor:
        length = x_BLD.shape[1]
        size = block_size(self.spec.block, length)
        block_L = torch.arange(length, device=x_BLD.device) // size
        whole_K = torch.arange(length // size, device=x_BLD.device)
        mean_KL = (block_L == whole_K[:, None]).to(x_BLD.dtype) / size
        landmark = self._by_head(self.landmark(mean_KL @ x_BLD))
        q, k, v = self.heads(x_BLD)
        q, k = self.turned(q, k)
        (landmark,) = self.turned(landmark, first=size - 1, stride=size)
        k, v, landmark = (
            x.repeat_interleave(self.num_heads // x.shape[1], dim=1) for x in (k, v, landmark)
        )
        score, mark = (q @ x.transpose(-1, -2) / self.head_width**0.5 for x in (k, landmark))
        before_LK = whole_K < block_L[:, None]
        other, this = graded(mark)[..., None, :], graded(mark)[..., None]
        better = (other > this) | ((other == this) & (whole_K < whole_K[:, None]))
        ahead = (better & before_LK[:, None]).sum(-1)
        opened = before_LK & ((ahead < self.spec.top_k) | (self.spec.top_k == 0))
        # dealing out the landmark's share within a block is one softmax over everything, with the
        # landmark's score in place of the block's
        for e in whole_K.tolist():
            inside = score[..., block_L == e]
            shift = mark[..., e : e + 1] - inside.logsumexp(-1, keepdim=True)
            is_before = before_LK[:, e : e + 1] & (block_L == e)
            score = torch.where(is_before, score + shift, score)
            score = score.masked_fill(is_before & ~opened[..., e : e + 1], float("-inf"))
        past = torch.ones(length, length, dtype=torch.bool, device=x_BLD.device).tril()
        return self.merge(score.masked_fill(~past, float("-inf")).softmax(-1) @ v)

    def initial_state(self, batch: int, length: int) -> State:
        empty = self.zeros(batch, self.num_kv_heads, 0, self.head_width)
        caches = {"key": empty, "value": empty, "landmark_sum": wide(empty)}
        return {**caches, **counters(batch, length, empty)}

    def step(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        here, length = int(state["position"][0]), int(state["length"][0])
        size, x_B1D = block_size(self.spec.block, length), x_BD[:, None]
        own, count = here // size, self.spec.top_k
        q, k, v = self.heads(x_B1D)
        q, k = self.turned(q, k, first=here)
        mark_BG1E = wide(self._by_head(self.landmark(x_B1D)))
        sums = add_up(state["landmark_sum"], mark_BG1E, here % size == 0)
        state = {**remember(state, key=k, value=v), "landmark_sum": sums}
        position_1 = torch.tensor([here], device=x_BD.device)
        opening = self._opening(q, sums[:, :, :own] / size, position_1, size)
        if 0 < count < own:
            best = best_blocks(opening, count)
            closed = torch.ones_like(opening, dtype=torch.bool).scatter(3, best, False)
            opening = opening.masked_fill(closed, float("-inf"))
        k, v = (spread(state[key], self.num_heads) for key in ("key", "value"))
        y_BH1E = _grouped_attention(q, k, v, opening, position_1, size)
        return self.merge(y_BH1E).squeeze(1), state


def _grouped_attention(
    q_BHME: Tensor,
    k_BHTE: Tensor,
    v_BHTE: Tensor,
    opening_BHMK: Tensor,
    position_M: Tensor,
    size: int,
) -> Tensor:
    """All keys of the sequence so far; -inf in ``opening`` for blocks that stay closed."""
    kept = k_BHTE.shape[2]
    num_blocks = -(-kept // size)
    score = (q_BHME / q_BHME.shape[3] ** 0.5) @ k_BHTE.transpose(-1, -2)
    if kept % size:
        score = F.pad(score, (0, num_blocks * size - kept))
    score_BHMKC = score.view(*score.shape[:3], num_blocks, size)
    own_M11 = (position_M // size)[:, None, None]
    own_BHMC = score_BHMKC.take_along_dim(own_M11[None, None], dim=3).squeeze(3)
    later_MC = torch.arange(size, device=score.device) > position_M[:, None] % size
    own_BHMC = own_BHMC.masked_fill(later_MC, float("-inf"))
    opening_BHMK = opening_BHMK[..., : num_blocks - 1]
    share = torch.cat((own_BHMC, opening_BHMK), dim=-1).softmax(-1)
    opened = F.pad(share[..., size:], (0, 1))[..., None] * score_BHMKC.softmax(-1)
    is_own = own_M11 == torch.arange(num_blocks, device=score.device)[:, None]
    weight = torch.where(is_own, share[..., None, :size], opened)
    # the landmarks' scores, and with them the weights, may be of a wider type than the values
    return weight.flatten(3)[..., :kept].to(v_BHTE.dtype) @ v_BHTE


def _grouped_weights(score_ZMNC: Tensor, opening_ZMN: Tensor) -> Tensor:
    """The own block first; ``opening`` are the scores of the others' landmarks.

    Typed as the scores of the keys: those of the landmarks may be of a wider type.
    """
    own, others = score_ZMNC[:, :, 0], score_ZMNC[:, :, 1:]
    share = torch.cat((own, opening_ZMN), dim=-1).softmax(-1)
    opened = share[..., own.shape[2] :, None] * others.softmax(-1)
    weight = torch.cat((share[:, :, None, : own.shape[2]], opened), dim=2)
    return weight.to(score_ZMNC.dtype)


MODULE = LandmarkAttentionModule

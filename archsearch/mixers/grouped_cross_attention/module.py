"""Grouped cross-attention: one choice of chunks for all tokens of the chunk after next.

Axes: B batch, Z batch and heads, L length, D width, H heads, G heads of keys and values, E width of
a head, K whole chunks, M chunks that read, N chunks that each of them reads, Q queries of a chunk,
X keys or values of a chunk in one row.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archsearch.mixers._attention import masked_attention, remember, spread
from archsearch.mixers._blocks import in_slices
from archsearch.mixers._blocks_cost import block_size
from archsearch.mixers._module import State, wide
from archsearch.mixers._noise import Noise
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
from archsearch.mixers.grouped_cross_attention.spec import GroupedCrossAttention


class GroupedCrossAttentionModule(RetrievalMixer):
    """See ``spec.GroupedCrossAttention``."""

    def __init__(self, spec: GroupedCrossAttention, context: MixerContext) -> None:
        super().__init__(spec, context)
        self.spec = spec
        self.retrieval_norm = nn.RMSNorm(context.d_model, eps=1e-6)
        self.noise = Noise() if spec.noise else None

    def initialise(self, generator: torch.Generator) -> None:
        if self.noise is not None:
            self.noise.initialise(generator)

    def forward(self, x_BLD: Tensor) -> Tensor:
        batch, length, _ = x_BLD.shape
        size, slots = block_size(self.spec.chunk, length), self.spec.slots(length)
        readers, positions = self.spec.readers(length)
        q, k, v = self.heads(x_BLD)
        ends_BKD = x_BLD[:, size - 1 :: size]
        score_BKK = self._scores(ends_BKD, block_means(x_BLD[:, None], size).squeeze(1))
        if not slots:
            return self.merge(torch.zeros_like(q))
        chosen, weight = self._choice(score_BKK[:, 1 : readers + 1], slots)
        served = length - 2 * size
        q_ZLE = q[:, :, 2 * size :].flatten(0, 1)
        q_ZLE = F.pad(q_ZLE, (0, 0, 0, readers * positions - served))
        k_ZKX, v_ZKX = (_rows(spread(x, self.num_heads), size) for x in (k, v))
        y_ZMQE = in_slices(
            _read,
            readers * positions * slots * size,
            q_ZLE.view(-1, readers, positions, self.head_width),
            k_ZKX,
            v_ZKX,
            chosen.repeat_interleave(self.num_heads, dim=0),
            weight.repeat_interleave(self.num_heads, dim=0),
        )
        y_BHLE = y_ZMQE.view(batch, self.num_heads, -1, self.head_width)
        return self.merge(F.pad(y_BHLE[:, :, :served], (0, 0, 2 * size, 0)))

    def _scores(self, end_BMD: Tensor, landmark_BKD: Tensor) -> Tensor:
        end_BMD = end_BMD.to(self.retrieval_norm.weight.dtype)
        query_BMD = self.retrieval_norm(end_BMD) / self.context.d_model**0.5
        return exact_scores(query_BMD, landmark_BKD)

    def _choice(self, score_BMK: Tensor, slots: int) -> tuple[Tensor, Tensor]:
        """Chunks and their weights, each (B, M, N), of the ends of chunks 1, 2, ..., M.

        Where fewer than N chunks stand before, the rest have weight 0.
        """
        end_M1 = torch.arange(1, score_BMK.shape[1] + 1, device=score_BMK.device)[:, None]
        before_MK = torch.arange(score_BMK.shape[2], device=score_BMK.device) < end_M1
        score_BMK = score_BMK.masked_fill(~before_MK, float("-inf"))
        chosen_BMN = best_blocks(self._noised(score_BMK.detach()), slots)
        weight_BMN = score_BMK.gather(2, chosen_BMN).softmax(-1)
        return chosen_BMN.where(chosen_BMN < end_M1, 0), weight_BMN

    def _noised(self, score: Tensor) -> Tensor:
        if not self.training or self.noise is None:
            return score
        gumbel = -torch.empty(score.shape).exponential_(generator=self.noise.next_generator()).log()
        return score + self.spec.noise * gumbel.to(score)

    def reference(self, x_BLD: Tensor) -> Tensor:
        length = x_BLD.shape[1]
        size = block_size(self.spec.chunk, length)
        q, k, v = self.heads(x_BLD)
        k, v = (x.repeat_interleave(self.num_heads // x.shape[1], dim=1) for x in (k, v))
        sequences = []
        for b, x_LD in enumerate(x_BLD):
            found = [torch.zeros_like(q[b, :, : 2 * size])]
            for start in range(2 * size, length, size):
                query = self.retrieval_norm(x_LD[start - 1]) / self.context.d_model**0.5
                earlier = range(0, start - size, size)
                score = torch.stack([query @ x_LD[e : e + size].mean(0) for e in earlier])
                order = graded(score).argsort(descending=True, stable=True)
                best = order[: self.spec.top_k]
                chunk = torch.zeros_like(q[b, :, start : start + size])
                for weight, e in zip(score[best].softmax(0), best.tolist(), strict=True):
                    keys, values = (x[b, :, e * size : e * size + size] for x in (k, v))
                    everything = torch.ones(chunk.shape[1], size, dtype=torch.bool)
                    queries = q[b, :, start : start + size]
                    chunk = chunk + weight * masked_attention(queries, keys, values, everything)
                found.append(chunk)
            sequences.append(torch.cat(found, dim=1))
        return self.merge(torch.stack(sequences))

    def initial_state(self, batch: int, length: int) -> State:
        empty = self.zeros(batch, self.num_kv_heads, 0, self.head_width)
        slots = self.spec.slots(length)
        weight = wide(self.zeros(batch, slots))
        return {
            "key": empty,
            "value": empty,
            "landmark_sum": wide(self.zeros(batch, 1, 0, self.context.d_model)),
            "weight": weight,
            "chosen": torch.zeros(batch, slots, dtype=torch.int64, device=weight.device),
            **counters(batch, length, empty),
        }

    def step(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        here, length = int(state["position"][0]), int(state["length"][0])
        size, x_B1D = block_size(self.spec.chunk, length), x_BD[:, None]
        own, slots = here // size, self.spec.slots(length)
        q, k, v = self.heads(x_B1D)
        state = remember(state, key=k, value=v)
        sums = add_up(state["landmark_sum"], wide(x_B1D[:, None]), here % size == 0)
        state = {**state, "landmark_sum": sums}
        y_BH1E = torch.zeros_like(q)
        if own >= 2:
            rows = (_rows(spread(state[key], self.num_heads), size) for key in ("key", "value"))
            choice = (
                state[key].repeat_interleave(self.num_heads, dim=0)[:, None]
                for key in ("chosen", "weight")
            )
            y_BH1E = _read(q.reshape(-1, 1, 1, self.head_width), *rows, *choice).view(q.shape)
        if own and slots and here % size == size - 1:
            score_BK = self._scores(x_B1D, sums[:, 0, :own] / size).squeeze(1)
            best_BN = best_blocks(score_BK, min(slots, own))
            missing = slots - best_BN.shape[1]
            state["chosen"] = F.pad(best_BN, (0, missing))
            state["weight"] = F.pad(score_BK.gather(1, best_BN).softmax(-1), (0, missing))
        return self.merge(y_BH1E).squeeze(1), state


def _rows(x_BHLE: Tensor, size: int) -> Tensor:
    """The whole chunks (Z, K, X)."""
    batch, heads, length, width = x_BHLE.shape
    whole = length // size
    return x_BHLE[:, :, : whole * size].reshape(batch * heads, whole, size * width)


def _read(
    q_ZMQE: Tensor, k_ZKX: Tensor, v_ZKX: Tensor, chosen_ZMN: Tensor, weight_ZMN: Tensor
) -> Tensor:
    """Attention to each chosen chunk by itself, the results weighted and added up."""
    batch, readers, slots = chosen_ZMN.shape
    first_Z11 = torch.arange(batch, device=q_ZMQE.device)[:, None, None] * k_ZKX.shape[1]
    index = (first_Z11 + chosen_ZMN).flatten()
    width = q_ZMQE.shape[3]
    k, v = (
        x.flatten(0, 1).index_select(0, index).view(batch * readers, -1, width)
        for x in (k_ZKX, v_ZKX)
    )
    score = (q_ZMQE.flatten(0, 1) / width**0.5) @ k.transpose(1, 2)
    inside = score.view(*score.shape[:2], slots, -1).softmax(-1)
    weighted = inside * weight_ZMN.flatten(0, 1)[:, None, :, None]
    # the choice, and with it the weights, may be of a wider type than the values
    return (weighted.flatten(2).to(v.dtype) @ v).view(q_ZMQE.shape)


MODULE = GroupedCrossAttentionModule

"""The delta rule by chunks: S = a S, then S += b k (v - S^T k)^T, y = q^T S.

Within a chunk what each position really writes, u_i = b_i (v_i - ...), solves a unit triangular
system; it is linear in the state S before the chunk, u = U - W S. So the state behind the chunk is
linear in S too, with a transition of the size of the keys, and only those transitions are worked
off one after the other.
Axes: B batch, H heads, L length, N chunks, C positions of a chunk, E width of queries and keys, V
width of values, G all heads of all sequences.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from archsearch.mixers._linear_attention import chunk_decay, chunks
from archsearch.mixers._linear_cost import CHUNK
from archsearch.mixers._linear_scalar import decayed


def delta_attention(
    q_BHLE: Tensor,
    k_BHLE: Tensor,
    v_BHLV: Tensor,
    beta_BHL: Tensor,
    log_decay_BHL: Tensor | None = None,
) -> Tensor:
    """The outputs (B, H, L, V); keys of length 1, or less, and 0 <= b <= 2 keep it stable."""
    length = q_BHLE.shape[2]
    chunk = min(CHUNK, length)
    q, k, v = (chunks(x, chunk) for x in (q_BHLE, k_BHLE, v_BHLV))
    beta_BHNC1 = chunks(beta_BHL[..., None], chunk)
    written = k * beta_BHNC1
    among, score = written @ k.transpose(-1, -2), q @ k.transpose(-1, -2)
    from_start, keep = written, torch.ones_like(beta_BHNC1[..., :1, :])
    if log_decay_BHL is None:
        score = score.tril()
    else:
        total_BHNC = chunk_decay(log_decay_BHL, length, chunk)
        among, score = decayed(among, total_BHNC), decayed(score, total_BHNC)
        since_BHNC1 = total_BHNC.exp()[..., None]
        rest_BHNC = total_BHNC[..., -1:] - total_BHNC
        q, k, from_start = q * since_BHNC1, k * rest_BHNC.exp()[..., None], written * since_BHNC1
        keep = since_BHNC1[..., -1:, :]
    # the solver takes the diagonal as 1 and does not look above it
    sides = torch.cat((v * beta_BHNC1, from_start), dim=-1)
    solved = torch.linalg.solve_triangular(among, sides, upper=False, unitriangular=True)
    alone_BHNCV, reads_BHNCE = torch.split(solved, [v.shape[-1], k.shape[-1]], dim=-1)
    identity_EE = torch.eye(k.shape[-1], dtype=k.dtype, device=k.device)
    transition_BHNEE = keep * identity_EE - k.transpose(-1, -2) @ reads_BHNCE
    before_BHNEV = _carry(transition_BHNEE, k.transpose(-1, -2) @ alone_BHNCV)
    written_BHNCV = alone_BHNCV - reads_BHNCE @ before_BHNEV
    y_BHNCV = score @ written_BHNCV + q @ before_BHNEV
    return y_BHNCV.flatten(2, 3)[:, :, :length]


def recurrent_delta(
    q_BHLE: Tensor,
    k_BHLE: Tensor,
    v_BHLV: Tensor,
    beta_BHL: Tensor,
    log_decay_BHL: Tensor | None = None,
) -> Tensor:
    """The same, step by step."""
    state = torch.zeros_like(k_BHLE[:, :, 0, :, None] * v_BHLV[:, :, 0, None, :])
    outputs = []
    for i in range(q_BHLE.shape[2]):
        log = None if log_decay_BHL is None else log_decay_BHL[:, :, i]
        now = (x[:, :, i] for x in (q_BHLE, k_BHLE, v_BHLV, beta_BHL))
        y_BHV, state = delta_step(tuple(now), log, state)
        outputs.append(y_BHV)
    return torch.stack(outputs, dim=2)


def delta_step(
    now: tuple[Tensor, ...], log_decay_BH: Tensor | None, state_BHEV: Tensor
) -> tuple[Tensor, Tensor]:
    """One position (q, k, v, b): its output (B, H, V) and the state behind it."""
    q_BHE, k_BHE, v_BHV, beta_BH = now
    kept = state_BHEV if log_decay_BH is None else state_BHEV * log_decay_BH.exp()[..., None, None]
    # the correction reads what has decayed already
    found_BHV = (k_BHE[..., None] * kept).sum(-2)
    change_BHV = beta_BH[..., None] * (v_BHV - found_BHV)
    state = kept + k_BHE[..., None] * change_BHV[..., None, :]
    return (q_BHE[..., None] * state).sum(-2), state


def _carry(transition_BHNEE: Tensor, summary_BHNEV: Tensor) -> Tensor:
    """The state before each chunk: 0, then S = transition S + summary from chunk to chunk."""
    shape = summary_BHNEV.shape
    by_chunk = (
        x.flatten(0, 1).transpose(0, 1).contiguous() for x in (transition_BHNEE, summary_BHNEV)
    )
    states_NGEV: Tensor = _Carry.apply(*by_chunk)  # type: ignore[no-untyped-call]
    return states_NGEV.transpose(0, 1).reshape(shape)


class _Carry(torch.autograd.Function):
    # one product per chunk; the gradients of the transitions are one product at the end

    @staticmethod
    def forward(ctx: Any, transition_NGEE: Tensor, summary_NGEV: Tensor) -> Tensor:
        states = torch.empty_like(summary_NGEV)
        states[0] = 0
        for i in range(len(states) - 1):
            torch.baddbmm(summary_NGEV[i], transition_NGEE[i], states[i], out=states[i + 1])
        ctx.save_for_backward(transition_NGEE, states)
        return states

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        transition, states = ctx.saved_tensors
        into, back = torch.empty_like(states), transition.transpose(-1, -2)
        into[-1] = 0
        for i in range(len(states) - 1, 0, -1):
            torch.baddbmm(gradients[0][i], back[i], into[i], out=into[i - 1])
        return into @ states.transpose(-1, -2), into

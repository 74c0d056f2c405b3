"""Causal linear attention by chunks: S_i = a_i * S_{i-1} + k_i v_i^T, y_i = q_i^T S_i.

Within a chunk as a masked product, between chunks through the sums S that stand before each.
The decay a_i is 1, one number per head (constant, or made of the input), or one per channel of
the keys; ``_linear_scalar`` and ``_linear_channel`` make the scores within a chunk. Decays come as
logarithms, and only differences that are not positive are ever exponentiated, so that no strength
of decay overflows.
Axes: B batch, H heads, L length, N chunks, C positions of a chunk, E width of queries and keys, V
width of values.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from archsearch.mixers._linear_channel import channel_scores
from archsearch.mixers._linear_cost import CHUNK, channel_chunk
from archsearch.mixers._linear_scalar import decayed

LOG_DECAY_FLOOR = -40.0
"""exp(-40) is below the rounding of float64: stronger decay changes nothing, but sums of
stronger decays would leave no digits for the weak ones in the same chunk."""


def linear_attention(q_BHLE: Tensor, k_BHLE: Tensor, v_BHLV: Tensor) -> Tensor:
    """y_i = sum_{j<=i} (q_i . k_j) v_j, (B, H, L, V)."""
    length = q_BHLE.shape[2]
    chunk = min(CHUNK, length)
    q, k, v = (chunks(x, chunk) for x in (q_BHLE, k_BHLE, v_BHLV))
    before_BHNEV = _exclusive_sums(k.transpose(-1, -2) @ v)
    within_BHNCV = (q @ k.transpose(-1, -2)).tril() @ v
    y_BHNCV = within_BHNCV + q @ before_BHNEV
    return y_BHNCV.flatten(2, 3)[:, :, :length]


def dense_linear_attention(q_BHLE: Tensor, k_BHLE: Tensor, v_BHLV: Tensor) -> Tensor:
    """The same, with the masked (L, L) matrix written out."""
    return (q_BHLE @ k_BHLE.transpose(-1, -2)).tril() @ v_BHLV


def decayed_attention(
    q_BHLE: Tensor, k_BHLE: Tensor, v_BHLV: Tensor, log_decay_BHL: Tensor
) -> Tensor:
    """One decay per head and position: y_i = sum_{j<=i} exp(l_{j+1} + .. + l_i) (q_i . k_j) v_j.

    Constant decays may come as (1, H, 1). Queries and keys may have one head for all.
    """
    length = q_BHLE.shape[2]
    chunk = min(CHUNK, length)
    q, k, v = (chunks(x, chunk) for x in (q_BHLE, k_BHLE, v_BHLV))
    total_BHNC = chunk_decay(log_decay_BHL, length, chunk)
    within_BHNCV = decayed(q @ k.transpose(-1, -2), total_BHNC) @ v
    rest_BHNC = total_BHNC[..., -1:] - total_BHNC
    summary_BHNEV = (k * rest_BHNC.exp()[..., None]).transpose(-1, -2) @ v
    before_BHNEV = carry(total_BHNC[..., -1, None, None].exp(), summary_BHNEV)
    y_BHNCV = within_BHNCV + (q * total_BHNC.exp()[..., None]) @ before_BHNEV
    return y_BHNCV.flatten(2, 3)[:, :, :length]


def dense_decayed_attention(
    q_BHLE: Tensor, k_BHLE: Tensor, v_BHLV: Tensor, log_decay_BHL: Tensor
) -> Tensor:
    """The same, with the masked and decayed (L, L) matrix written out."""
    length = q_BHLE.shape[2]
    past_LL = torch.ones(length, length, dtype=torch.bool, device=q_BHLE.device).tril()
    log_BHL = log_decay_BHL.expand(*log_decay_BHL.shape[:2], length)
    # sums over j+1 .. i of each pair by itself: no difference of large totals
    steps_BHLL = torch.where(past_LL.tril(-1), log_BHL[..., None], 0.0).cumsum(-2)
    weight_BHLL = steps_BHLL.masked_fill(~past_LL, float("-inf")).exp()
    return (q_BHLE @ k_BHLE.transpose(-1, -2) * weight_BHLL) @ v_BHLV


def attention_at(
    q_BHME: Tensor,
    k_BHLE: Tensor,
    v_BHLV: Tensor,
    log_decay_BHL: Tensor | None,
    position_BM: Tensor,
) -> Tensor:
    """Of the queries at M positions alone, (B, H, M, V): for up to a chunk's worth of them.

    Decays as in ``decayed_attention``, or None.
    """
    score_BHML = q_BHME @ k_BHLE.transpose(-1, -2)
    key = torch.arange(k_BHLE.shape[2], device=k_BHLE.device)
    past_B1ML = (key <= position_BM[..., None])[:, None]
    if log_decay_BHL is None:
        return torch.where(past_B1ML, score_BHML, 0.0) @ v_BHLV
    log = log_decay_BHL.clamp_min(LOG_DECAY_FLOOR)
    if log.shape[-1] == 1:
        passed = log[..., None] * (position_BM[..., None] - key)[:, None]
    else:
        # differences of large totals: float32 would lose the latest steps after strong decay
        total_BHL = log.double().cumsum(-1)
        index = position_BM[:, None].expand(-1, total_BHL.shape[1], -1)
        passed = (total_BHL.gather(2, index)[..., None] - total_BHL[:, :, None]).to(log.dtype)
    return (score_BHML * passed.masked_fill(~past_B1ML, float("-inf")).exp()) @ v_BHLV


def channel_decayed_attention(
    q_BHLE: Tensor, k_BHLE: Tensor, v_BHLV: Tensor, log_decay_BHLE: Tensor
) -> Tensor:
    """One decay per channel of the keys: S_i = exp(l_i) * S_{i-1} + k_i v_i^T, y_i = q_i^T S_i."""
    length = q_BHLE.shape[2]
    chunk = channel_chunk(length)
    q, k, v = (chunks(x, chunk) for x in (q_BHLE, k_BHLE, v_BHLV))
    log_BHNCE = chunks(log_decay_BHLE.clamp_min(LOG_DECAY_FLOOR), chunk)
    total_BHNCE = log_BHNCE.cumsum(-2)
    within_BHNCV = channel_scores(q, k, total_BHNCE) @ v
    last_BHN1E = total_BHNCE[..., -1:, :]
    summary_BHNEV = (k * (last_BHN1E - total_BHNCE).exp()).transpose(-1, -2) @ v
    before_BHNEV = carry(last_BHN1E.transpose(-1, -2).exp(), summary_BHNEV)
    y_BHNCV = within_BHNCV + (q * total_BHNCE.exp()) @ before_BHNEV
    return y_BHNCV.flatten(2, 3)[:, :, :length]


def recurrent_attention(
    q_BHLE: Tensor, k_BHLE: Tensor, v_BHLV: Tensor, log_decay_BHLE: Tensor
) -> Tensor:
    """The recurrence, step by step; decays (B, H, L, E), or (B, H, L, 1) for one per head."""
    state = torch.zeros_like(k_BHLE[:, :, 0, :, None] * v_BHLV[:, :, 0, None, :])
    outputs = []
    for i in range(q_BHLE.shape[2]):
        y, state = recurrent_step(
            q_BHLE[:, :, i], k_BHLE[:, :, i], v_BHLV[:, :, i], log_decay_BHLE[:, :, i], state
        )
        outputs.append(y)
    return torch.stack(outputs, dim=2)


def recurrent_step(
    q_BHE: Tensor, k_BHE: Tensor, v_BHV: Tensor, log_decay_BHE: Tensor | None, state_BHEV: Tensor
) -> tuple[Tensor, Tensor]:
    """One position: the output (B, H, V) and the state behind it; no decay if it is None."""
    kept = state_BHEV if log_decay_BHE is None else state_BHEV * log_decay_BHE.exp()[..., None]
    state = kept + k_BHE[..., None] * v_BHV[..., None, :]
    return (q_BHE[..., None] * state).sum(-2), state


def chunks(x_BHLE: Tensor, chunk: int) -> Tensor:
    """(B, H, N, C, E) without gaps; zeros stand behind the last token."""
    missing = -x_BHLE.shape[2] % chunk
    x = F.pad(x_BHLE, (0, 0, 0, missing)) if missing else x_BHLE.contiguous()
    return x.reshape(*x.shape[:2], -1, chunk, x.shape[3])


def chunk_decay(log_decay_BHL: Tensor, length: int, chunk: int) -> Tensor:
    """Logarithms of what is left of a chunk's start at each position, (B, H, N, C).

    Constant decays (1, H, 1) give (1, H, 1, C).
    """
    log = log_decay_BHL.clamp_min(LOG_DECAY_FLOOR)
    if log.shape[-1] == 1 < length:
        return log[..., None] * torch.arange(1, chunk + 1, device=log.device, dtype=log.dtype)
    return chunks(log[..., None], chunk)[..., 0].cumsum(-1)


def carry(decay: Tensor, summary_BHNEV: Tensor) -> Tensor:
    """The state before each chunk: 0, then S = decay * S + summary from chunk to chunk.

    ``decay`` has the axes of ``summary_BHNEV``; those of size 1 are the same throughout.
    """
    return _Carry.apply(decay, summary_BHNEV)  # type: ignore[no-untyped-call]


class _Carry(torch.autograd.Function):
    # two short operations per chunk where autograd would record and replay a handful

    @staticmethod
    def forward(ctx: Any, decay: Tensor, summary: Tensor) -> Tensor:
        states = torch.empty_like(summary)
        decays = decay.expand(-1, -1, summary.shape[2], -1, -1).unbind(2)
        steps, sums = states.unbind(2), summary.unbind(2)
        steps[0].zero_()
        for i in range(len(steps) - 1):
            torch.addcmul(sums[i], decays[i], steps[i], out=steps[i + 1])
        ctx.save_for_backward(decay, states)
        return states

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        decay, states = ctx.saved_tensors
        into = torch.empty_like(states)  # the gradients of the summaries
        decays = decay.expand(-1, -1, states.shape[2], -1, -1).unbind(2)
        wanted, found = gradients[0].unbind(2), into.unbind(2)
        found[-1].zero_()
        for i in range(len(found) - 1, 0, -1):
            torch.addcmul(wanted[i], decays[i], found[i], out=found[i - 1])
        return (into * states).sum_to_size(decay.shape), into


def _exclusive_sums(x_BHNEV: Tensor) -> Tensor:
    first = torch.zeros_like(x_BHNEV[:, :, :1])
    return torch.cat((first, x_BHNEV[:, :, :-1].cumsum(2)), dim=2)

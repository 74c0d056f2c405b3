"""Causal linear attention by chunks: S_i = S_{i-1} + k_i v_i^T, y_i = q_i^T S_i.

Within a chunk as a masked product, between chunks through the sums S that stand before each.
Axes: B batch, H heads, L length, N chunks, C positions of a chunk, E width of queries and keys, V
width of values.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from archsearch.mixers._linear_cost import CHUNK


def linear_attention(q_BHLE: Tensor, k_BHLE: Tensor, v_BHLV: Tensor) -> Tensor:
    """y_i = sum_{j<=i} (q_i . k_j) v_j, (B, H, L, V)."""
    length = q_BHLE.shape[2]
    chunk = min(CHUNK, length)
    q, k, v = (_chunks(x, chunk) for x in (q_BHLE, k_BHLE, v_BHLV))
    before_BHNEV = _exclusive_sums(k.transpose(-1, -2) @ v)
    within_BHNCV = (q @ k.transpose(-1, -2)).tril() @ v
    y_BHNCV = within_BHNCV + q @ before_BHNEV
    return y_BHNCV.flatten(2, 3)[:, :, :length]


def dense_linear_attention(q_BHLE: Tensor, k_BHLE: Tensor, v_BHLV: Tensor) -> Tensor:
    """The same, with the masked (L, L) matrix written out."""
    return (q_BHLE @ k_BHLE.transpose(-1, -2)).tril() @ v_BHLV


def _chunks(x_BHLE: Tensor, chunk: int) -> Tensor:
    padded = F.pad(x_BHLE, (0, 0, 0, -x_BHLE.shape[2] % chunk))
    return padded.reshape(*padded.shape[:2], -1, chunk, padded.shape[3])


def _exclusive_sums(x_BHNEV: Tensor) -> Tensor:
    first = torch.zeros_like(x_BHNEV[:, :, :1])
    return torch.cat((first, x_BHNEV[:, :, :-1].cumsum(2)), dim=2)

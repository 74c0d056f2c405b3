"""What mixers that look up blocks of the past share.

Axes: B batch, L length, D width, H heads, G heads of keys and values, E width of a head, T blocks
begun, X any, K blocks, N chosen blocks.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archsearch.mixers._attention import rotary_angles, rotate
from archsearch.mixers._heads import HeadedSpec
from archsearch.mixers._module import SequenceMixer, State, wide
from archsearch.mixers.base import MixerContext


class RetrievalMixer(SequenceMixer):
    """Projections to heads, and back; no biases."""

    def __init__(self, spec: HeadedSpec, context: MixerContext) -> None:
        super().__init__(spec, context)
        width = context.d_model
        self.num_heads = spec.num_heads
        self.num_kv_heads = spec.num_kv_heads or spec.num_heads
        self.head_width = width // spec.num_heads
        self.query_key_value = nn.Linear(width, width + 2 * spec.key_width(width), bias=False)
        self.output = nn.Linear(width, width, bias=False)

    def heads(self, x_BLD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (B, H, L, E), keys and values (B, G, L, E), not turned."""
        groups = (self.num_heads, self.num_kv_heads, self.num_kv_heads)
        joint = self.query_key_value(x_BLD).unflatten(-1, (-1, self.head_width))
        q, k, v = (part.transpose(1, 2) for part in joint.split(groups, dim=2))
        return q, k, v

    def turned(self, *parts: Tensor, first: int = 0, stride: int = 1) -> tuple[Tensor, ...]:
        """Each part (B, H, L, E) turned if rotary, for the positions first, first + stride, ..."""
        if not self.context.rotary:
            return parts
        count = max(part.shape[2] for part in parts)
        cos, sin = rotary_angles(stride * count, self.head_width, parts[0], first)
        cos, sin = cos[::stride], sin[::stride]
        return tuple(rotate(p, cos[: p.shape[2]], sin[: p.shape[2]]) for p in parts)

    def merge(self, y_BHLE: Tensor) -> Tensor:
        """Heads side by side, then the output projection."""
        return self.output(y_BHLE.transpose(1, 2).flatten(2))


def graded(score: Tensor) -> Tensor:
    """Scores in whole steps of 2^-12, of 2^-26 in double precision: about half of the digits.

    Runs of the same token give blocks that are equal, the scores of which differ by round-off, and
    not by the same in the parallel form and in decoding: in steps they are equal.
    """
    if score.dtype.itemsize < 4:
        score = score.float()
    return (score * (2.0**26 if score.dtype == torch.float64 else 2.0**12)).round()


def exact_scores(query: Tensor, key: Tensor) -> Tensor:
    """Products (..., M, K) in float32 at least, under autocast too.

    A choice between near scores does not survive half precision.
    """
    with torch.autocast(query.device.type, enabled=False):
        return wide(query) @ wide(key).transpose(-1, -2)


@torch.no_grad()
def best_blocks(score_XK: Tensor, count: int) -> Tensor:
    """The N = ``count`` blocks of largest score, (..., N); of equal ones, the earliest.

    Scores are compared as ``graded``. Blocks at -inf are in no order.
    """
    # topk alone would order equal ones as it likes, and otherwise for another number of blocks
    num_blocks = score_XK.shape[-1]
    rank = graded(score_XK).double().mul_(num_blocks)
    return rank.sub_(torch.arange(num_blocks, device=rank.device)).topk(count, dim=-1).indices


def counters(batch: int, length: int, like: Tensor) -> State:
    """The counters of decoding: positions read, and how many there will be."""
    position = torch.zeros(batch, dtype=torch.int64, device=like.device)
    return {"position": position, "length": torch.full_like(position, length)}


def add_up(sum_BGTE: Tensor, latest_BG1E: Tensor, begins: bool) -> Tensor:
    """Sums over blocks, one position later; a new one where a block begins."""
    if begins:
        return torch.cat((sum_BGTE, latest_BG1E), dim=2)
    return torch.cat((sum_BGTE[:, :, :-1], sum_BGTE[:, :, -1:] + latest_BG1E), dim=2)


def block_means(x_BGLE: Tensor, size: int) -> Tensor:
    """The mean of each whole block of ``size`` positions, (B, G, T, E)."""
    batch, groups, length, width = x_BGLE.shape
    whole = length // size
    return x_BGLE[:, :, : whole * size].reshape(batch, groups, whole, size, width).mean(3)

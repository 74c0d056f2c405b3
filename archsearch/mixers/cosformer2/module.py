"""cosFormer2. Axes: B batch, L length, D width, H heads, E keys, V values."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archsearch.mixers._module import wide
from archsearch.mixers._recurrent import RecurrentMixer, Streams, heads, merged, turns, unit
from archsearch.mixers.base import MixerContext
from archsearch.mixers.cosformer2.spec import CosFormer2


class CosFormer2Module(RecurrentMixer):
    """See ``spec.CosFormer2``."""

    positional = True

    def __init__(self, spec: CosFormer2, context: MixerContext) -> None:
        super().__init__(spec, context)
        width, self.num_heads = context.d_model, spec.num_heads
        rank = width // spec.num_heads
        self.state_shape = spec.shape(width)
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.gate = nn.Sequential(
            nn.Linear(width, rank, bias=False), nn.Linear(rank, width, bias=False)
        )
        self.output = nn.Linear(width, width, bias=False)

    def streams(self, x_BLD: Tensor, position_L: Tensor) -> Streams:
        q, k, v = wide(self.query_key_value(x_BLD)).chunk(3, dim=-1)
        q, k, v = (heads(x, self.num_heads) for x in (F.silu(q), F.silu(k), v))
        half = q.shape[-1] // 2
        cos, sin = turns(position_L, half, 2 * half, q)
        q, k = (
            torch.cat((x[..., :half] * cos, x[..., :half] * sin, x[..., half:]), dim=-1)
            for x in (q, k)
        )
        return Streams(q, k, v)

    def finish(self, y_BHLV: Tensor, x_BLD: Tensor) -> Tensor:
        gated_BHLV = heads(self.gate(x_BLD).sigmoid(), self.num_heads) * y_BHLV
        return self.output(merged(unit(gated_BHLV)).to(x_BLD.dtype))


MODULE = CosFormer2Module

"""cosFormer. Axes: B batch, L length, D width, H heads, E keys, V values."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archsearch.mixers._module import wide
from archsearch.mixers._recurrent import RecurrentMixer, Streams, heads, merged
from archsearch.mixers.base import MixerContext
from archsearch.mixers.cosformer.spec import CosFormer

LEAST_WEIGHT = 1e-6


class CosFormerModule(RecurrentMixer):
    """See ``spec.CosFormer``."""

    positional = True

    def __init__(self, spec: CosFormer, context: MixerContext) -> None:
        super().__init__(spec, context)
        width, self.num_heads = context.d_model, spec.num_heads
        head_width = width // spec.num_heads
        self.state_shape = (spec.num_heads, 2 * head_width, head_width + 1)
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.output = nn.Linear(width, width, bias=False)

    def streams(self, x_BLD: Tensor, position_L: Tensor) -> Streams:
        parts = wide(self.query_key_value(x_BLD)).chunk(3, dim=-1)
        q, k, v = (heads(x, self.num_heads) for x in parts)
        angle_L1 = position_L[:, None].double() * (math.pi / 2 / self.context.max_length)
        cos, sin = angle_L1.cos().to(q.dtype), angle_L1.sin().to(q.dtype)
        q, k = (torch.cat((x * cos, x * sin), dim=-1) for x in (F.relu(q), F.relu(k)))
        return Streams(q, k, torch.cat((v, torch.ones_like(v[..., :1])), dim=-1))

    def finish(self, y_BHLV: Tensor, x_BLD: Tensor) -> Tensor:
        # a query that agrees with no key has no weights at all, and reads 0
        y = y_BHLV[..., :-1] / y_BHLV[..., -1:].clamp_min(LEAST_WEIGHT)
        return self.output(merged(y).to(x_BLD.dtype))


MODULE = CosFormerModule

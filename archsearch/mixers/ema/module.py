"""Moving average by blocks. Axes: B batch, L length, D width, K blocks, C positions of a block."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archsearch.mixers._module import SequenceMixer
from archsearch.mixers.base import MixerContext
from archsearch.mixers.ema.spec import MovingAverage, blocks


class MovingAverageModule(SequenceMixer):
    """See ``spec.MovingAverage``."""

    def __init__(self, spec: MovingAverage, context: MixerContext) -> None:
        super().__init__(spec, context)
        self.span = spec.span
        self.logit = nn.Parameter(torch.zeros(context.d_model))
        self.output = nn.Linear(context.d_model, context.d_model, bias=False)

    def initialise(self, generator: torch.Generator) -> None:
        # a = 1 - 1/t for memories t from 2 tokens to the span, equal ratios equally likely
        t_D = 2 * (self.span / 2) ** torch.rand(self.logit.shape, generator=generator)
        with torch.no_grad():
            self.logit.copy_((t_D - 1).log())

    def forward(self, x_BLD: Tensor) -> Tensor:
        batch, length, width = x_BLD.shape
        size, count = blocks(length)
        a_D = self.logit.sigmoid()
        padded = F.pad(x_BLD, (0, 0, 0, size * count - length))
        x_BKCD = padded.reshape(batch, count, size, width)
        # all blocks at once, each as if nothing stood before it ...
        inside_BKCD = _recurrence(x_BKCD, a_D)
        # ... then what flows from block to block, and decays on its way through the next
        ends_BKD = _recurrence(inside_BKCD[:, :, -1], a_D**size, gain=1.0)
        before_BKD = F.pad(ends_BKD[:, :-1], (0, 0, 1, 0))
        exponent_C = torch.arange(1, size + 1, device=x_BLD.device)
        h_BKCD = inside_BKCD + a_D ** exponent_C[:, None] * before_BKD[:, :, None]
        return self.output(h_BKCD.flatten(1, 2)[:, :length])

    def reference(self, x_BLD: Tensor) -> Tensor:
        position = torch.arange(x_BLD.shape[1], device=x_BLD.device)
        distance_LL = (position[:, None] - position).clamp_min(0)
        a_D = self.logit.sigmoid()
        weight_LLD = (1 - a_D) * a_D ** distance_LL[..., None]
        past_LL = position[:, None] >= position
        return self.output(torch.einsum("lmd,bmd->bld", weight_LLD * past_LL[..., None], x_BLD))


def _recurrence(x: Tensor, a_D: Tensor, gain: Tensor | float | None = None) -> Tensor:
    """h_i = a h_{i-1} + gain x_i along the last axis but one; the gain is 1 - a unless given."""
    gain = 1 - a_D if gain is None else gain
    h, found = torch.zeros_like(x[..., 0, :]), []
    for x_i in x.unbind(-2):
        h = a_D * h + gain * x_i
        found.append(h)
    return torch.stack(found, dim=-2)


MODULE = MovingAverageModule

"""HGRN2. Axes: B batch, L length, D width, H heads, E keys, V values."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archsearch.mixers._module import wide
from archsearch.mixers._recurrent import RecurrentMixer, Streams, heads, merged, unit
from archsearch.mixers.base import MixerContext
from archsearch.mixers.hgrn2.spec import HGRN2


class HGRN2Module(RecurrentMixer):
    """See ``spec.HGRN2``."""

    per_channel = True

    def __init__(self, spec: HGRN2, context: MixerContext) -> None:
        super().__init__(spec, context)
        width = context.d_model
        self.state_shape = spec.shape(width)
        self.query_forget_value = nn.Linear(width, 3 * width, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        self.bound_power = nn.Parameter(torch.zeros(width))

    def initialise(self, generator: torch.Generator) -> None:
        with torch.no_grad():
            self.bound_power.zero_()

    def streams(self, x_BLD: Tensor, position_L: Tensor) -> Streams:
        query, forget, value = wide(self.query_forget_value(x_BLD)).chunk(3, dim=-1)
        log_decay, key = self._gates(forget)
        parts = (F.silu(query), key, value, log_decay)
        return Streams(*(heads(x, self.state_shape[0]) for x in parts))

    def _gates(self, forget_BLD: Tensor) -> tuple[Tensor, Tensor]:
        """Logarithm of f, and 1 - f; f itself would round to 1, and its logarithm to 0."""
        log_open, closed = F.logsigmoid(forget_BLD), (-forget_BLD).sigmoid()
        layer, num_layers = self.context.layer_index, self.context.num_layers
        if layer == 0:
            return log_open, closed
        log_bound_D = math.log(layer / num_layers) * wide(self.bound_power).exp()
        free_D = -torch.expm1(log_bound_D)
        return torch.logaddexp(log_bound_D, free_D.log() + log_open), free_D * closed

    def finish(self, y_BHLV: Tensor, x_BLD: Tensor) -> Tensor:
        return self.output(merged(unit(y_BHLV)).to(x_BLD.dtype))


MODULE = HGRN2Module

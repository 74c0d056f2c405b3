"""Gated DeltaNet. Axes: B batch, L length, D width, H heads, V values."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archsearch.mixers._module import wide
from archsearch.mixers._recurrent import draw_step_bias
from archsearch.mixers._recurrent_delta import DeltaMixer, Shape
from archsearch.mixers.base import MixerContext
from archsearch.mixers.gated_delta_net.spec import GatedDeltaNet

LARGEST_RATE = 16.0
LEAST_RATE = 1e-3  # its logarithm is a parameter


class GatedDeltaNetModule(DeltaMixer):
    """See ``spec.GatedDeltaNet``."""

    def __init__(self, spec: GatedDeltaNet, context: MixerContext) -> None:
        largest = 2.0 if spec.negative_eigenvalues else 1.0
        shape = Shape(*spec.shape(context.d_model))
        super().__init__(spec, context, shape, largest_beta=largest)
        self.decay = nn.Linear(context.d_model, shape.heads, bias=False)
        self.gate = nn.Linear(context.d_model, shape.heads * shape.values, bias=False)
        self.step_bias = nn.Parameter(torch.zeros(shape.heads))
        self.log_rate = nn.Parameter(torch.zeros(shape.heads))

    def initialise(self, generator: torch.Generator) -> None:
        draw_step_bias(self.step_bias, generator)
        with torch.no_grad():
            rate = LARGEST_RATE * torch.rand(self.shape.heads, generator=generator)
            self.log_rate.copy_(rate.clamp_min(LEAST_RATE).log())

    def log_decay(self, x_BLD: Tensor) -> Tensor:
        steps_BLH = F.softplus(wide(self.decay(x_BLD)) + self.step_bias)
        return -(steps_BLH * self.log_rate.exp()).transpose(1, 2)

    def gated(self, y_BLV: Tensor, x_BLD: Tensor) -> Tensor:
        return F.silu(self.gate(x_BLD)) * y_BLV


MODULE = GatedDeltaNetModule

"""A projection gated by a convolution. Axes: B batch, L length, D width."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archsearch.mixers._convolution import (
    LongFilter,
    channelwise_convolution,
    next_output,
    tap_by_tap,
)
from archsearch.mixers._module import SequenceMixer, State
from archsearch.mixers.base import MixerContext
from archsearch.mixers.base_conv.spec import BaseConv
from archsearch.mixers.short_conv.module import CausalDepthwiseConv


class LongConvolution(nn.Module):
    """h conv u + u, causal. Decoding keeps all inputs and makes the filter anew at each step."""

    def __init__(self, d_model: int, max_length: int) -> None:
        super().__init__()
        self.filter = LongFilter(d_model, max_length)

    def forward(self, u_BLD: Tensor) -> Tensor:
        return channelwise_convolution(u_BLD, self.filter(u_BLD.shape[1])) + u_BLD

    def initial_inputs(self, batch: int) -> Tensor:
        """The inputs before the first, (B, 0, D)."""
        weight = self.filter.taps.weight
        return weight.new_zeros(batch, 0, weight.shape[0])

    def step(self, x_BD: Tensor, inputs_BLD: Tensor) -> tuple[Tensor, Tensor]:
        """One position, and all inputs up to it."""
        inputs_BLD = torch.cat((inputs_BLD, x_BD[:, None]), dim=1)
        return next_output(inputs_BLD, self.filter(inputs_BLD.shape[1])) + x_BD, inputs_BLD

    def taps(self, u_BLD: Tensor) -> Tensor:
        """The same, tap by tap."""
        return tap_by_tap(u_BLD, self.filter(u_BLD.shape[1])) + u_BLD


class BaseConvModule(SequenceMixer):
    """See ``spec.BaseConv``."""

    def __init__(self, spec: BaseConv, context: MixerContext) -> None:
        super().__init__(spec, context)
        self.projection = nn.Linear(context.d_model, context.d_model)
        self.convolution: LongConvolution | CausalDepthwiseConv = (
            LongConvolution(context.d_model, context.max_length)
            if spec.kernel_size == "long"
            else CausalDepthwiseConv(context.d_model, spec.kernel_size)
        )

    def initialise(self, generator: torch.Generator) -> None:
        if isinstance(self.convolution, LongConvolution):
            self.convolution.filter.initialise(generator)

    def forward(self, x_BLD: Tensor) -> Tensor:
        return self.projection(x_BLD) * self.convolution(x_BLD)

    def reference(self, x_BLD: Tensor) -> Tensor:
        return self.projection(x_BLD) * self.convolution.taps(x_BLD)

    def initial_state(self, batch: int, length: int) -> State:
        return {"inputs": self.convolution.initial_inputs(batch)}

    def step(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        y_BD, inputs = self.convolution.step(x_BD, state["inputs"])
        return self.projection(x_BD) * y_BD, {"inputs": inputs}


MODULE = BaseConvModule

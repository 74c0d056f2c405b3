"""Long convolution. Axes: B batch, L length, D width, T taps."""

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
from archsearch.mixers.long_conv.spec import LongConv


class ExplicitFilter(nn.Module):
    """Each tap of each channel a parameter, times 1/sqrt(L); nothing behind the longest length."""

    def __init__(self, d_model: int, max_length: int) -> None:
        super().__init__()
        # channels first, as the FFT wants them
        self.taps = nn.Parameter(torch.zeros(d_model, max_length))

    def initialise(self, generator: torch.Generator) -> None:
        nn.init.normal_(self.taps, generator=generator)

    def forward(self, length: int) -> Tensor:
        """The first ``length`` taps, or all, (T, D)."""
        return self.taps[:, :length].T / self.taps.shape[1] ** 0.5


class LongConvModule(SequenceMixer):
    """See ``spec.LongConv``. Decoding keeps all inputs and makes the filter anew at each step."""

    def __init__(self, spec: LongConv, context: MixerContext) -> None:
        super().__init__(spec, context)
        self.filter: ExplicitFilter | LongFilter = (
            ExplicitFilter(context.d_model, context.max_length)
            if spec.filter == "explicit"
            else LongFilter(context.d_model, context.max_length)
        )
        self.skip = nn.Parameter(torch.zeros(context.d_model))

    def initialise(self, generator: torch.Generator) -> None:
        self.filter.initialise(generator)
        nn.init.normal_(self.skip, generator=generator)

    def forward(self, x_BLD: Tensor) -> Tensor:
        y_BLD = channelwise_convolution(x_BLD, self.filter(x_BLD.shape[1]))
        return torch.addcmul(y_BLD, x_BLD, self.skip.to(x_BLD.dtype))

    def reference(self, x_BLD: Tensor) -> Tensor:
        return tap_by_tap(x_BLD, self.filter(x_BLD.shape[1])) + self.skip * x_BLD

    def initial_state(self, batch: int, length: int) -> State:
        return {"inputs": self.zeros(batch, 0, self.context.d_model)}

    def step(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        inputs_BLD = torch.cat((state["inputs"], x_BD[:, None]), dim=1)
        y_BD = next_output(inputs_BLD, self.filter(inputs_BLD.shape[1]))
        return y_BD + self.skip * x_BD, {"inputs": inputs_BLD}


MODULE = LongConvModule

"""Short depthwise causal convolution. Axes: B batch, L length, D width."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archsearch.mixers._module import SequenceMixer, State
from archsearch.mixers.base import MixerContext
from archsearch.mixers.short_conv.spec import ShortConv


class CausalDepthwiseConv(nn.Module):
    """y_i = b + sum_{j<k} h_j * x_{i-j}; torch's Conv1d with the tail cut off."""

    def __init__(self, width: int, kernel_size: int, *, bias: bool = True) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.conv = nn.Conv1d(
            width, width, kernel_size, groups=width, padding=kernel_size - 1, bias=bias
        )

    def forward(self, x_BLD: Tensor) -> Tensor:
        y_BDL = self.conv(x_BLD.transpose(1, 2))[..., : x_BLD.shape[1]]
        return y_BDL.transpose(1, 2)

    def initial_inputs(self, batch: int) -> Tensor:
        """The k-1 inputs before the first, (B, k-1, D): nothing."""
        weight = self.conv.weight
        return weight.new_zeros(batch, self.kernel_size - 1, weight.shape[0])

    def step(self, x_BD: Tensor, inputs_BKD: Tensor) -> tuple[Tensor, Tensor]:
        """One position, and the last k-1 inputs behind it."""
        window_BKD = torch.cat((inputs_BKD, x_BD[:, None]), dim=1)
        y_BD = (window_BKD * self.conv.weight[:, 0].T).sum(1)
        return y_BD if self.conv.bias is None else y_BD + self.conv.bias, window_BKD[:, 1:]

    def taps(self, x_BLD: Tensor) -> Tensor:
        """The same, tap by tap."""
        weight_DK, bias = self.conv.weight[:, 0], self.conv.bias
        y = torch.zeros_like(x_BLD) if bias is None else torch.zeros_like(x_BLD) + bias
        for j in range(min(self.kernel_size, x_BLD.shape[1])):
            shifted = torch.zeros_like(x_BLD)
            shifted[:, j:] = x_BLD[:, : x_BLD.shape[1] - j]
            y = y + weight_DK[:, self.kernel_size - 1 - j] * shifted
        return y


class ShortConvModule(SequenceMixer):
    """See ``spec.ShortConv``."""

    def __init__(self, spec: ShortConv, context: MixerContext) -> None:
        super().__init__(spec, context)
        self.convolution = CausalDepthwiseConv(context.d_model, spec.kernel_size)

    def forward(self, x_BLD: Tensor) -> Tensor:
        return self.convolution(x_BLD)

    def reference(self, x_BLD: Tensor) -> Tensor:
        return self.convolution.taps(x_BLD)

    def initial_state(self, batch: int, length: int) -> State:
        return {"inputs": self.convolution.initial_inputs(batch)}

    def step(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        y_BD, inputs = self.convolution.step(x_BD, state["inputs"])
        return y_BD, {"inputs": inputs}


MODULE = ShortConvModule

"""Short depthwise causal convolution. Axes: B batch, L length, D width."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archsearch.mixers._module import SequenceMixer
from archsearch.mixers.base import MixerContext
from archsearch.mixers.short_conv.spec import ShortConv


class CausalDepthwiseConv(nn.Module):
    """y_i = b + sum_{j<k} h_j * x_{i-j}; torch's Conv1d with the tail cut off."""

    def __init__(self, d_model: int, kernel_size: int) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.conv = nn.Conv1d(
            d_model, d_model, kernel_size, groups=d_model, padding=kernel_size - 1
        )

    def forward(self, x_BLD: Tensor) -> Tensor:
        y_BDL = self.conv(x_BLD.transpose(1, 2))[..., : x_BLD.shape[1]]
        return y_BDL.transpose(1, 2)

    def taps(self, x_BLD: Tensor) -> Tensor:
        """The same, tap by tap."""
        weight_DK, bias = self.conv.weight[:, 0], self.conv.bias
        assert bias is not None
        y = torch.zeros_like(x_BLD) + bias
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


MODULE = ShortConvModule

"""Hyena of order 2. Axes: B batch, L length, D width, T taps, F features, G filter width."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archsearch.mixers._convolution import (
    fft_convolution,
    next_output,
    position_features,
    tap_by_tap,
)
from archsearch.mixers._convolution_cost import FILTER_FEATURES
from archsearch.mixers._module import SequenceMixer, State
from archsearch.mixers.base import MixerContext
from archsearch.mixers.hyena.spec import SHORT_TAPS, Hyena
from archsearch.mixers.short_conv.module import CausalDepthwiseConv

# The window falls to 1% after this share of the longest length: fastest and slowest channel.
_FASTEST, _SLOWEST, _LEFT = 0.3, 1.5, 0.01


class HyenaFilter(nn.Module):
    """h_t = MLP(z_t) * w_t, w falling as exp(-r t/L), with learned z and sines in the MLP."""

    def __init__(self, d_model: int, width: int, max_length: int) -> None:
        super().__init__()
        self.d_model = d_model
        self.max_length = max_length
        self.features = nn.Parameter(torch.zeros(max_length, FILTER_FEATURES))
        self.frequency = nn.Parameter(torch.ones(width))
        self.hidden = nn.ModuleList(
            nn.Linear(fan_in, width) for fan_in in (FILTER_FEATURES, width, width)
        )
        self.taps = nn.Linear(width, d_model, bias=False)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Features as published; the frequency is 1."""
        self.features.copy_(position_features(self.max_length, self.max_length, self.features))
        self.frequency.fill_(1.0)

    def forward(self, length: int) -> Tensor:
        """The first ``length`` taps, or all, (T, D), each channel's side by side in memory."""
        g_TG = self.features[:length]
        for layer in self.hidden:
            assert isinstance(layer, nn.Linear)
            g_TG = (self.frequency * F.linear(g_TG, layer.weight, layer.bias)).sin()
        return (self.taps.weight @ g_TG.T * self.window(g_TG.shape[0])).T

    def window(self, num_taps: int) -> Tensor:
        """The decay of each channel, (D, T); over all L taps its squares sum to 1."""
        like = self.taps.weight
        slow, fast = -math.log(_LEFT) / _SLOWEST, -math.log(_LEFT) / _FASTEST
        total_D = torch.linspace(slow, fast, self.d_model, dtype=torch.float64, device=like.device)
        rate_D = total_D / self.max_length
        # of a geometric series: the sum of exp(-2 rate t) over t < L
        squares_D = torch.expm1(-2 * total_D) / torch.expm1(-2 * rate_D)
        first_D1, rate_D1 = squares_D.rsqrt().to(like)[:, None], rate_D.to(like)[:, None]
        t_T = torch.arange(num_taps, dtype=like.dtype, device=like.device)
        return first_D1 * (-rate_D1 * t_T).exp()


class HyenaModule(SequenceMixer):
    """See ``spec.Hyena``. Decoding keeps the long filter's inputs and makes it anew each step."""

    def __init__(self, spec: Hyena, context: MixerContext) -> None:
        super().__init__(spec, context)
        width = context.d_model
        self.projection = nn.Linear(width, 3 * width)
        self.short = CausalDepthwiseConv(3 * width, SHORT_TAPS)
        self.filter = HyenaFilter(width, spec.filter_width, context.max_length)
        self.skip = nn.Parameter(torch.zeros(width))
        self.output = nn.Linear(width, width)

    def initialise(self, generator: torch.Generator) -> None:
        self.filter.initialise(generator)
        nn.init.normal_(self.skip, generator=generator)

    def forward(self, x_BLD: Tensor) -> Tensor:
        z_BLD = self.short(self.projection(x_BLD))
        # the short filter leaves the positions of a channel side by side, as the FFT wants them
        a_BDL, b_BDL, v_BDL = z_BLD.transpose(1, 2).chunk(3, dim=1)
        u_BDL = b_BDL * v_BDL
        y_BDL = fft_convolution(u_BDL, self.filter(x_BLD.shape[1]).T)
        y_BDL = a_BDL * torch.addcmul(y_BDL, u_BDL, self.skip[:, None].to(u_BDL.dtype))
        return self.output(y_BDL.transpose(1, 2))

    def reference(self, x_BLD: Tensor) -> Tensor:
        a, b, v = self.short.taps(self.projection(x_BLD)).chunk(3, dim=2)
        inner = tap_by_tap(b * v, self.filter(x_BLD.shape[1]))
        return self.output(a * (inner + self.skip * (b * v)))

    def initial_state(self, batch: int, length: int) -> State:
        return {
            "short_inputs": self.short.initial_inputs(batch),
            "inputs": self.zeros(batch, 0, self.context.d_model),
        }

    def step(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        z_BD, short_inputs = self.short.step(self.projection(x_BD), state["short_inputs"])
        a_BD, b_BD, v_BD = z_BD.chunk(3, dim=1)
        u_BD = b_BD * v_BD
        inputs_BLD = torch.cat((state["inputs"], u_BD[:, None]), dim=1)
        y_BD = next_output(inputs_BLD, self.filter(inputs_BLD.shape[1])) + self.skip * u_BD
        return self.output(a_BD * y_BD), {"short_inputs": short_inputs, "inputs": inputs_BLD}


MODULE = HyenaModule

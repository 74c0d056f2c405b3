"""Toeplitz mixer. Axes: B batch, L length, D width, H heads, E width of a head, T taps."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archsearch.mixers._convolution import fft_convolution
from archsearch.mixers._module import SequenceMixer, State
from archsearch.mixers.base import MixerContext
from archsearch.mixers.toeplitz_mixer.spec import ToeplitzMixer


class ToeplitzMixerModule(SequenceMixer):
    """See ``spec.ToeplitzMixer``. Taps and biases behind the longest length are zero."""

    def __init__(self, spec: ToeplitzMixer, context: MixerContext) -> None:
        super().__init__(spec, context)
        self.num_heads = spec.num_heads
        width = context.d_model
        self.taps = nn.Parameter(torch.zeros(spec.num_heads, context.max_length))
        self.bias = nn.Parameter(torch.zeros(spec.num_heads, context.max_length))
        self.split = nn.Linear(width, width) if spec.num_heads > 1 else nn.Identity()
        self.output = nn.Linear(width, width) if spec.num_heads > 1 else nn.Identity()

    def initialise(self, generator: torch.Generator) -> None:
        bound = self.context.max_length**-0.5
        for parameter in (self.taps, self.bias):
            nn.init.uniform_(parameter, -bound, bound, generator=generator)

    def forward(self, x_BLD: Tensor) -> Tensor:
        length = x_BLD.shape[1]
        x_BHEL = self.split(x_BLD).transpose(1, 2).unflatten(1, (self.num_heads, -1))
        y_BHEL = fft_convolution(x_BHEL, self.taps[:, None])
        y_BHEL = y_BHEL + _first(self.bias, length)[:, None].to(y_BHEL.dtype)
        return self.output(y_BHEL.flatten(1, 2).transpose(1, 2))

    def reference(self, x_BLD: Tensor) -> Tensor:
        length = x_BLD.shape[1]
        position = torch.arange(length, device=x_BLD.device)
        distance_LL = position[:, None] - position
        taps_HL = _first(self.taps, length)
        matrix_HLL = torch.where(distance_LL < 0, 0, taps_HL[:, distance_LL.clamp_min(0)])
        x_BLHE = self.split(x_BLD).unflatten(2, (self.num_heads, -1))
        y_BLHE = torch.einsum("hij,bjhe->bihe", matrix_HLL, x_BLHE)
        return self.output((y_BLHE + _first(self.bias, length).T[..., None]).flatten(2))

    def initial_state(self, batch: int, length: int) -> State:
        return {
            "inputs": self.zeros(batch, 0, self.num_heads, self.context.d_model // self.num_heads)
        }

    def step(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        now = self.split(x_BD).unflatten(1, (1, self.num_heads, -1))
        inputs_BLHE = torch.cat((state["inputs"], now), dim=1)
        length = inputs_BLHE.shape[1]
        taps_HL = _first(self.taps, length).flip(1)
        y_BHE = torch.einsum("hj,bjhe->bhe", taps_HL, inputs_BLHE)
        y_BHE = y_BHE + _first(self.bias, length)[:, -1, None]
        return self.output(y_BHE.flatten(1)), {"inputs": inputs_BLHE}


def _first(x_HT: Tensor, length: int) -> Tensor:
    """The first ``length`` columns, zeros where there are none."""
    return F.pad(x_HT, (0, length - x_HT.shape[1]))


MODULE = ToeplitzMixerModule

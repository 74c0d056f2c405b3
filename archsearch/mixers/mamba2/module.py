"""Mamba-2. Axes: B batch, L length, D width, E inner width, S state, H heads, P values of a head.

``conv`` in a suffix stands for the E + 2S channels that are convolved.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archsearch.mixers._linear_attention import (
    decayed_attention,
    dense_decayed_attention,
    recurrent_step,
)
from archsearch.mixers._module import SequenceMixer, State, wide
from archsearch.mixers._recurrent import draw_step_bias, heads, merged, unit
from archsearch.mixers.base import MixerContext
from archsearch.mixers.mamba2.spec import EXPAND, TAPS, Mamba2
from archsearch.mixers.short_conv.module import CausalDepthwiseConv

Inputs = tuple[Tensor, Tensor, Tensor, Tensor]
"""C, B, dt x and the log decay, as the engine takes them."""

LARGEST_RATE = 16.0


class Mamba2Module(SequenceMixer):
    """See ``spec.Mamba2``."""

    def __init__(self, spec: Mamba2, context: MixerContext) -> None:
        super().__init__(spec, context)
        width, self.inner = context.d_model, EXPAND * context.d_model
        self.state_size, self.num_heads = spec.state_size, spec.num_heads(width)
        convolved = self.inner + 2 * spec.state_size
        self.input = nn.Linear(width, self.inner + convolved + self.num_heads, bias=False)
        self.convolution = CausalDepthwiseConv(convolved, TAPS)
        self.step_bias = nn.Parameter(torch.zeros(self.num_heads))
        self.log_rate = nn.Parameter(torch.zeros(self.num_heads))
        self.skip = nn.Parameter(torch.ones(self.num_heads))
        self.output = nn.Linear(self.inner, width, bias=False)

    def initialise(self, generator: torch.Generator) -> None:
        draw_step_bias(self.step_bias, generator)
        with torch.no_grad():
            rate = 1 + (LARGEST_RATE - 1) * torch.rand(self.num_heads, generator=generator)
            self.log_rate.copy_(rate.log())
            self.skip.fill_(1.0)

    def forward(self, x_BLD: Tensor) -> Tensor:
        z, inputs, steps = self._project(x_BLD)
        # the convolution leaves positions innermost, where all that follows wants channels
        streams, skipped = self._streams(self.convolution(inputs).contiguous(), steps)
        with torch.autocast(x_BLD.device.type, enabled=False):
            y_BHLP = decayed_attention(*streams)
        return self._finish(y_BHLP + skipped, z, x_BLD)

    def reference(self, x_BLD: Tensor) -> Tensor:
        z, inputs, steps = self._project(x_BLD)
        streams, skipped = self._streams(self.convolution.taps(inputs), steps)
        return self._finish(dense_decayed_attention(*streams) + skipped, z, x_BLD)

    def _project(self, x_BLD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        sizes = [self.inner, self.inner + 2 * self.state_size, self.num_heads]
        z_BLE, inputs_BLconv, steps_BLH = torch.split(self.input(x_BLD), sizes, dim=-1)
        return z_BLE, inputs_BLconv, steps_BLH

    def _streams(self, convolved_BLconv: Tensor, steps_BLH: Tensor) -> tuple[Inputs, Tensor]:
        """What enters the recurrence, and D x beside it; B and C have one head for all."""
        sizes = [self.inner, self.state_size, self.state_size]
        x, key, query = torch.split(F.silu(wide(convolved_BLconv)), sizes, dim=-1)
        x_BHLP = heads(x, self.num_heads)
        step_BHL1 = F.softplus(wide(steps_BLH) + self.step_bias).transpose(1, 2)[..., None]
        log_decay = (-step_BHL1 * self.log_rate.exp()[:, None, None])[..., 0]
        streams = (query[:, None], key[:, None], step_BHL1 * x_BHLP, log_decay)
        return streams, self.skip[:, None, None] * x_BHLP

    def _finish(self, y_BHLP: Tensor, z_BLE: Tensor, x_BLD: Tensor) -> Tensor:
        gated_BLE = F.silu(wide(z_BLE)) * merged(y_BHLP)
        return self.output(unit(gated_BLE).to(x_BLD.dtype))

    def initial_state(self, batch: int, length: int) -> State:
        shape = (batch, self.num_heads, self.state_size, self.inner // self.num_heads)
        inputs = self.convolution.initial_inputs(batch)
        return {"sums": self.zeros(*shape), "inputs": inputs}

    def step(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        x_B1D = x_BD[:, None]
        z, inputs, steps = self._project(x_B1D)
        convolved, kept = self.convolution.step(inputs[:, 0], state["inputs"])
        streams, skipped = self._streams(convolved[:, None], steps)
        q, k, v, log = (x[:, :, 0] for x in streams)
        y_BHP, sums = recurrent_step(q, k, v, log[..., None], state["sums"])
        y_BD = self._finish(y_BHP[:, :, None] + skipped, z, x_B1D)[:, 0]
        return y_BD, {"sums": sums, "inputs": kept}


MODULE = Mamba2Module

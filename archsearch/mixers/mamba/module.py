"""Mamba. Axes: B batch, L length, D width, E inner width, S state, R rank of the steps."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archsearch.mixers._module import SequenceMixer, State, wide
from archsearch.mixers._recurrent import draw_step_bias
from archsearch.mixers.base import MixerContext
from archsearch.mixers.mamba._scan import scan_step, selective_scan
from archsearch.mixers.mamba.spec import EXPAND, TAPS, Mamba, runs
from archsearch.mixers.short_conv.module import CausalDepthwiseConv


class MambaModule(SequenceMixer):
    """See ``spec.Mamba``."""

    def __init__(self, spec: Mamba, context: MixerContext) -> None:
        super().__init__(spec, context)
        width, inner = context.d_model, EXPAND * context.d_model
        self.rank, self.state_size = spec.rank(width), spec.state_size
        self.input = nn.Linear(width, 2 * inner, bias=False)
        self.convolution = CausalDepthwiseConv(inner, TAPS)
        self.selection = nn.Linear(inner, self.rank + 2 * spec.state_size, bias=False)
        self.step_size = nn.Linear(self.rank, inner)
        self.log_rate = nn.Parameter(torch.zeros(spec.state_size, inner))
        self.skip = nn.Parameter(torch.ones(inner))
        self.output = nn.Linear(inner, width, bias=False)

    def initialise(self, generator: torch.Generator) -> None:
        bound = 1 / math.sqrt(self.rank)
        with torch.no_grad():
            self.step_size.weight.uniform_(-bound, bound, generator=generator)
            rate_S = torch.arange(1, self.state_size + 1, dtype=self.log_rate.dtype)
            self.log_rate.copy_(rate_S.log()[:, None])
            self.skip.fill_(1.0)
        draw_step_bias(self.step_size.bias, generator)

    def forward(self, x_BLD: Tensor) -> Tensor:
        u_BLE, z_BLE = self.input(x_BLD).chunk(2, dim=-1)
        # the convolution leaves positions innermost, where all that follows wants channels
        inputs, inner_BLE = self._inputs(self.convolution(u_BLE).contiguous())
        count, covered = runs(x_BLD.shape[1])
        step, x, into, out = (_by_run(part, count, covered) for part in inputs)
        with torch.autocast(x_BLD.device.type, enabled=False):
            y_TME = selective_scan(step, x, self._rate(), (into, out), count)
        y_BLE = y_TME.transpose(0, 1).reshape(len(x_BLD), covered, -1)[:, : x_BLD.shape[1]]
        return self._finish(y_BLE + self.skip * inner_BLE, z_BLE, x_BLD)

    def reference(self, x_BLD: Tensor) -> Tensor:
        u_BLE, z_BLE = self.input(x_BLD).chunk(2, dim=-1)
        inputs, inner_BLE = self._inputs(self.convolution.taps(u_BLE))
        state = torch.zeros_like(inner_BLE[:, :1] * self.log_rate)
        outputs = []
        for i in range(x_BLD.shape[1]):
            now = tuple(part[:, i] for part in inputs)
            y_BE, state = scan_step(now, self._rate(), state)
            outputs.append(y_BE)
        return self._finish(torch.stack(outputs, 1) + self.skip * inner_BLE, z_BLE, x_BLD)

    def _rate(self) -> Tensor:
        """(S, E), in float32 at least."""
        return wide(self.log_rate).exp()

    def _inputs(self, convolved_BLE: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """Of the recurrence: dt, dt x, B and C, in float32 at least; and x beside them."""
        x_BLE = F.silu(wide(convolved_BLE))
        sizes = [self.rank, self.state_size, self.state_size]
        # the weights of the map are of the type of what was convolved
        selected = self.selection(x_BLE.to(convolved_BLE.dtype))
        small_BLR, into_BLS, out_BLS = torch.split(selected, sizes, dim=-1)
        step_BLE = F.softplus(wide(self.step_size(small_BLR)))
        return (step_BLE, step_BLE * x_BLE, wide(into_BLS), wide(out_BLS)), x_BLE

    def _finish(self, y_BLE: Tensor, z_BLE: Tensor, x_BLD: Tensor) -> Tensor:
        return self.output((F.silu(wide(z_BLE)) * y_BLE).to(x_BLD.dtype))

    def initial_state(self, batch: int, length: int) -> State:
        inputs = self.convolution.initial_inputs(batch)
        return {"sums": wide(self.zeros(batch, *self.log_rate.shape)), "inputs": inputs}

    def step(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        u_BE, z_BE = self.input(x_BD).chunk(2, dim=-1)
        convolved, kept = self.convolution.step(u_BE, state["inputs"])
        inputs, inner_BE = self._inputs(convolved)
        y_BE, sums = scan_step(inputs, self._rate(), state["sums"])
        y_BD = self._finish(y_BE + self.skip * inner_BE, z_BE, x_BD)
        return y_BD, {"sums": sums, "inputs": kept}


def _by_run(x_BLE: Tensor, count: int, covered: int) -> Tensor:
    """(T, M, E): positions of a run first, then the runs of all sequences."""
    padded = F.pad(x_BLE, (0, 0, 0, covered - x_BLE.shape[1]))
    return padded.reshape(len(x_BLE) * count, -1, x_BLE.shape[2]).transpose(0, 1).contiguous()


MODULE = MambaModule

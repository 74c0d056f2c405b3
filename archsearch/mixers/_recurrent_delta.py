"""What the mixers with the delta rule share.

Axes: B batch, L length, D width, H heads, E keys, V values; ``conv`` stands for the channels of
queries, keys and values that are convolved.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archsearch.mixers._linear_delta import delta_attention, delta_step, recurrent_delta
from archsearch.mixers._module import SequenceMixer, State, wide
from archsearch.mixers._recurrent import heads, merged, unit
from archsearch.mixers.base import MixerContext, MixerSpec
from archsearch.mixers.short_conv.module import CausalDepthwiseConv

TAPS = 4
LENGTH_EPS = 1e-6


class Shape(NamedTuple):
    """Heads, and widths of their keys and values."""

    heads: int
    keys: int
    values: int


class DeltaMixer(SequenceMixer):
    """Queries, keys and values through a short convolution and SiLU into the delta rule.

    A subclass may give ``log_decay`` and ``gated``.
    """

    def __init__(
        self, spec: MixerSpec, context: MixerContext, shape: Shape, *, largest_beta: float
    ) -> None:
        super().__init__(spec, context)
        self.shape, self.largest_beta = shape, largest_beta
        width = context.d_model
        self.sizes = [shape.heads * x for x in (shape.keys, shape.keys, shape.values)]
        self.query_key_value = nn.Linear(width, sum(self.sizes), bias=False)
        self.convolution = CausalDepthwiseConv(sum(self.sizes), TAPS, bias=False)
        self.beta = nn.Linear(width, shape.heads, bias=False)
        self.output = nn.Linear(shape.heads * shape.values, width, bias=False)

    def log_decay(self, x_BLD: Tensor) -> Tensor | None:
        """Of each head, (B, H, L); None for no decay."""
        return None

    def gated(self, y_BLV: Tensor, x_BLD: Tensor) -> Tensor:
        """What the heads read, side by side and normed, before it is projected."""
        return y_BLV

    def forward(self, x_BLD: Tensor) -> Tensor:
        # the convolution leaves positions innermost, where all that follows wants channels
        convolved = self.convolution(self.query_key_value(x_BLD)).contiguous()
        streams = self._streams(convolved, x_BLD)
        log_decay = self.log_decay(x_BLD)
        with torch.autocast(x_BLD.device.type, enabled=False):
            y_BHLV = delta_attention(*streams, log_decay)
        return self._finish(y_BHLV, x_BLD)

    def reference(self, x_BLD: Tensor) -> Tensor:
        streams = self._streams(self.convolution.taps(self.query_key_value(x_BLD)), x_BLD)
        return self._finish(recurrent_delta(*streams, self.log_decay(x_BLD)), x_BLD)

    def _streams(
        self, convolved_BLconv: Tensor, x_BLD: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Queries and keys of length 1 (then scaled), values, and the strength b (B, H, L)."""
        parts = torch.split(F.silu(wide(convolved_BLconv)), self.sizes, dim=-1)
        q, k, v = (heads(x, self.shape.heads) for x in parts)
        beta_BHL = self.largest_beta * wide(self.beta(x_BLD)).sigmoid().transpose(1, 2)
        return _directions(q) * self.shape.keys**-0.5, _directions(k), v, beta_BHL

    def _finish(self, y_BHLV: Tensor, x_BLD: Tensor) -> Tensor:
        return self.output(self.gated(merged(unit(y_BHLV)), x_BLD).to(x_BLD.dtype))

    def initial_state(self, batch: int, length: int) -> State:
        inputs = self.convolution.initial_inputs(batch)
        return {"sums": self.zeros(batch, *self.shape), "inputs": inputs}

    def step(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        x_B1D = x_BD[:, None]
        convolved, inputs = self.convolution.step(self.query_key_value(x_BD), state["inputs"])
        streams = self._streams(convolved[:, None], x_B1D)
        log_decay = self.log_decay(x_B1D)
        log_now = None if log_decay is None else log_decay[:, :, 0]
        y_BHV, sums = delta_step(tuple(x[:, :, 0] for x in streams), log_now, state["sums"])
        return self._finish(y_BHV[:, :, None], x_B1D)[:, 0], {"sums": sums, "inputs": inputs}


def _directions(x: Tensor) -> Tensor:
    """Vectors of length 1: the delta rule explodes where keys are longer."""
    size = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x * (size.square() + LENGTH_EPS).rsqrt()

"""What the linear attention mixers share: streams in, one of the engines, heads out; decoding.

Axes: B batch, L length, D width, H heads, E width of a head's queries and keys, V width of its
values.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from archsearch.mixers._attention import ROTARY_BASE
from archsearch.mixers._linear_attention import (
    attention_at,
    channel_decayed_attention,
    decayed_attention,
    dense_decayed_attention,
    dense_linear_attention,
    linear_attention,
    recurrent_attention,
    recurrent_step,
)
from archsearch.mixers._linear_cost import CHUNK
from archsearch.mixers._module import SequenceMixer, State, taken

NORM_EPS = 1e-5
LEAST_STEP, LARGEST_STEP = 1e-3, 0.1


class Streams(NamedTuple):
    """What enters the recurrence S_i = exp(l_i) * S_{i-1} + k_i v_i^T, y_i = q_i^T S_i.

    Queries and keys are (B, H, L, E), values (B, H, L, V). Log decays are (B, H, L, E), or
    (B, H, L, 1) or the constant (1, H, 1, 1) for one per head, or None for none.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    log_decay: Tensor | None = None


class RecurrentMixer(SequenceMixer):
    """A mixer around that recurrence.

    A subclass gives ``streams`` and ``finish`` and the shape of the state of its heads.

    Attributes:
        positional: Whether the streams depend on the position.
        per_channel: Whether each channel of the keys decays at a pace of its own.
    """

    positional: ClassVar[bool] = False
    per_channel: ClassVar[bool] = False
    state_shape: tuple[int, int, int]
    """(H, E, V)."""

    @abstractmethod
    def streams(self, x_BLD: Tensor, position_L: Tensor) -> Streams:
        """Queries, keys, values and decays of the tokens at these positions, not below float32."""

    @abstractmethod
    def finish(self, y_BHLV: Tensor, x_BLD: Tensor) -> Tensor:
        """From what the heads read to the output of the mixer."""

    def forward(self, x_BLD: Tensor) -> Tensor:
        streams = self.streams(x_BLD, positions(x_BLD))
        with torch.autocast(x_BLD.device.type, enabled=False):
            y_BHLV = run(streams, per_channel=self.per_channel)
        return self.finish(y_BHLV, x_BLD)

    def at(self, x_BLD: Tensor, position_BM: Tensor, *tokens: Tensor) -> Tensor:
        streams = self.streams(x_BLD, positions(x_BLD))
        # a chunk's worth of queries reads all keys at no more than the chunks cost
        few = position_BM.shape[1] <= CHUNK
        with torch.autocast(x_BLD.device.type, enabled=False):
            if few and not self.per_channel:
                y_BHMV = run_at(streams, position_BM)
            else:
                y_BHLV = run(streams, per_channel=self.per_channel)
                y_BHMV = _each_head(y_BHLV, position_BM)
        return self.finish(y_BHMV, taken(x_BLD, position_BM))

    def reference(self, x_BLD: Tensor) -> Tensor:
        streams = self.streams(x_BLD, positions(x_BLD))
        return self.finish(run_plainly(streams, per_channel=self.per_channel), x_BLD)

    def initial_state(self, batch: int, length: int) -> State:
        state = {"sums": self.zeros(batch, *self.state_shape)}
        if self.positional:
            state["position"] = torch.zeros(batch, dtype=torch.int64, device=state["sums"].device)
        return state

    def step(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        x_B1D, behind = x_BD[:, None], dict(state)
        position_L = positions(x_B1D)
        if self.positional:
            position_L = state["position"][:1]
            behind["position"] = state["position"] + 1
        q, k, v, log = self.streams(x_B1D, position_L)
        now = None if log is None else log[:, :, 0]
        y_BHV, behind["sums"] = recurrent_step(
            q[:, :, 0], k[:, :, 0], v[:, :, 0], now, state["sums"]
        )
        return self.finish(y_BHV[:, :, None], x_B1D)[:, 0], behind


def run(streams: Streams, *, per_channel: bool) -> Tensor:
    """The fast form, (B, H, L, V)."""
    q, k, v, log = streams
    if log is None:
        return linear_attention(q, k, v)
    if per_channel:
        return channel_decayed_attention(q, k, v, log)
    return decayed_attention(q, k, v, log[..., 0])


def run_at(streams: Streams, position_BM: Tensor) -> Tensor:
    """The same at the given positions, (B, H, M, V), without decays or with one per head."""
    q, k, v, log = streams
    q_BHME = _each_head(q, position_BM)
    return attention_at(q_BHME, k, v, None if log is None else log[..., 0], position_BM)


def _each_head(x_BHLE: Tensor, position_BM: Tensor) -> Tensor:
    """The given positions of all heads, (B, H, M, E)."""
    index = position_BM[:, None, :, None].expand(-1, x_BHLE.shape[1], -1, x_BHLE.shape[3])
    return x_BHLE.gather(2, index)


def run_plainly(streams: Streams, *, per_channel: bool) -> Tensor:
    """The dense form, or step by step if each channel decays at its own pace."""
    q, k, v, log = streams
    if log is None:
        return dense_linear_attention(q, k, v)
    if per_channel:
        return recurrent_attention(q, k, v, log)
    return dense_decayed_attention(q, k, v, log[..., 0])


def positions(x_BLD: Tensor) -> Tensor:
    """0, 1, .. (L)."""
    return torch.arange(x_BLD.shape[1], device=x_BLD.device)


def heads(x_BLD: Tensor, num_heads: int) -> Tensor:
    """(B, H, L, D / H)."""
    return x_BLD.reshape(*x_BLD.shape[:2], num_heads, -1).transpose(1, 2)


def merged(y_BHLV: Tensor) -> Tensor:
    """Heads side by side, (B, L, H V)."""
    return y_BHLV.transpose(1, 2).flatten(2)


def unit(x: Tensor) -> Tensor:
    """Root mean square 1 along the last axis.

    A learned gain per channel would only scale the columns of the linear map that follows.
    """
    size = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x * (size.square() / x.shape[-1] + NORM_EPS).rsqrt()


def turns(position_L: Tensor, count: int, head_width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of i base^(-2j/E) for j < count, each (L, count), typed as ``like``."""
    exponent = 2 * torch.arange(count, dtype=torch.float64, device=like.device) / head_width
    angle = position_L[:, None].double() * ROTARY_BASE**-exponent
    return angle.cos().to(like.dtype), angle.sin().to(like.dtype)


def draw_step_bias(bias: Tensor, generator: torch.Generator) -> None:
    """Draws a bias such that softplus gives steps from 1e-3 to 0.1, equal ratios equally likely."""
    ratio = LARGEST_STEP / LEAST_STEP
    step = LEAST_STEP * ratio ** torch.rand(bias.shape, generator=generator)
    with torch.no_grad():
        # the inverse of softplus, without the exponential of a large number
        bias.copy_(step + torch.log(-torch.expm1(-step)))

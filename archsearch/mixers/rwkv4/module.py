"""RWKV-4 time mixing. Axes: B batch, L length, D width, S streams that are summed (v and 1)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archsearch.mixers._module import SequenceMixer, State
from archsearch.mixers.base import MixerContext
from archsearch.mixers.rwkv4._recurrence import recurrence
from archsearch.mixers.rwkv4.spec import RWKV4

# The exponent of an empty sum; finite, so that differences of exponents are numbers.
_NOTHING = -1e30


class RWKV4Module(SequenceMixer):
    """See ``spec.RWKV4``."""

    def __init__(self, spec: RWKV4, context: MixerContext) -> None:
        super().__init__(spec, context)
        width = context.d_model
        self.log_decay = nn.Parameter(torch.zeros(width))
        self.bonus = nn.Parameter(torch.zeros(width))
        self.key_mix = nn.Parameter(torch.zeros(width))
        self.value_mix = nn.Parameter(torch.zeros(width))
        self.receptance_mix = nn.Parameter(torch.zeros(width))
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.receptance = nn.Linear(width, width, bias=False)
        self.output = nn.Linear(width, width, bias=False)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """By channel h and depth: nothing is random."""
        width, layer, layers = (
            self.context.d_model,
            self.context.layer_index,
            self.context.num_layers,
        )
        depth = layer / max(1, layers - 1)
        remaining = 1 - layer / layers
        h_D = torch.arange(width)
        share_D = h_D / max(1, width - 1)
        self.log_decay.copy_(-5 + 8 * share_D ** (0.7 + 1.3 * depth))
        self.bonus.copy_(math.log(0.3) + 0.5 * ((h_D + 1) % 3 - 1))
        self.key_mix.copy_((h_D / width) ** remaining)
        self.value_mix.copy_(self.key_mix + 0.3 * depth)
        self.receptance_mix.copy_((h_D / width) ** (remaining / 2))

    def forward(self, x_BLD: Tensor) -> Tensor:
        k, v, r = self._project(x_BLD, F.pad(x_BLD, (0, 0, 1, -1)))
        with torch.autocast(x_BLD.device.type, enabled=False):
            wide = torch.promote_types(v.dtype, torch.float32)
            average = self._average(k.to(wide), v.to(wide))
        return self.output(r.sigmoid() * average.to(r.dtype))

    def _project(self, x: Tensor, before: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Keys, values and receptances of each position mixed with the one before it."""
        # under autocast the input may be of half precision, and lerp takes one type only
        x, before = x.to(self.key_mix.dtype), before.to(self.key_mix.dtype)
        return (
            self.key(torch.lerp(before, x, self.key_mix)),
            self.value(torch.lerp(before, x, self.value_mix)),
            self.receptance(torch.lerp(before, x, self.receptance_mix)),
        )

    def _average(self, k_BLD: Tensor, v_BLD: Tensor) -> Tensor:
        """The sums before each position, relative to the largest exponent in them, then its own.

        The maxima cancel in the quotient, so that they take no part in the derivative, and need
        only be near: they come from one cumulative maximum over the sequence.
        """
        decay_D, length = -self.log_decay.exp(), k_BLD.shape[1]
        with torch.no_grad():
            age_LD = torch.arange(length, device=k_BLD.device)[:, None] * decay_D
            largest_BLD = torch.cummax(k_BLD - age_LD, dim=1).values + age_LD
            before_BLD = F.pad(largest_BLD[:, :-1], (0, 0, 1, 0), value=_NOTHING)
        # what stands at i was kept relative to the maximum at i - 1, and has decayed since
        kept_BLD = (before_BLD + (decay_D - largest_BLD)).exp()
        own_BLD = (k_BLD - largest_BLD).exp()
        streams = torch.stack((own_BLD * v_BLD, own_BLD), dim=2)
        sums_BLSD = recurrence(kept_BLD[:, :, None], streams)
        sums_BLSD = F.pad(sums_BLSD[:, :-1], (0, 0, 0, 0, 1, 0))
        return _quotient(sums_BLSD.unbind(2), before_BLD, k_BLD + self.bonus, v_BLD)

    def reference(self, x_BLD: Tensor) -> Tensor:
        before = torch.cat((torch.zeros_like(x_BLD[:, :1]), x_BLD[:, :-1]), dim=1)

        def mixed(mix: Tensor) -> Tensor:
            return mix * x_BLD + (1 - mix) * before

        k = self.key(mixed(self.key_mix))
        v = self.value(mixed(self.value_mix))
        r = self.receptance(mixed(self.receptance_mix))
        position = torch.arange(x_BLD.shape[1], device=x_BLD.device)
        gap_LL = (position[:, None] - 1 - position)[..., None]
        score = k[:, None] - gap_LL * self.log_decay.exp()
        score = torch.where(gap_LL == -1, k[:, None] + self.bonus, score)
        score = score.masked_fill(gap_LL < -1, float("-inf"))
        average = torch.einsum("bijd,bjd->bid", score.softmax(2), v)
        return self.output(r.sigmoid() * average)

    def initial_state(self, batch: int, length: int) -> State:
        nothing = self.zeros(batch, self.context.d_model)
        return {
            "before": nothing,
            "numerator": nothing,
            "denominator": nothing,
            "largest": nothing + _NOTHING,
        }

    def step(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        k, v, r = self._project(x_BD, state["before"])
        sums, before = (state["numerator"], state["denominator"]), state["largest"]
        y_BD = self.output(r.sigmoid() * _quotient(sums, before, k + self.bonus, v))
        decayed = before - self.log_decay.exp()
        largest = torch.maximum(decayed, k)
        kept, own = (decayed - largest).exp(), (k - largest).exp()
        return y_BD, {
            "before": x_BD,
            "numerator": kept * sums[0] + own * v,
            "denominator": kept * sums[1] + own,
            "largest": largest,
        }


def _quotient(sums: tuple[Tensor, ...], before: Tensor, own: Tensor, value: Tensor) -> Tensor:
    """(A e^b + e^o v) / (B e^b + e^o) for sums A and B before, relative to the larger exponent."""
    largest = torch.maximum(before, own.detach())
    past, present = (before - largest).exp(), (own - largest).exp()
    return (past * sums[0] + present * value) / (past * sums[1] + present)


MODULE = RWKV4Module

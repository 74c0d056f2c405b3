"""RWKV channel mixing. Axes: B batch, L length, D width."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archsearch.mixers._module import ChannelMixer, State
from archsearch.mixers.base import MixerContext
from archsearch.mixers.rwkv_channel_mix.spec import RWKVChannelMix


class RWKVChannelMixModule(ChannelMixer):
    """See ``spec.RWKVChannelMix``."""

    def __init__(self, spec: RWKVChannelMix, context: MixerContext) -> None:
        super().__init__(spec, context)
        width, hidden = context.d_model, spec.hidden(context.d_model)
        self.key_mix = nn.Parameter(torch.zeros(width))
        self.gate_mix = nn.Parameter(torch.zeros(width))
        self.key = nn.Linear(width, hidden, bias=False)
        self.gate = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(hidden, width, bias=False)

    def initialise(self, generator: torch.Generator) -> None:
        width = self.context.d_model
        depth = self.context.layer_index / self.context.num_layers
        with torch.no_grad():
            for mix in (self.key_mix, self.gate_mix):
                mix.copy_((torch.arange(width) / width) ** (1 - depth))

    def forward(self, x_BLD: Tensor) -> Tensor:
        return self._mix(x_BLD, F.pad(x_BLD, (0, 0, 1, -1)))

    def _mix(self, x: Tensor, before: Tensor) -> Tensor:
        # under autocast the input may be of half precision, and lerp takes one type only
        x, before = x.to(self.key_mix.dtype), before.to(self.key_mix.dtype)
        key = F.relu(self.key(torch.lerp(before, x, self.key_mix)))
        gate = self.gate(torch.lerp(before, x, self.gate_mix)).sigmoid()
        return gate * self.value(key * key)

    def reference(self, x_BLD: Tensor) -> Tensor:
        m_k, m_r = self.key_mix, self.gate_mix
        outputs, before = [], torch.zeros_like(x_BLD[:, 0])
        for x in x_BLD.unbind(1):
            hidden = (m_k * x + (1 - m_k) * before) @ self.key.weight.T
            gate = ((m_r * x + (1 - m_r) * before) @ self.gate.weight.T).sigmoid()
            outputs.append(gate * (hidden.clamp_min(0) ** 2 @ self.value.weight.T))
            before = x
        return torch.stack(outputs, dim=1)

    def initial_state(self, batch: int, length: int) -> State:
        return {"before": self.gate_mix.new_zeros(batch, self.context.d_model)}

    def step(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        return self._mix(x_BD, state["before"]), {"before": x_BD}


MODULE = RWKVChannelMixModule

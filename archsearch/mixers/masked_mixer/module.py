"""Masked mixer. Axes: B batch, L length, D width, H heads, E width of a head, X expansion.

Axis C is batch and head width together: a head's matrix is the same for both.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archsearch.mixers._module import SequenceMixer, State
from archsearch.mixers.base import MixerContext
from archsearch.mixers.masked_mixer.spec import MaskedMixer


class MaskedMixerModule(SequenceMixer):
    """See ``spec.MaskedMixer``. Weights are masked where they are used and never overwritten."""

    decaying: tuple[str, ...] = ("weight",)

    def __init__(self, spec: MaskedMixer, context: MixerContext) -> None:
        super().__init__(spec, context)
        self.num_heads, self.expansion = spec.num_heads, spec.expansion
        heads, longest, width = spec.num_heads, context.max_length, context.d_model
        blocks = max(1, spec.expansion)
        self.weight = nn.Parameter(torch.zeros(heads, blocks, longest, longest))
        self.bias = nn.Parameter(torch.zeros(heads, longest))
        if spec.expansion:
            self.decaying = ("weight", "hidden_weight")
            self.hidden_weight = nn.Parameter(torch.zeros(heads, blocks, longest, longest))
            self.hidden_bias = nn.Parameter(torch.zeros(heads, blocks, longest))
        self.split = nn.Linear(width, width) if heads > 1 else nn.Identity()
        self.output = nn.Linear(width, width) if heads > 1 else nn.Identity()

    def initialise(self, generator: torch.Generator) -> None:
        longest = self.context.max_length
        bound = (self.weight.shape[1] * longest) ** -0.5
        for parameter in (self.weight, self.bias):
            nn.init.uniform_(parameter, -bound, bound, generator=generator)
        if self.expansion:
            for parameter in (self.hidden_weight, self.hidden_bias):
                nn.init.uniform_(parameter, -(longest**-0.5), longest**-0.5, generator=generator)

    def forward(self, x_BLD: Tensor) -> Tensor:
        batch, length, _ = x_BLD.shape
        x_BLHE = self.split(x_BLD).unflatten(2, (self.num_heads, -1))
        x_HLC = x_BLHE.permute(2, 1, 0, 3).flatten(2)
        if self.expansion:
            # the hidden positions of one block behind those of another
            weight = self.hidden_weight[..., :length, :length].tril().flatten(1, 2)
            bias = self.hidden_bias[..., :length].flatten(1, 2)
            x_HLC = F.gelu(weight @ x_HLC + bias[..., None])
        weight = self.weight[..., :length, :length].tril().transpose(1, 2).flatten(2)
        y_HLC = weight @ x_HLC + self.bias[:, :length, None]
        y_BLHE = y_HLC.unflatten(2, (batch, -1)).permute(2, 1, 0, 3)
        return self.output(y_BLHE.flatten(2))

    def reference(self, x_BLD: Tensor) -> Tensor:
        length = x_BLD.shape[1]
        position = torch.arange(length, device=x_BLD.device)
        past_LL = position[:, None] >= position
        x = self.split(x_BLD).unflatten(2, (self.num_heads, -1))[:, None]
        if self.expansion:
            masked = torch.where(past_LL, self.hidden_weight[..., :length, :length], 0)
            hidden = torch.einsum("hxij,bjhe->bxihe", masked, x[:, 0])
            bias = self.hidden_bias[..., :length].permute(1, 2, 0)
            x = F.gelu(hidden + bias[..., None])
        masked = torch.where(past_LL, self.weight[..., :length, :length], 0)
        y = torch.einsum("hxij,bxjhe->bihe", masked, x)
        return self.output((y + self.bias[:, :length].T[..., None]).flatten(2))

    def initial_state(self, batch: int, length: int) -> State:
        width = self.context.d_model // self.num_heads
        state = {"inputs": self.zeros(batch, 0, self.num_heads, width)}
        if self.expansion:
            state["hidden"] = self.zeros(batch, self.expansion, 0, self.num_heads, width)
        return state

    def step(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        i = state["inputs"].shape[1]
        now = self.split(x_BD).unflatten(1, (1, self.num_heads, -1))
        state = {**state, "inputs": torch.cat((state["inputs"], now), dim=1)}
        before = state["inputs"][:, None]
        if self.expansion:
            hidden = torch.einsum(
                "hxj,bjhe->bxhe", self.hidden_weight[:, :, i, : i + 1], before[:, 0]
            )
            hidden = F.gelu(hidden + self.hidden_bias[:, :, i].T[..., None])
            before = torch.cat((state["hidden"], hidden[:, :, None]), dim=2)
            state["hidden"] = before
        y_BHE = torch.einsum("hxj,bxjhe->bhe", self.weight[:, :, i, : i + 1], before)
        return self.output((y_BHE + self.bias[:, i, None]).flatten(1)), state


MODULE = MaskedMixerModule

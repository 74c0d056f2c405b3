"""Lightning attention. Axes: B batch, L length, D width, H heads, E keys, V values."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archsearch.mixers._module import wide
from archsearch.mixers._recurrent import RecurrentMixer, Streams, heads, merged, unit
from archsearch.mixers.base import MixerContext
from archsearch.mixers.tnl.spec import TransNormer


def log_decays(rule: str, num_heads: int, layer: int, num_layers: int) -> list[float]:
    """Of each head; both rules forget less in later layers."""
    if rule == "exponential":
        return [-(8 * h / num_heads) * (1 - layer / num_layers) for h in range(num_heads)]
    # + 1e-5: the last layer would not forget at all; the max: a model may have but one layer
    remaining = 1 - layer / max(num_layers - 1, 1) + 1e-5
    return [-(2.0 ** (-8 * (h + 1) / num_heads)) * remaining for h in range(num_heads)]


class TransNormerModule(RecurrentMixer):
    """See ``spec.TransNormer``."""

    log_decay: Tensor

    def __init__(self, spec: TransNormer, context: MixerContext) -> None:
        super().__init__(spec, context)
        width, self.num_heads = context.d_model, spec.num_heads
        self.state_shape = spec.shape(width)
        rank = width // spec.num_heads
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.gate = nn.Sequential(
            nn.Linear(width, rank, bias=False), nn.Linear(rank, width, bias=False)
        )
        self.output = nn.Linear(width, width, bias=False)
        log_decay = log_decays(spec.decay, spec.num_heads, context.layer_index, context.num_layers)
        decays = torch.tensor(log_decay, dtype=torch.float64)
        self.register_buffer("log_decay", decays, persistent=False)

    def streams(self, x_BLD: Tensor, position_L: Tensor) -> Streams:
        parts = F.silu(wide(self.query_key_value(x_BLD))).chunk(3, dim=-1)
        q, k, v = (heads(x, self.num_heads) for x in parts)
        return Streams(q, k, v, self.log_decay.to(q.dtype)[None, :, None, None])

    def finish(self, y_BHLV: Tensor, x_BLD: Tensor) -> Tensor:
        gated = self.gate(x_BLD).sigmoid() * merged(unit(y_BHLV))
        return self.output(gated.to(x_BLD.dtype))


MODULE = TransNormerModule

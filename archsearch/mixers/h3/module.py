"""H3. Axes: B batch, L length, D width, H heads, P keys and Q values of a head, N states.

Between the projections the positions of a channel lie side by side, as the FFT wants them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from archsearch.mixers._convolution import fft_convolution
from archsearch.mixers._module import SequenceMixer, State, wide
from archsearch.mixers.base import MixerContext
from archsearch.mixers.h3.spec import H3

_SLOWEST_STEP, _FASTEST_STEP = 1e-3, 1e-1


class DiagonalSSM(nn.Module):
    """s_i = A s_{i-1} + B u_i, y_i = 2 Re(C . s_i), with A and B from a continuous system.

    The bilinear rule turns rates a and a step dt into A = (1 + dt a/2) / (1 - dt a/2) and
    B = dt / (1 - dt a/2); |A| < 1 since Re(a) < 0.
    """

    def __init__(self, num_heads: int, num_states: int) -> None:
        super().__init__()
        self.log_step = nn.Parameter(torch.zeros(num_heads))
        self.log_decay = nn.Parameter(torch.zeros(num_heads, num_states))
        self.frequency = nn.Parameter(torch.zeros(num_heads, num_states))
        self.readout = nn.Parameter(torch.zeros(num_heads, num_states, 2))

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """S4D-Lin: a_n = -1/2 + i pi n; steps spread evenly in the logarithm."""
        low, high = math.log(_SLOWEST_STEP), math.log(_FASTEST_STEP)
        nn.init.uniform_(self.log_step, low, high, generator=generator)
        nn.init.constant_(self.log_decay, math.log(0.5))
        self.frequency.copy_(math.pi * torch.arange(self.frequency.shape[1]))
        # unit variance of a complex number
        nn.init.normal_(self.readout, std=0.5**0.5, generator=generator)

    def discrete(self) -> tuple[Tensor, Tensor, Tensor]:
        """A, B and C, each (H, N) complex, of single precision at least: half has none."""
        step_H1 = wide(self.log_step).exp()[:, None]
        rate_HN = torch.complex(-wide(self.log_decay).exp(), wide(self.frequency))
        half_HN = rate_HN * (step_H1 / 2)
        return (1 + half_HN) / (1 - half_HN), step_H1 / (1 - half_HN), _complex(self.readout)

    def kernel(self, length: int) -> Tensor:
        """2 Re(C . A^l B) for l < length, (H, L), as one matrix product.

        A^l is the product of a coarse and a fine power, about sqrt(L) of each.
        """
        a, b, c = self.discrete()
        fine = math.isqrt(length - 1) + 1
        coarse = -(-length // fine)
        log_HN1 = a.log()[..., None]
        step_F = torch.arange(fine, device=a.device)
        start_K = fine * torch.arange(coarse, device=a.device)
        fine_HNF = (log_HN1 * step_F).exp()
        coarse_HNK = (log_HN1 * start_K).exp() * (2 * b * c)[..., None]
        left = torch.cat((coarse_HNK.real, -coarse_HNK.imag), dim=1).transpose(1, 2)
        right = torch.cat((fine_HNF.real, fine_HNF.imag), dim=1)
        return (left @ right).flatten(1)[:, :length]


def _complex(x: Tensor) -> Tensor:
    return torch.complex(*wide(x).unbind(-1))


class H3Module(SequenceMixer):
    """See ``spec.H3``."""

    def __init__(self, spec: H3, context: MixerContext) -> None:
        super().__init__(spec, context)
        width = context.d_model
        self.head_dim, self.num_taps = spec.head_dim, spec.d_state
        self.num_heads = width // spec.head_dim
        self.query_key_value = nn.Linear(width, 3 * width)
        self.shift = nn.Parameter(torch.zeros(width, spec.d_state))
        self.shift_skip = nn.Parameter(torch.zeros(width))
        self.ssm = DiagonalSSM(self.num_heads, spec.d_state // 2)
        self.ssm_skip = nn.Parameter(torch.zeros(self.num_heads))
        self.output = nn.Linear(width, width)

    def initialise(self, generator: torch.Generator) -> None:
        bound = self.num_taps**-0.5
        nn.init.uniform_(self.shift, -bound, bound, generator=generator)
        nn.init.normal_(self.shift_skip, generator=generator)
        self.ssm.initialise(generator)
        nn.init.normal_(self.ssm_skip, generator=generator)

    def forward(self, x_BLD: Tensor) -> Tensor:
        length = x_BLD.shape[1]
        joint = self.query_key_value(x_BLD).transpose(1, 2).contiguous()
        with torch.autocast(x_BLD.device.type, enabled=False):
            q, k, v = wide(joint).chunk(3, dim=1)
            k = torch.addcmul(fft_convolution(k, self.shift), k, self.shift_skip[:, None])
            kv_BHPQL = self._heads(k)[:, :, :, None] * self._heads(v)[:, :, None]
            sum_BHPQL = fft_convolution(kv_BHPQL, self.ssm.kernel(length)[:, None, None])
            sum_BHPQL = torch.addcmul(sum_BHPQL, kv_BHPQL, self.ssm_skip[:, None, None, None])
            y_BHQL = self._read(self._heads(q)[:, :, :, None], sum_BHPQL)
        return self.output(y_BHQL.flatten(1, 2).transpose(1, 2).to(x_BLD.dtype))

    def _heads(self, x_BD: Tensor) -> Tensor:
        """(B, D, ...) as (B, H, P, ...)."""
        return x_BD.reshape(x_BD.shape[0], self.num_heads, self.head_dim, *x_BD.shape[2:])

    def _read(self, q: Tensor, kv: Tensor) -> Tensor:
        """The sum over the keys of a head, times 1/sqrt(P); axis 2 goes."""
        if self.head_dim == 1:
            return (q * kv).squeeze(2)
        return (q * self.head_dim**-0.5 * kv).sum(2)

    def reference(self, x_BLD: Tensor) -> Tensor:
        a, b, c = self.ssm.discrete()
        q, k, v = self.query_key_value(x_BLD).chunk(3, dim=2)
        state, outputs = torch.zeros((), dtype=a.dtype), []
        for i in range(x_BLD.shape[1]):
            recent = k[:, max(0, i + 1 - self.num_taps) : i + 1].flip(1)  # now first
            taps = self.shift[:, : recent.shape[1]]
            shifted = self.shift_skip * k[:, i] + torch.einsum("btd,dt->bd", recent, taps)
            kv = torch.einsum("bhp,bhq->bhpq", self._heads(shifted), self._heads(v[:, i]))
            state = a[:, None, None] * state + b[:, None, None] * kv[..., None]
            y = 2 * torch.einsum("bhpqn,hn->bhpq", state, c).real
            y = y + self.ssm_skip[:, None, None] * kv
            read = torch.einsum("bhp,bhpq->bhq", self._heads(q[:, i]), y)
            outputs.append(read.flatten(1) / self.head_dim**0.5)
        return self.output(torch.stack(outputs, dim=1))

    def initial_state(self, batch: int, length: int) -> State:
        shape = (batch, self.num_heads, self.head_dim, self.head_dim, self.num_taps // 2, 2)
        return {
            "keys": self.zeros(batch, self.num_taps - 1, self.context.d_model),
            "sums": _complex(self.zeros(*shape)),
        }

    def step(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        q, k, v = self.query_key_value(x_BD).chunk(3, dim=1)
        keys_BTD = torch.cat((state["keys"], k[:, None]), dim=1)
        k = (keys_BTD.flip(1) * self.shift.T).sum(1) + self.shift_skip * k
        kv = self._heads(k)[..., None] * self._heads(v)[:, :, None]
        a, b, c = (x[:, None, None] for x in self.ssm.discrete())
        sums = a * state["sums"] + b * kv[..., None]
        y = 2 * (sums * c).sum(-1).real + self.ssm_skip[:, None, None] * kv
        y_BD = self._read(self._heads(q)[..., None], y).flatten(1)
        return self.output(y_BD.to(x_BD.dtype)), {"keys": keys_BTD[:, 1:], "sums": sums}


MODULE = H3Module

"""The selective scan: h_t = exp(-dt_t r) * h_{t-1} + B_t (dt_t x_t)^T, y_t = C_t h_t.

Axes: T positions of a run, M runs of all sequences, S state, E inner channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

SEGMENT = 16


def selective_scan(
    step_TME: Tensor, x_TME: Tensor, rate_SE: Tensor, maps_TMS: tuple[Tensor, Tensor], count: int
) -> Tensor:
    """The outputs (T, M, E) for steps, inputs dt x, rates r, and (B, C).

    ``count`` runs, next to each other along M, make up one sequence.
    """
    return _Scan.apply(  # type: ignore[no-untyped-call]
        step_TME, x_TME, rate_SE, *maps_TMS, count
    )


def scan_step(now: tuple[Tensor, ...], rate_SE: Tensor, state_BSE: Tensor) -> tuple[Tensor, Tensor]:
    """One position (dt, dt x, B, C): the output (B, E), and the state behind it."""
    step_BE, x_BE, in_BS, out_BS = now
    decay_BSE = (-step_BE[:, None] * rate_SE).exp()
    state = decay_BSE * state_BSE + in_BS[..., None] * x_BE[:, None]
    return (out_BS[..., None] * state).sum(1), state


class _Scan(torch.autograd.Function):
    # One position after the other for all runs at once, in place. Of the states only those before
    # each segment are kept; a tensor of (T, M, S, E) costs more to write than to compute twice.

    @staticmethod
    def forward(
        ctx: Any, step: Tensor, x: Tensor, rate: Tensor, into: Tensor, out: Tensor, count: int
    ) -> Tensor:
        h, decay = (x.new_zeros(x.shape[1], *rate.shape) for _ in range(2))
        if count > 1:
            for t in range(len(x)):
                _advance(h, _decay(step[t], rate, decay), x[t], into[t])
            h = _carried(_decay(step.sum(0), rate, decay), h, count)
        y, starts = torch.empty_like(x), []
        for t in range(len(x)):
            if t % SEGMENT == 0:
                starts.append(h.clone())
            _advance(h, _decay(step[t], rate, decay), x[t], into[t])
            torch.bmm(out[t, :, None], h, out=y[t, :, None])
        ctx.count = count
        ctx.save_for_backward(step, x, rate, into, out, *starts)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        step, x, rate, into, out, *starts = ctx.saved_tensors
        dy = gradients[0].contiguous()
        g, decay = torch.zeros_like(starts[0]), torch.empty_like(starts[0])
        if ctx.count > 1:
            for t in range(len(x) - 1, -1, -1):
                g.addcmul_(out[t, :, :, None], dy[t, :, None])
                g.mul_(_decay(step[t], rate, decay))
            whole = _decay(step.sum(0), rate, decay)
            g = _carried(whole.flip(0), g.flip(0), ctx.count).flip(0)
        found = [torch.empty_like(v) for v in (step, x, into, out)]
        d_rate = torch.zeros_like(rate)
        buffers = [x.new_empty(min(SEGMENT, len(x)), *g.shape) for _ in range(2)]
        for k in range(len(starts) - 1, -1, -1):
            part = slice(k * SEGMENT, (k + 1) * SEGMENT)
            inputs = [v[part] for v in (step, x, into, out, dy)]
            _segment_gradients(
                inputs, rate, starts[k], buffers, g, [v[part] for v in found] + [d_rate]
            )
        d_step, dx, d_into, d_out = found
        return d_step.neg_(), dx, d_rate.neg_(), d_into, d_out, None


def _segment_gradients(
    inputs: list[Tensor],
    rate: Tensor,
    start: Tensor,
    buffers: list[Tensor],
    g: Tensor,
    found: list[Tensor],
) -> None:
    """Fills ``found``, adds to its last; ``g``, the gradient of the state, moves to the start."""
    step, x, into, out, dy = inputs
    d_step, dx, d_into, d_out, d_rate = found
    decays, states = buffers
    h = start
    for t in range(len(x)):
        h = torch.mul(h, _decay(step[t], rate, decays[t]), out=states[t])
        h.addcmul_(into[t, :, :, None], x[t, :, None])
    for t in range(len(x) - 1, -1, -1):
        g.addcmul_(out[t, :, :, None], dy[t, :, None])
        torch.bmm(into[t, :, None], g, out=dx[t, :, None])
        # rows from the left: far faster than columns from the right
        torch.bmm(x[t, :, None], g.transpose(1, 2), out=d_into[t, :, None])
        torch.bmm(dy[t, :, None], states[t].transpose(1, 2), out=d_out[t, :, None])
        g.mul_(decays[t])
        # of the logarithm of the decay, over a state that has been used
        moved = torch.mul(g, states[t - 1] if t else start, out=states[t])
        torch.sum(moved * rate, dim=1, out=d_step[t])
        d_rate += moved.mul_(step[t, :, None]).sum(0)


def _decay(step_ME: Tensor, rate_SE: Tensor, out_MSE: Tensor) -> Tensor:
    """exp(-dt r)."""
    return torch.mul(step_ME[:, None], -rate_SE, out=out_MSE).exp_()


def _advance(h_MSE: Tensor, decay_MSE: Tensor, x_ME: Tensor, into_MS: Tensor) -> None:
    h_MSE.mul_(decay_MSE).addcmul_(into_MS[..., None], x_ME[:, None])


def _carried(decay_MSE: Tensor, alone_MSE: Tensor, count: int) -> Tensor:
    """The state before each run, from what each run leaves if nothing stands before it."""
    before = torch.empty_like(alone_MSE)
    shape = (-1, count, *alone_MSE.shape[1:])
    decays, sums, found = (x.view(shape).unbind(1) for x in (decay_MSE, alone_MSE, before))
    found[0].zero_()
    for i in range(count - 1):
        torch.addcmul(sums[i], decays[i], found[i], out=found[i + 1])
    return before

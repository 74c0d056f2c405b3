"""Layers as a whole, from their formulas alone.

A mixer's own reference shares its projections, gates and norms with the fast form, so that a wrong
scale or decay would pass. Here they are computed afresh with plain loops, from the weights.
Axes: B batch, L length, D width, H heads, E keys, V values, S states of a channel.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.mixers import contract

LENGTH = 70  # more than a chunk
LAYER, LAYERS = 1, 3  # where ``contract.build`` places a mixer

Weights = dict[str, Tensor]


def mapped(w: Weights, name: str, x: Tensor) -> Tensor:
    y = x @ w[f"{name}.weight"].T
    return y + w[f"{name}.bias"] if f"{name}.bias" in w else y


def mapped_twice(w: Weights, name: str, x: Tensor) -> Tensor:
    return mapped(w, f"{name}.1", mapped(w, f"{name}.0", x))


def by_head(x_BLD: Tensor, num_heads: int) -> Tensor:
    return x_BLD.reshape(*x_BLD.shape[:2], num_heads, -1)


def normed(x: Tensor) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()


def filtered(w: Weights, x_BLD: Tensor) -> Tensor:
    taps_DK = w["convolution.conv.weight"][:, 0]
    y = torch.zeros_like(x_BLD)
    for i in range(x_BLD.shape[1]):
        for lag in range(min(i + 1, taps_DK.shape[1])):
            y[:, i] += taps_DK[:, -1 - lag] * x_BLD[:, i - lag]
    return y + w["convolution.conv.bias"] if "convolution.conv.bias" in w else y


def distances() -> Tensor:
    i = torch.arange(LENGTH)
    return i[:, None] - i


def weighted(weight_BHLL: Tensor, v_BLHV: Tensor) -> Tensor:
    past = weight_BHLL.masked_fill(distances() < 0, 0)
    return torch.einsum("bhij,bjhv->bihv", past, v_BLHV)


def products(q_BLHE: Tensor, k_BLHE: Tensor) -> Tensor:
    return torch.einsum("bihe,bjhe->bhij", q_BLHE, k_BLHE)


def recurrent(q_BLHE: Tensor, k_BLHE: Tensor, v_BLHV: Tensor, decay_BLHE: Tensor) -> Tensor:
    """S_i = diag(a_i) S_{i-1} + k_i v_i^T, y_i = q_i^T S_i."""
    state = torch.zeros(*k_BLHE[:, 0].shape, v_BLHV.shape[-1], dtype=v_BLHV.dtype)
    found = []
    for i in range(LENGTH):
        state = decay_BLHE[:, i, :, :, None] * state
        state = state + k_BLHE[:, i, :, :, None] * v_BLHV[:, i, :, None, :]
        found.append(torch.einsum("bhe,bhev->bhv", q_BLHE[:, i], state))
    return torch.stack(found, dim=1)


def gla(w: Weights, x: Tensor, num_heads: int = 2) -> Tensor:
    q, k, v = mapped(w, "query_key_value", x).split([8, 8, 16], -1)
    decay = mapped_twice(w, "decay", x).sigmoid() ** (1 / 16)
    q, k, v, decay = (by_head(t, num_heads) for t in (q, k, v, decay))
    y = recurrent(q / q.shape[-1] ** 0.5, k, v, decay)
    return mapped(w, "output", normed(y).flatten(2) * F.silu(mapped(w, "gate", x)))


def hgrn2(w: Weights, x: Tensor, expand_ratio: int) -> Tensor:
    query, forget, value = mapped(w, "query_forget_value", x).chunk(3, -1)
    bound_D = (LAYER / LAYERS) ** w["bound_power"].exp()
    kept = bound_D + (1 - bound_D) * forget.sigmoid()
    parts = (by_head(t, 16 // expand_ratio) for t in (F.silu(query), 1 - kept, value, kept))
    return mapped(w, "output", normed(recurrent(*parts)).flatten(2))


def turned(x_BLHE: Tensor) -> Tensor:
    """Coordinates j and j + E/2 as a complex number, times e^(i position theta_j)."""
    half = x_BLHE.shape[-1] // 2
    theta = 10_000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    turn_LE = torch.exp(1j * torch.arange(LENGTH)[:, None] * theta)
    z = torch.complex(x_BLHE[..., :half], x_BLHE[..., half:]) * turn_LE[:, None]
    return torch.cat((z.real, z.imag), dim=-1)


def powers(decay_H: list[float]) -> Tensor:
    decay = torch.tensor(decay_H, dtype=torch.float64)
    return decay[:, None, None] ** distances().clamp_min(0)


def retnet(w: Weights, x: Tensor, num_heads: int, expand_value: int) -> Tensor:
    sizes = [16, 16, 16 * expand_value]
    q, k, v = (by_head(t, num_heads) for t in mapped(w, "query_key_value", x).split(sizes, -1))
    kept = powers([1 - 2.0 ** (-5 - h) for h in range(num_heads)])
    y = weighted(products(turned(q), turned(k)) / q.shape[-1] ** 0.5 * kept, v)
    return mapped(w, "output", normed(y).flatten(2) * F.silu(mapped(w, "gate", x)))


def tnl(w: Weights, x: Tensor, num_heads: int, decay: str) -> Tensor:
    q, k, v = (by_head(t, num_heads) for t in F.silu(mapped(w, "query_key_value", x)).chunk(3, -1))
    if decay == "alibi":
        share = 1 - LAYER / (LAYERS - 1) + 1e-5
        rates = [2 ** (-8 * (h + 1) / num_heads) * share for h in range(num_heads)]
    else:
        rates = [8 * h / num_heads * (1 - LAYER / LAYERS) for h in range(num_heads)]
    y = weighted(products(q, k) * powers([math.exp(-rate) for rate in rates]), v)
    return mapped(w, "output", normed(y).flatten(2) * mapped_twice(w, "gate", x).sigmoid())


def cosformer(w: Weights, x: Tensor, num_heads: int) -> Tensor:
    q, k, v = (by_head(t, num_heads) for t in mapped(w, "query_key_value", x).chunk(3, -1))
    angle_LL = math.pi / 2 * distances() / contract.MAX_LENGTH
    weight = products(q.relu(), k.relu()) * angle_LL.double().cos()
    total_BLH1 = weighted(weight, torch.ones_like(v[..., :1])).clamp_min(1e-6)
    return mapped(w, "output", (weighted(weight, v) / total_BLH1).flatten(2))


def cosformer2(w: Weights, x: Tensor, num_heads: int) -> Tensor:
    q, k, v = (by_head(t, num_heads) for t in mapped(w, "query_key_value", x).chunk(3, -1))
    width = q.shape[-1]
    theta_E = torch.zeros(width, dtype=torch.float64)  # the second half is not turned
    for j in range(width // 2):
        theta_E[j] = 10_000.0 ** (-2 * j / width)
    cosine_LLE = (distances()[..., None] * theta_E).cos()
    weight = torch.einsum("bihe,bjhe,ije->bhij", F.silu(q), F.silu(k), cosine_LLE)
    gate = by_head(mapped_twice(w, "gate", x).sigmoid(), num_heads)
    return mapped(w, "output", normed(gate * weighted(weight, v)).flatten(2))


def based(w: Weights, x: Tensor, num_heads: int, feature_dim: int) -> Tensor:
    q, k = (by_head(t, num_heads) for t in mapped(w, "query_key", x).chunk(2, -1))
    v = by_head(mapped(w, "value", x), num_heads)
    score = products(q, k) / feature_dim**0.5
    weight = 1 + score + score.square() / 2
    y = weighted(weight, v) / weighted(weight, torch.ones_like(v[..., :1]))
    return mapped(w, "output", y.flatten(2))


def mamba2(w: Weights, x: Tensor, state_size: int, head_dim: int) -> Tensor:
    num_heads = 32 // head_dim
    gate, inner, step = mapped(w, "input", x).split([32, 32 + 2 * state_size, num_heads], -1)
    values, key, query = F.silu(filtered(w, inner)).split([32, state_size, state_size], -1)
    step_BLH = F.softplus(step + w["step_bias"])
    values = by_head(values, num_heads)
    decay = torch.exp(-w["log_rate"].exp() * step_BLH)[..., None].expand(-1, -1, -1, state_size)
    k, q = (t[:, :, None].expand_as(decay) for t in (key, query))
    y = recurrent(q, k, step_BLH[..., None] * values, decay) + w["skip"][:, None] * values
    return mapped(w, "output", normed(y.flatten(2) * F.silu(gate)))


def mamba(w: Weights, x: Tensor, state_size: int) -> Tensor:
    u, gate = mapped(w, "input", x).chunk(2, -1)
    u = F.silu(filtered(w, u))
    small, into, out = mapped(w, "selection", u).split([1, state_size, state_size], -1)
    step_BLD = F.softplus(mapped(w, "step_size", small))
    rate_DS = w["log_rate"].exp().T
    state, found = torch.zeros(*u[:, 0].shape, state_size, dtype=u.dtype), []
    for i in range(LENGTH):
        state = torch.exp(-step_BLD[:, i, :, None] * rate_DS) * state
        state = state + (step_BLD[:, i] * u[:, i])[..., None] * into[:, i, None]
        found.append((state * out[:, i, None]).sum(-1) + w["skip"] * u[:, i])
    return mapped(w, "output", torch.stack(found, 1) * F.silu(gate))


def directed(x: Tensor) -> Tensor:
    return x / (x.square().sum(-1, keepdim=True) + 1e-6).sqrt()


def delta(w: Weights, x: Tensor, sizes: list[int], largest: float, decay_BLH: Tensor) -> Tensor:
    """S = a S; S += b k (v - S^T k)^T; what the heads read, normed."""
    num_heads = decay_BLH.shape[2]
    streams = F.silu(filtered(w, mapped(w, "query_key_value", x))).split(sizes, -1)
    q, k, v = (by_head(t, num_heads) for t in streams)
    q, k = directed(q) / q.shape[-1] ** 0.5, directed(k)
    strength_BLH = largest * mapped(w, "beta", x).sigmoid()
    state, found = torch.zeros(*k[:, 0].shape, v.shape[-1], dtype=x.dtype), []
    for i in range(LENGTH):
        state = decay_BLH[:, i, :, None, None] * state
        error = v[:, i] - torch.einsum("bhev,bhe->bhv", state, k[:, i])
        change = strength_BLH[:, i, :, None] * error
        state = state + k[:, i, :, :, None] * change[:, :, None]
        found.append(torch.einsum("bhev,bhe->bhv", state, q[:, i]))
    return normed(torch.stack(found, 1)).flatten(2)


def delta_net(
    w: Weights, x: Tensor, num_heads: int = 2, negative_eigenvalues: bool = False
) -> Tensor:
    always = torch.ones(*x.shape[:2], num_heads, dtype=x.dtype)
    return mapped(w, "output", delta(w, x, [16] * 3, 1.0 + negative_eigenvalues, always))


def gated_delta_net(
    w: Weights, x: Tensor, num_heads: int = 2, negative_eigenvalues: bool = False
) -> Tensor:
    step_BLH = F.softplus(mapped(w, "decay", x) + w["step_bias"])
    decay = torch.exp(-w["log_rate"].exp() * step_BLH)
    y = delta(w, x, [16, 16, 32], 1.0 + negative_eigenvalues, decay)
    return mapped(w, "output", y * F.silu(mapped(w, "gate", x)))


def rwkv4(w: Weights, x: Tensor) -> Tensor:
    before = torch.cat((torch.zeros_like(x[:, :1]), x[:, :-1]), dim=1)

    def shifted(name: str) -> Tensor:
        mix = w[f"{name}_mix"]
        return mapped(w, name, mix * x + (1 - mix) * before)

    k, v, receptance = shifted("key"), shifted("value"), shifted("receptance")
    found = []
    for i in range(LENGTH):
        weight = torch.exp(w["bonus"] + k[:, i])
        top, bottom = weight * v[:, i], weight
        for j in range(i):
            weight = torch.exp(k[:, j] - (i - 1 - j) * w["log_decay"].exp())
            top, bottom = top + weight * v[:, j], bottom + weight
        found.append(top / bottom)
    return mapped(w, "output", receptance.sigmoid() * torch.stack(found, 1))


def differential_attention(w: Weights, x: Tensor, num_heads: int, num_kv_heads: int = 0) -> Tensor:
    groups = num_kv_heads or num_heads
    kept = 16 * groups // num_heads
    q, k, v = mapped(w, "query_key_value", x).split([16, kept, kept], -1)
    q, k, v = by_head(q, 2 * num_heads), by_head(k, 2 * groups), by_head(v, groups)
    read = [h * groups // num_heads for h in range(num_heads)]
    k = torch.stack([k[:, :, 2 * g + m] for g in read for m in (0, 1)], dim=2)
    v = v[:, :, read]
    start = 0.8 - 0.6 * math.exp(-0.3 * LAYER)
    u1, w1, u2, w2 = w["lambda_vectors"].chunk(4)
    share = torch.exp(u1 @ w1) - torch.exp(u2 @ w2) + start
    score = products(q, k) / q.shape[-1] ** 0.5
    maps = score.masked_fill(distances() < 0, float("-inf")).softmax(-1)
    y = weighted(maps[:, 0::2] - share * maps[:, 1::2], v)
    return mapped(w, "output", (normed(y) * w["norm.weight"] * (1 - start)).flatten(2))


CASES: list[tuple[Callable[..., Tensor], dict[str, Any]]] = [
    (gla, {"num_heads": 2}),
    (gla, {"num_heads": 1}),
    (hgrn2, {"expand_ratio": 8}),
    (retnet, {"num_heads": 2, "expand_value": 2}),
    (retnet, {"num_heads": 4, "expand_value": 1}),
    (tnl, {"num_heads": 4, "decay": "alibi"}),
    (tnl, {"num_heads": 4, "decay": "exponential"}),
    (cosformer, {"num_heads": 2}),
    (cosformer2, {"num_heads": 2}),
    (based, {"num_heads": 2, "feature_dim": 8}),
    (based, {"num_heads": 1, "feature_dim": 16}),
    (mamba2, {"state_size": 8, "head_dim": 8}),
    (mamba, {"state_size": 5}),
    (delta_net, {"num_heads": 2}),
    (delta_net, {"negative_eigenvalues": True}),
    (gated_delta_net, {"num_heads": 2}),
    (gated_delta_net, {"negative_eigenvalues": True}),
    (rwkv4, {}),
    (differential_attention, {"num_heads": 2}),
    (differential_attention, {"num_heads": 4, "num_kv_heads": 2}),
]


@pytest.mark.parametrize(
    ("layer", "options"),
    CASES,
    ids=[f"{f.__name__}-{'-'.join(map(str, o.values()))}" for f, o in CASES],
)
def test_is_its_formula(layer: Callable[..., Tensor], options: dict[str, Any]) -> None:
    module = contract.build(layer.__name__, options)
    x = contract.noise(2, LENGTH)
    with torch.no_grad():
        expected = layer(module.state_dict(), x, **options)
        assert contract.distance(module(x), expected) < 1e-9

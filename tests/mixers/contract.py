"""What every mixer must fulfil, as plain functions; ``test_contract`` runs them on all that exist.

A mixer brings more option sets as ``OPTIONS`` in ``tests/mixers/test_<name>.py``; its defaults and
the bounds of its fields are tried by themselves. Axes: B batch, L length, D width.
"""

from __future__ import annotations

import importlib
import importlib.util
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from archsearch.mixers import modules, specs
from archsearch.mixers._module import Decoding, State, state_floats
from archsearch.mixers.base import MixerContext, MixerSpec

WIDTH = 16
MAX_LENGTH = 300
POLICIES = ("sqrt", "N/3")


def own_option_sets(name: str) -> list[dict[str, Any]]:
    """Defaults, and the sets of the mixer's own test file."""
    own = f"tests.mixers.test_{name}"
    if importlib.util.find_spec(own) is None:
        return [{}]
    return [{}, *getattr(importlib.import_module(own), "OPTIONS", [])]


def option_sets(name: str) -> list[dict[str, Any]]:
    """Defaults, those of the mixer's own test file, and one set for each end of each field."""
    spec_class = specs.get(name)
    found = own_option_sets(name)
    for field, info in spec_class.model_fields.items():
        for hint in (info.annotation, *info.metadata):
            for value in (*_ends(hint), *POLICIES):
                options = _nearest_usable(spec_class, field, value)
                if options is not None and options not in found:
                    found.append(options)
    return found


def _ends(hint: Any) -> Iterator[Any]:
    """Smallest and largest values, literals and flags that an annotation names, however nested."""
    yield from (getattr(hint, end) for end in ("ge", "le") if hasattr(hint, end))
    if hint is bool:
        yield from (False, True)
    elif typing.get_origin(hint) is typing.Literal:
        yield from typing.get_args(hint)
    else:
        for part in (*typing.get_args(hint), *getattr(hint, "metadata", ())):
            yield from _ends(part)


def follows_length(name: str, options: dict[str, Any]) -> bool:
    """Whether an option is a policy: another function of the past at every length."""
    values = specs.get(name)(**options).model_dump().values()
    return any(isinstance(v, str) and (v in ("sqrt", "cbrt") or v[:2] == "N/") for v in values)


def _nearest_usable(spec_class: type[MixerSpec], field: str, value: Any) -> dict[str, Any] | None:
    """The option at this value, halved until it suits the width; None if it cannot be had."""
    while True:
        try:
            spec = spec_class(**{field: value})
        except ValueError:
            return None
        if not spec.problems(WIDTH):
            return {field: value}
        if not isinstance(value, int):
            return None
        value //= 2


def build(
    name: str, options: dict[str, Any], *, rotary: bool = False, width: int = WIDTH
) -> nn.Module:
    """The module in float64 and evaluation mode, every parameter moved off its initial value."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        context = MixerContext(width, MAX_LENGTH, rotary, layer_index=1, num_layers=3)
        module = modules.get(name)(specs.get(name)(**options), context).double().eval()
        generator = torch.Generator().manual_seed(11)
        module.initialise(generator)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter += 0.3 * torch.randn(
                    parameter.shape, generator=generator, dtype=parameter.dtype
                )
    return TokensFromInput(module).eval() if specs.get(name).reads_tokens else module


class TokensFromInput(nn.Module):
    """Feeds a mixer that reads tokens with ids made of its input: what moves the one moves both."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        if isinstance(inner, Decoding):
            self.initial_state = inner.initial_state
            self.step = self._step

    @staticmethod
    def _tokens(x: Tensor) -> Tensor:
        # shifted, so that an input of zeros is not all filler
        return ((2 * x[..., 0]).round().long() + 3) % 7

    def forward(self, x_BLD: Tensor) -> Tensor:
        return self.inner(x_BLD, self._tokens(x_BLD.detach()))

    def reference(self, x_BLD: Tensor) -> Tensor:
        return self.inner.reference(x_BLD, self._tokens(x_BLD.detach()))

    def at(self, x_BLD: Tensor, position_BM: Tensor) -> Tensor:
        return self.inner.at(x_BLD, position_BM, self._tokens(x_BLD.detach()))

    def _step(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        return self.inner.step(x_BD, state, self._tokens(x_BD))


def noise(batch: int, length: int, seed: int = 0, width: int = WIDTH) -> Tensor:
    """Standard normal inputs (B, L, D) in float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, length, width, generator=generator, dtype=torch.float64)


def repetitive(batch: int, length: int, seed: int = 0, width: int = WIDTH) -> Tensor:
    """Three tokens (B, L, D) in float64: any, and two long runs of the first."""
    tokens = noise(1, 3, seed, width)[0]
    generator = torch.Generator().manual_seed(seed)
    which = torch.randint(3, (batch, length), generator=generator)
    for run in (slice(length // 8, length // 2), slice(5 * length // 8, 7 * length // 8)):
        which[:, run] = 0
    return tokens[which]


def distance(a: Tensor, b: Tensor) -> float:
    """Largest difference, relative to the largest entry where that exceeds 1; NaN counts as inf."""
    scale = max(1.0, float(b.detach().abs().max()))
    value = float((a - b).detach().abs().max()) / scale
    return value if value == value else float("inf")


def reference_error(module: nn.Module, x_BLD: Tensor) -> float:
    """Forward against reference: outputs, and the gradients of the input and all parameters."""
    cotangent = noise(x_BLD.shape[0], x_BLD.shape[1], seed=5, width=x_BLD.shape[2])
    results = []
    for form in (module.forward, module.reference):
        x = x_BLD.clone().requires_grad_()
        y = form(x)
        wanted = [x, *module.parameters()]
        gradients = torch.autograd.grad(y, wanted, cotangent.to(y), allow_unused=True)
        zeros = [
            torch.zeros_like(w) if g is None else g for w, g in zip(wanted, gradients, strict=True)
        ]
        results.append([y, *zeros])
    return max(distance(a, b) for a, b in zip(*results, strict=True))


def error_at(module: nn.Module, x_BLD: Tensor, position_BM: Tensor) -> float:
    """``at`` against the same positions of ``forward``: outputs, and gradients of everything."""
    index = position_BM[..., None].expand(-1, -1, x_BLD.shape[2])
    results = []
    for form in (lambda x: module.at(x, position_BM), lambda x: module(x).gather(1, index)):
        x = x_BLD.clone().requires_grad_()
        y = form(x)
        cotangent = noise(*y.shape[:2], seed=5, width=y.shape[2])
        wanted = [x, *module.parameters()]
        gradients = torch.autograd.grad(y, wanted, cotangent, allow_unused=True)
        zeros = [
            torch.zeros_like(w) if g is None else g for w, g in zip(wanted, gradients, strict=True)
        ]
        results.append([y, *zeros])
    return max(distance(a, b) for a, b in zip(*results, strict=True))


@torch.no_grad()
def leak(module: nn.Module, length: int) -> float:
    """How far outputs before t move when inputs from t on are replaced; the worst of three t."""
    x = noise(2, length, seed=1)
    before = module(x)
    worst = 0.0
    for t in {1, length // 2, length - 1} - {0, length}:
        changed = x.clone()
        changed[:, t:] = 3 * noise(2, length - t, seed=t)
        worst = max(worst, distance(module(changed)[:, :t], before[:, :t]))
    return worst


@torch.no_grad()
def prefix_error(
    module: nn.Module, shorter: int, longer: int, inputs: Callable[[int, int], Tensor] = noise
) -> float:
    """How far the outputs for the first tokens alone are from the first outputs for all."""
    x_BLD = inputs(2, longer)
    return distance(module(x_BLD[:, :shorter]), module(x_BLD)[:, :shorter])


@torch.no_grad()
def decoded(module: Decoding, x_BLD: Tensor) -> tuple[Tensor, int]:
    """The outputs token by token, and the floats of state per sequence behind the last."""
    state = module.initial_state(*x_BLD.shape[:2])
    outputs = []
    for x_BD in x_BLD.unbind(1):
        y_BD, state = module.step(x_BD, state)
        outputs.append(y_BD)
    return torch.stack(outputs, dim=1), state_floats(state)


def explicit_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """Attention as two matrix products, which the FLOP counter and the size recorder see."""
    score = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(score.shape[-2:], dtype=torch.bool).tril()
    if attn_mask is not None:
        score = score.masked_fill(~attn_mask, float("-inf"))
    return score.softmax(-1).nan_to_num(0.0) @ value


@contextmanager
def fused_attention_replaced() -> Iterator[None]:
    """Within, torch's fused attention is ``explicit_attention``."""
    with patch("torch.nn.functional.scaled_dot_product_attention", explicit_attention):
        yield


@torch.no_grad()
def counted_flops(module: nn.Module, length: int, width: int = WIDTH) -> int:
    """FLOPs in matrix products and convolutions that one more sequence in the batch costs."""

    def total(batch: int) -> int:
        counter = FlopCounterMode(display=False)
        with fused_attention_replaced(), counter:
            module(noise(batch, length, width=width))
        return counter.get_total_flops()

    return total(3) - total(2)


class _SizeRecorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.largest = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(leaf, Tensor):
                # a view that is expanded has many elements and no memory of its own
                memory = leaf.untyped_storage().nbytes() // leaf.element_size()
                self.largest = max(self.largest, min(leaf.numel(), memory))
        return out


@torch.no_grad()
def largest_tensor(
    module: nn.Module, length: int, width: int = WIDTH, *, num_positions: int = 0
) -> int:
    """Elements of the largest tensor that a forward pass over one sequence makes.

    Of all positions, or of so many alone.
    """
    recorder = _SizeRecorder()
    x = noise(1, length, width=width).float()
    position = torch.arange(num_positions)[None] * (length // max(num_positions, 1))
    module.float()
    with fused_attention_replaced(), recorder:
        if num_positions:
            module.at(x, position)
        else:
            module(x)
    return recorder.largest


@torch.no_grad()
def half_precision_error(module: nn.Module, length: int, position_BM: Tensor) -> float:
    """Relative L2 distance of the outputs under autocast, at all positions or at some alone."""
    x = noise(2, length).float()
    module.float()
    forms: tuple[Callable[[], Tensor], ...] = (
        lambda: module(x), lambda: module.at(x, position_BM),
    )  # fmt: skip
    worst = 0.0
    for form in forms:
        exact = form()
        with torch.autocast("cpu", torch.bfloat16):
            rounded = form().float()
        error = float((rounded - exact).norm() / exact.norm())
        worst = max(worst, error if error == error else float("inf"))
    return worst


def converted_errors(
    module: nn.Module, dtype: torch.dtype, length: int, position_BM: Tensor
) -> dict[str, float]:
    """Relative L2 distances from float32 once the module itself is of a type, by what is compared.

    Outputs at all positions, at some alone and token by token, and the gradient of the input; of
    the forms that the module has. Parameters and inputs are the same numbers on both sides. What
    is NaN or of another type is infinitely far.
    """
    x = noise(2, length).to(dtype)
    module.to(dtype)
    results: list[dict[str, Tensor]] = []
    for kind in (torch.float32, dtype):
        module.to(kind)
        own = x.to(kind).requires_grad_()
        y = module(own)
        (gradient,) = torch.autograd.grad(y, own, noise(2, length, seed=5).to(y))
        found = {"forward": y.detach(), "gradient": gradient}
        with torch.no_grad():
            if hasattr(module, "at"):
                found["at"] = module.at(own, position_BM)
            if isinstance(module, Decoding):
                found["step"], _ = decoded(module, own)
        results.append(found)
    errors = {}
    for name, exact in results[0].items():
        rounded = results[1][name]
        error = float((rounded.float() - exact).norm() / exact.norm())
        errors[name] = error if rounded.dtype == dtype and error == error else float("inf")
    return errors

"""Whether an export is the design: rebuilt from what was written, and held against our network."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from archsearch.errors import ArchsearchError, InputError
from archsearch.exporters.base import ArchitectureFile
from archsearch.model import HybridModel, build_model, initialise

TOLERANCES: Final = {torch.float32: 1e-5, torch.float64: 1e-10}
"""Relative to the largest logit."""
_STEPS = 8


class MismatchError(ArchsearchError):
    """An export is not the design that it was made from."""

    exit_code = 1


def imported(path: Path) -> ModuleType:
    """A Python file as a module of its own, which no other import sees; leaves no bytecode."""
    name = f"archsearch_exported_{path.stem}"
    module = ModuleType(name)
    # dataclasses look their module up by its name
    sys.modules[name] = module
    try:
        exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), module.__dict__)  # ours
    finally:
        del sys.modules[name]
    return module


def own_model(file: ArchitectureFile) -> HybridModel:
    """Our own network of a design, its weights drawn."""
    model = build_model(file.architecture, file.task.vocab_size, file.built_length)
    initialise(model, 0)
    return model


def check_equal(where: str, file: ArchitectureFile, made: nn.Module) -> None:
    """Compares parameters, logits and FLOPs of a rebuilt network with ours.

    ``made`` gets our weights first. Logits are compared on random tokens at three lengths, up to
    the longest of the task, in float32 and float64.

    Args:
        where: What is checked, for messages.
        file: The design.
        made: The rebuilt network, from tokens (B, L) to logits (B, L, V); its parameters are named
            as ours.

    Raises:
        MismatchError: Something differs.
    """
    ours = own_model(file)
    shapes = [{k: tuple(v.shape) for k, v in m.state_dict().items()} for m in (ours, made)]
    if shapes[0] != shapes[1]:
        odd = sorted(shapes[0].items() ^ shapes[1].items())[0][0]
        raise MismatchError(f"{where}: parameters are not the design's (first difference: {odd})")
    made.load_state_dict(ours.state_dict())
    ours.eval(), made.eval()
    longest = file.task.longest_length
    generator = torch.Generator().manual_seed(0)
    for kind, tolerance in TOLERANCES.items():
        ours.to(kind), made.to(kind)
        for length in sorted({max(1, longest // 7), max(1, longest // 2 + 1), longest}):
            tokens = torch.randint(file.task.vocab_size, (1, length), generator=generator)
            with torch.no_grad():
                expected, found = ours(tokens), made(tokens)
            check_logits(f"{where}: {length} tokens in {kind}", found, expected, tolerance)
    _check_steps(where, ours, made, tokens[:, :_STEPS], longest)
    counted = [_flops(call, tokens) for call in (ours, made)]
    if counted[0] != counted[1]:
        raise MismatchError(f"{where}: {counted[1]} FLOPs, the design has {counted[0]}")


def check_logits(where: str, found: Tensor, expected: Tensor, tolerance: float) -> None:
    """Compares logits, relative to the largest of them.

    Raises:
        MismatchError: They differ.
    """
    gap = float((expected - found).abs().max() / expected.abs().max())
    if not gap <= tolerance:
        raise MismatchError(f"{where}: logits differ by {gap:.1e}")


def _check_steps(
    where: str, ours: HybridModel, made: nn.Module, tokens: Tensor, length: int
) -> None:
    """Reads some tokens one by one, in float64; designs that cannot read so are left out."""
    try:
        state = ours.initial_state(len(tokens), length)
    except InputError:
        return
    other = made.initial_state(len(tokens), length)  # type: ignore[operator]
    for token_B in tokens.unbind(1):
        with torch.no_grad():
            expected, state = ours.step(token_B, state)
            found, other = made.step(token_B, other)  # type: ignore[operator]
        check_logits(f"{where}: token by token", found, expected, TOLERANCES[torch.float64])


def tensors_of(weights: bytes) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name."""
    from safetensors.torch import load

    tensors: dict[str, Tensor] = load(weights)
    return tensors


def check_weights(where: str, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Compares weights by name, to the last bit.

    Raises:
        MismatchError: Something differs.
    """
    if found.keys() != wanted.keys():
        odd = sorted(found.keys() ^ wanted.keys())[0]
        raise MismatchError(f"{where}: the weights are not the design's (first difference: {odd})")
    for name, value in wanted.items():
        if not _is_same(found[name], value):
            raise MismatchError(f"{where}: the weights {name} are not the design's")


def _is_same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors hold the same bits; as numbers 0 is -0, and NaN is not NaN."""
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    bits = [tensor.detach().contiguous().reshape(-1).view(torch.uint8) for tensor in (one, other)]
    return torch.equal(*bits)


def check_config(where: str, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Compares a config that was read again with the one that was to be written.

    Raises:
        MismatchError: A key is more or less, or has another value.
    """
    for key in dict.fromkeys((*wanted, *found)):
        if key not in found or key not in wanted or found[key] != wanted[key]:
            raise MismatchError(f"{where}: '{key}' is not the design's")


def _flops(call: Callable[[Tensor], Tensor], tokens: Tensor) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call(tokens)
    return int(counter.get_total_flops())

"""What runs: base classes of sequence and channel mixers. Axes: B batch, L length, D width."""

from __future__ import annotations

from abc import abstractmethod
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from archsearch.mixers.base import MixerContext, MixerSpec

State = dict[str, Tensor]
"""What decoding keeps of the past: tensors by name, the batch first. Floating-point tensors are
the state that is priced; whole-number ones are counters."""


@runtime_checkable
class Decoding(Protocol):
    """A mixer that can read one token at a time.

    Mixers that keep a bounded state have this form; those that need all their inputs again for
    every token may go without.
    """

    def initial_state(self, batch: int, length: int) -> State:
        """The state before the first of ``length`` tokens; policies of the length need it."""

    def step(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        """One position: the output (B, D) and the state behind it; ``state`` is left alone."""


def state_floats(state: State) -> int:
    """Real numbers that a state holds per sequence; counters are not among them."""
    total = 0
    for tensor in state.values():
        if tensor.is_complex():
            total += 2 * tensor[0].numel()
        elif tensor.is_floating_point():
            total += tensor[0].numel()
    return total


def taken(x_BLD: Tensor, position_BM: Tensor) -> Tensor:
    """The given positions of each sequence, (B, M, D)."""
    return x_BLD.gather(1, position_BM[..., None].expand(-1, -1, x_BLD.shape[-1]))


def wide(x: Tensor) -> Tensor:
    """In float32 at least: sums over the past and decays near 1 do not survive half precision."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class SequenceMixer(nn.Module):
    """Maps x of shape (B, L, D) to y of the same shape, causally; owns no residual and no norm.

    One that ``reads_tokens`` takes the token ids (B, L) as a second argument, in
    its reference too, as the last of ``at``, and (B,) as the last argument of ``step``.

    Attributes:
        penalty: An auxiliary loss left by the last forward pass in training mode, or None.
        decaying: Names of own parameters that are weight matrices without being linear maps:
            weight decay applies to them too.
    """

    penalty: Tensor | None = None
    decaying: tuple[str, ...] = ()

    def __init__(self, spec: MixerSpec, context: MixerContext) -> None:
        super().__init__()
        self.name, self.reads_tokens = spec.name, spec.reads_tokens
        self.context = context

    @abstractmethod
    def forward(self, x_BLD: Tensor) -> Tensor:
        """The fast form."""

    def at(self, x_BLD: Tensor, position_BM: Tensor, *tokens: Tensor) -> Tensor:
        """``forward`` at the given positions alone, (B, M, D): all that the last layer is asked.

        A mixer that can leave the other positions out overrides this; the result is the same.
        """
        return taken(self(x_BLD, *tokens), position_BM)

    @abstractmethod
    def reference(self, x_BLD: Tensor) -> Tensor:
        """The plain dense or step-by-step form of the same function, for tests."""

    def initialise(self, generator: torch.Generator) -> None:
        """Draws what the model's general rule (see ``model.initialise``) does not cover."""

    def zeros(self, *shape: int) -> Tensor:
        """Zeros of the type and on the device of the parameters."""
        return next(self.parameters()).new_zeros(shape)


class ChannelMixer(nn.Module):
    """Maps each position of x (B, L, D) on its own; owns no residual and no norm.

    One that ``reads_past`` looks at earlier positions too, and has a ``Decoding`` form.
    """

    def __init__(self, spec: MixerSpec, context: MixerContext) -> None:
        super().__init__()
        self.name, self.reads_past = spec.name, spec.reads_past
        self.reads_tokens = False
        self.context = context

    @abstractmethod
    def forward(self, x_BLD: Tensor) -> Tensor:
        """The channel map."""

    def initialise(self, generator: torch.Generator) -> None:
        """Draws what the model's general rule does not cover."""

"""From a design to a network: embedding, blocks, final norm; the head is the tied embedding.

Axes: B batch, L length, D width, M labelled positions of a sequence.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from archsearch.architecture import Architecture, Component
from archsearch.canonical import canonicalise, spec_of
from archsearch.errors import InputError
from archsearch.mixers import modules, specs
from archsearch.mixers._module import (
    ChannelMixer,
    Decoding,
    SequenceMixer,
    State,
    state_floats,
    taken,
)
from archsearch.mixers.base import MixerContext
from archsearch.mixers.short_conv.module import CausalDepthwiseConv

EMBEDDING_STD = 0.02


class ModelState(NamedTuple):
    """What a model keeps of the tokens read so far: their number, and the parts of each block."""

    num_read: int
    blocks: tuple[dict[str, State], ...]

    @property
    def floats(self) -> int:
        """Real numbers kept per sequence."""
        return sum(state_floats(part) for block in self.blocks for part in block.values())


def _norm(kind: str, d_model: int) -> nn.Module:
    return nn.LayerNorm(d_model) if kind == "layernorm" else nn.RMSNorm(d_model, eps=1e-6)


class Block(nn.Module):
    """x + sequence(norm(x)), then x + channel(norm(x)) if there is a channel mixer.

    ``sequence(u)`` is one mixer of u, or a * one(u) + b * other(u) with gates a and b per channel.

    Args:
        norm: ``layernorm`` or ``rmsnorm``.
        sequence: The sequence mixer; at its width all the rest is built.
        channel: The channel mixer.
        parallel: A second sequence mixer.
        local_conv: Taps of a convolution between u and the mixers; 0 for none.
    """

    def __init__(
        self,
        norm: str,
        sequence: SequenceMixer,
        channel: ChannelMixer | None = None,
        parallel: SequenceMixer | None = None,
        local_conv: int = 0,
    ) -> None:
        super().__init__()
        width = sequence.context.d_model
        self.norm = _norm(norm, width)
        self.local_conv = CausalDepthwiseConv(width, local_conv) if local_conv else None
        self.sequence = sequence
        self.parallel = parallel
        if parallel is not None:
            self.gates = nn.Parameter(torch.empty(2, width))
        self.channel_norm = None if channel is None else _norm(norm, width)
        self.channel = channel

    @property
    def mixers(self) -> list[SequenceMixer]:
        """The sequence mixers, one or two."""
        return [self.sequence] if self.parallel is None else [self.sequence, self.parallel]

    def forward(self, x_BLD: Tensor, tokens_BL: Tensor) -> Tensor:
        """All positions (B, L, D)."""
        u_BLD = self._input(x_BLD)
        return self._finish(x_BLD, [m(u_BLD, *_tokens_for(m, tokens_BL)) for m in self.mixers])

    def at(self, x_BLD: Tensor, tokens_BL: Tensor, position_BM: Tensor) -> Tensor:
        """The given positions alone (B, M, D)."""
        if self.channel is not None and self.channel.reads_past:
            return taken(self(x_BLD, tokens_BL), position_BM)
        u_BLD = self._input(x_BLD)
        mixed = [m.at(u_BLD, position_BM, *_tokens_for(m, tokens_BL)) for m in self.mixers]
        return self._finish(taken(x_BLD, position_BM), mixed)

    def _input(self, x_BLD: Tensor) -> Tensor:
        """What the sequence mixers read."""
        u_BLD: Tensor = self.norm(x_BLD)
        return u_BLD if self.local_conv is None else self.local_conv(u_BLD)

    def _finish(self, x: Tensor, mixed: Sequence[Tensor]) -> Tensor:
        """The stream behind the block, from that before it and what each mixer made of it."""
        x = x + self._summed(mixed)
        if self.channel is not None and self.channel_norm is not None:
            x = x + self.channel(self.channel_norm(x))
        return x

    def _summed(self, mixed: Sequence[Tensor]) -> Tensor:
        if len(mixed) == 1:
            return mixed[0]
        return self.gates[0] * mixed[0] + self.gates[1] * mixed[1]

    @property
    def parts(self) -> dict[str, SequenceMixer | ChannelMixer]:
        """The mixers that keep something of the past, by name."""
        found: dict[str, SequenceMixer | ChannelMixer] = {"sequence": self.sequence}
        if self.parallel is not None:
            found["parallel"] = self.parallel
        if self.channel is not None and self.channel.reads_past:
            found["channel"] = self.channel
        return found

    def initial_state(self, batch: int, length: int) -> dict[str, State]:
        """The state of each part before the first token."""
        state: dict[str, State] = {}
        for name, part in self.parts.items():
            assert isinstance(part, Decoding)
            state[name] = part.initial_state(batch, length)
        if self.local_conv is not None:
            state["local_conv"] = {"inputs": self.local_conv.initial_inputs(batch)}
        return state

    def step(
        self, x_BD: Tensor, token_B: Tensor, state: dict[str, State]
    ) -> tuple[Tensor, dict[str, State]]:
        """One position of the stream, and the state behind it."""
        after: dict[str, State] = {}

        def advance(name: str, u_BD: Tensor) -> Tensor:
            part = self.parts[name]
            y_BD, after[name] = part.step(u_BD, state[name], *_tokens_for(part, token_B))  # type: ignore[operator]
            return cast(Tensor, y_BD)

        u_BD = self.norm(x_BD)
        if self.local_conv is not None:
            u_BD, inputs = self.local_conv.step(u_BD, state["local_conv"]["inputs"])
            after["local_conv"] = {"inputs": inputs}
        names = ("sequence", "parallel")[: len(self.mixers)]
        x_BD = x_BD + self._summed([advance(name, u_BD) for name in names])
        if self.channel is not None and self.channel_norm is not None:
            u_BD = self.channel_norm(x_BD)
            has_state = "channel" in self.parts
            y_BD = advance("channel", u_BD) if has_state else self.channel(u_BD[:, None])[:, 0]
            x_BD = x_BD + y_BD
        return x_BD, after

    def initialise(self, generator: torch.Generator) -> None:
        """Draws what the model's general rule does not cover."""
        mixers: list[SequenceMixer | ChannelMixer] = [*self.mixers]
        if self.channel is not None:
            mixers.append(self.channel)
        for mixer in mixers:
            mixer.initialise(generator)
        if self.parallel is not None:
            # the sum of two independent outputs is as large as either
            nn.init.constant_(self.gates, 0.5**0.5)


def _tokens_for(mixer: SequenceMixer | ChannelMixer, tokens: Tensor) -> tuple[Tensor, ...]:
    """What a mixer is given beside the stream."""
    return (tokens,) if mixer.reads_tokens else ()


class HybridModel(nn.Module):
    """A language model of one design.

    Args:
        blocks: At least one, all of one width.
        vocab_size: V.
        max_length: Tokens of the longest sequence.
        norm: The last one, as in ``Block``.
        learned_positions: Whether a vector for each position is added to the embedding.

    Attributes:
        embedding: (V, D), also the head.

    Raises:
        ValueError: There is no block, or they differ in width.
    """

    def __init__(
        self,
        blocks: Sequence[Block],
        *,
        vocab_size: int,
        max_length: int,
        norm: str,
        learned_positions: bool = False,
    ) -> None:
        super().__init__()
        widths = {block.sequence.context.d_model for block in blocks}
        if len(widths) != 1:
            raise ValueError(f"blocks must have one width; got {sorted(widths)}")
        (width,) = widths
        self.max_length = max_length
        self.embedding = nn.Embedding(vocab_size, width)
        self.positions = nn.Embedding(max_length, width) if learned_positions else None
        self.blocks = nn.ModuleList(blocks)
        self.final_norm = _norm(norm, width)

    def hidden(self, tokens_BL: Tensor) -> Tensor:
        """Hidden states (B, L, D) behind the final norm.

        Raises:
            ValueError: The sequence is longer than ``max_length``.
        """
        x_BLD = self._embedded(tokens_BL)
        for block in self.blocks:
            x_BLD = block(x_BLD, tokens_BL)
        return self.final_norm(x_BLD)

    def _embedded(self, tokens_BL: Tensor) -> Tensor:
        length = tokens_BL.shape[1]
        self._check_length(length)
        x_BLD = self.embedding(tokens_BL)
        return x_BLD if self.positions is None else x_BLD + self.positions.weight[:length]

    def _check_length(self, length: int) -> None:
        if length > self.max_length:
            raise ValueError(f"length {length} exceeds the model's max_length {self.max_length}")

    def hidden_at(self, tokens_BL: Tensor, position_BM: Tensor) -> Tensor:
        """Hidden states (B * M, D) at given positions: all that the head has to see.

        The last layer computes no others, where its mixer can leave them out.
        """
        x_BLD = self._embedded(tokens_BL)
        *others, last = self._blocks()
        for block in others:
            x_BLD = block(x_BLD, tokens_BL)
        return self.final_norm(last.at(x_BLD, tokens_BL, position_BM)).flatten(0, 1)

    def forward(self, tokens_BL: Tensor) -> Tensor:
        """Logits (B, L, V) at all positions."""
        return self.hidden(tokens_BL) @ self.embedding.weight.T

    def initial_state(self, batch: int, length: int) -> ModelState:
        """The state before the first of ``length`` tokens.

        Raises:
            InputError: A mixer has no step form, for it needs all its inputs for every token.
            ValueError: ``length`` exceeds ``max_length``.
        """
        self._check_length(length)
        without = [
            f"blocks[{i}].{name}: '{part.name}' cannot read token by token; call the model with the"
            " whole sequence"
            for i, block in enumerate(self._blocks())
            for name, part in block.parts.items()
            if not isinstance(part, Decoding)
        ]
        if without:
            raise InputError(without)
        return ModelState(0, tuple(b.initial_state(batch, length) for b in self._blocks()))

    def step(self, token_B: Tensor, state: ModelState) -> tuple[Tensor, ModelState]:
        """Reads one token of each sequence: logits (B, V), and the state behind it.

        Raises:
            ValueError: It is one more than ``max_length``.
        """
        self._check_length(state.num_read + 1)
        x_BD = self.embedding(token_B)
        if self.positions is not None:
            x_BD = x_BD + self.positions.weight[state.num_read]
        after = []
        for block, before in zip(self._blocks(), state.blocks, strict=True):
            x_BD, left = block.step(x_BD, token_B, before)
            after.append(left)
        logits_BV = self.final_norm(x_BD) @ self.embedding.weight.T
        return logits_BV, ModelState(state.num_read + 1, tuple(after))

    def _blocks(self) -> Iterator[Block]:
        for block in self.blocks:
            assert isinstance(block, Block)
            yield block

    def penalty(self) -> Tensor | None:
        """Sum of the auxiliary losses that the last training forward pass left, if any."""
        every = (mixer.penalty for block in self._blocks() for mixer in block.mixers)
        left = [penalty for penalty in every if penalty is not None]
        return torch.stack(left).sum() if left else None


def build_model(architecture: Architecture, vocab_size: int, max_length: int) -> HybridModel:
    """Builds a design for sequences up to ``max_length`` tokens, weights undefined.

    Raises:
        InputError: The design cannot be built; every reason at once.
    """
    # torch's own constructors draw from the global generator, which is the caller's
    with torch.random.fork_rng(devices=[]):
        design = canonicalise(architecture)
        return HybridModel(
            [_block(design, index, max_length) for index in range(len(design.blocks))],
            vocab_size=vocab_size,
            max_length=max_length,
            norm=design.norm,
            learned_positions=design.position == "learned",
        )


def _block(design: Architecture, index: int, max_length: int) -> Block:
    parts, context = design.blocks[index], context_of(design, index, max_length)

    def built(part: Component | None) -> Any:
        if part is None or specs.get(part.name).skipped:
            return None
        return modules.get(part.name)(spec_of(part), context)

    return Block(
        design.norm,
        built(parts.sequence),
        built(parts.channel),
        built(parts.parallel),
        parts.local_conv,
    )


def context_of(design: Architecture, index: int, max_length: int) -> MixerContext:
    """Where the mixers of a block stand."""
    return MixerContext(
        d_model=design.d_model,
        max_length=max_length,
        rotary=design.position == "rotary",
        layer_index=index,
        num_layers=len(design.blocks),
    )


@torch.no_grad()
def initialise(model: HybridModel, seed: int) -> None:
    """Draws all weights from one local generator.

    Embeddings are N(0, 0.02^2). Linear maps are N(0, 1/fan_in), so that a normalised input gives an
    output of order one at every width. Convolutions keep torch's U(+-1/sqrt(taps)). Norms are the
    identity, biases of linear maps zero. A mixer then draws what it wants otherwise.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        _draw(module, generator)
    for block in model._blocks():
        block.initialise(generator)


def _draw(module: nn.Module, generator: torch.Generator) -> None:
    if isinstance(module, nn.Embedding):
        module.weight.normal_(0.0, EMBEDDING_STD, generator=generator)
    elif isinstance(module, nn.Linear):
        module.weight.normal_(0.0, 1 / math.sqrt(module.in_features), generator=generator)
        if module.bias is not None:
            module.bias.zero_()
    elif isinstance(module, nn.LayerNorm | nn.RMSNorm):
        module.reset_parameters()
    elif isinstance(module, nn.Conv1d):
        bound = 1 / math.sqrt(module.weight[0].numel())
        for parameter in module.parameters(recurse=False):
            parameter.uniform_(-bound, bound, generator=generator)

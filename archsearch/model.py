"""From a design to a network: embedding, blocks, final norm; the head is the tied embedding.

Axes: B batch, L length, D width, M labelled positions of a sequence.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from archsearch.architecture import Architecture, Block
from archsearch.canonical import canonicalise, spec_of
from archsearch.mixers import modules
from archsearch.mixers._module import ChannelMixer, SequenceMixer
from archsearch.mixers.base import MixerContext

EMBEDDING_STD = 0.02

Mixer = SequenceMixer | ChannelMixer


def _norm(kind: str, d_model: int) -> nn.Module:
    return nn.LayerNorm(d_model) if kind == "layernorm" else nn.RMSNorm(d_model, eps=1e-6)


class _Block(nn.Module):
    """x + sequence(norm(x)), then x + channel(norm(x)) unless the channel mixer is skipped."""

    def __init__(self, block: Block, norm: str, context: MixerContext) -> None:
        super().__init__()
        self.norm = _norm(norm, context.d_model)
        self.sequence: Mixer = modules.get(block.sequence.name)(spec_of(block.sequence), context)
        channel = spec_of(block.channel)
        self.channel_norm: nn.Module | None = None
        self.channel: Mixer | None = None
        if not channel.skipped:
            self.channel_norm = _norm(norm, context.d_model)
            self.channel = modules.get(block.channel.name)(channel, context)

    def forward(self, x_BLD: Tensor) -> Tensor:
        x_BLD = x_BLD + self.sequence(self.norm(x_BLD))
        if self.channel is not None and self.channel_norm is not None:
            x_BLD = x_BLD + self.channel(self.channel_norm(x_BLD))
        return x_BLD


class HybridModel(nn.Module):
    """A language model of one design.

    Attributes:
        architecture: The canonical design.
        embedding: (V, D), also the head.
    """

    def __init__(self, architecture: Architecture, vocab_size: int, max_length: int) -> None:
        super().__init__()
        self.architecture = canonicalise(architecture)
        self.max_length = max_length
        design = self.architecture
        self.embedding = nn.Embedding(vocab_size, design.d_model)
        self.positions = (
            nn.Embedding(max_length, design.d_model) if design.position == "learned" else None
        )
        self.blocks = nn.ModuleList(
            _Block(
                block,
                design.norm,
                MixerContext(
                    d_model=design.d_model,
                    max_length=max_length,
                    rotary=design.position == "rotary",
                    layer_index=index,
                    num_layers=len(design.blocks),
                ),
            )
            for index, block in enumerate(design.blocks)
        )
        self.final_norm = _norm(design.norm, design.d_model)

    def hidden(self, tokens_BL: Tensor) -> Tensor:
        """Hidden states (B, L, D) behind the final norm.

        Raises:
            ValueError: The sequence is longer than ``max_length``.
        """
        length = tokens_BL.shape[1]
        if length > self.max_length:
            raise ValueError(f"length {length} exceeds the model's max_length {self.max_length}")
        x_BLD = self.embedding(tokens_BL)
        if self.positions is not None:
            x_BLD = x_BLD + self.positions.weight[:length]
        for block in self.blocks:
            x_BLD = block(x_BLD)
        return self.final_norm(x_BLD)

    def hidden_at(self, tokens_BL: Tensor, position_BM: Tensor) -> Tensor:
        """Hidden states (B * M, D) at given positions: all that the head has to see."""
        hidden_BLD = self.hidden(tokens_BL)
        index = position_BM[..., None].expand(-1, -1, hidden_BLD.shape[-1])
        return hidden_BLD.gather(1, index).flatten(0, 1)

    def forward(self, tokens_BL: Tensor) -> Tensor:
        """Logits (B, L, V) at all positions."""
        return self.hidden(tokens_BL) @ self.embedding.weight.T

    def penalty(self) -> Tensor | None:
        """Sum of the auxiliary losses that the last training forward pass left, if any."""
        left = [
            p for p in (getattr(b.sequence, "penalty", None) for b in self.blocks) if p is not None
        ]
        return torch.stack(left).sum() if left else None


def build_model(architecture: Architecture, vocab_size: int, max_length: int) -> HybridModel:
    """Builds a design for sequences up to ``max_length`` tokens, weights undefined.

    Raises:
        InputError: The design cannot be built; every reason at once.
    """
    # torch's own constructors draw from the global generator, which is the caller's
    with torch.random.fork_rng(devices=[]):
        return HybridModel(architecture, vocab_size, max_length)


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
    for block in model.blocks:
        assert isinstance(block, _Block)
        block.sequence.initialise(generator)
        if block.channel is not None:
            block.channel.initialise(generator)


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

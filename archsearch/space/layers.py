"""The stack of layers as a domain: free, listed, or a base with placed attention."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from archsearch.architecture import Block
from archsearch.space.domains import (
    Domain,
    MixerDomain,
    Size,
    draw_int,
    ints,
    power,
    product,
    total,
)
from archsearch.space.sample import Suggest

MAX_DEPTH: Final = 512
MAX_COMBINATIONS: Final = 1000
"""Subsets of one size that may become one categorical parameter."""


@dataclass(frozen=True)
class BlockDomain:
    """A sequence mixer and a channel mixer, chosen independently."""

    sequence: MixerDomain
    channel: MixerDomain

    def draw(self, prefix: str, suggest: Suggest) -> Block:
        """Asks for both mixers."""
        return Block(
            sequence=self.sequence.draw(prefix, "sequence", suggest),
            channel=self.channel.draw(prefix, "channel", suggest),
        )

    def size(self) -> Size:
        """The number of different choices."""
        return product((self.sequence.size(), self.channel.size()))

    def contains(self, block: Block) -> bool:
        """Whether both mixers fit."""
        return self.sequence.contains(block.sequence) and self.channel.contains(block.channel)

    def plain(self) -> dict[str, Any]:
        """As in a campaign file."""
        return {"sequence": self.sequence.plain(), "channel": self.channel.plain()}


@dataclass(frozen=True)
class FreeLayers:
    """Every layer chooses for itself."""

    depth: Domain
    each: BlockDomain

    def draw(self, suggest: Suggest) -> tuple[Block, ...]:
        """Asks for the depth, then layer by layer."""
        depth = draw_int(self.depth, "depth", suggest)
        return tuple(self.each.draw(f"layer{i}", suggest) for i in range(depth))

    def size(self) -> Size:
        """The number of assignments."""
        return total(power(self.each.size(), depth) for depth in ints(self.depth))

    def contains(self, blocks: Sequence[Block]) -> bool:
        """Whether some assignment gives these blocks."""
        return self.depth.contains(len(blocks)) and all(self.each.contains(b) for b in blocks)

    def plain(self) -> dict[str, Any]:
        """As in a campaign file."""
        return {"depth": self.depth.plain(), "layers": {"each": self.each.plain()}}


@dataclass(frozen=True)
class ListedLayers:
    """Every layer has a domain of its own; the depth is the length of the list."""

    blocks: tuple[BlockDomain, ...]

    def draw(self, suggest: Suggest) -> tuple[Block, ...]:
        """Asks layer by layer."""
        return tuple(block.draw(f"layer{i}", suggest) for i, block in enumerate(self.blocks))

    def size(self) -> Size:
        """The number of assignments."""
        return product(block.size() for block in self.blocks)

    def contains(self, blocks: Sequence[Block]) -> bool:
        """Whether some assignment gives these blocks."""
        return len(blocks) == len(self.blocks) and all(
            domain.contains(block) for domain, block in zip(self.blocks, blocks, strict=True)
        )

    def plain(self) -> dict[str, Any]:
        """As in a campaign file."""
        return {"layers": {"list": [block.plain() for block in self.blocks]}}


@dataclass(frozen=True)
class Positions:
    """Any subset of the layers, as one yes or no per layer."""

    kind: ClassVar[str] = "positions"

    def draw(self, depth: int, suggest: Suggest) -> frozenset[int]:
        """Asks ``attention_at0``, ``attention_at1``, ..."""
        return frozenset(
            i for i in range(depth) if suggest.categorical(f"attention_at{i}", (False, True))
        )

    def size(self, depth: int, base: Size, placed: Size) -> Size:
        """Assignments, given those of a base layer and of a placed one."""
        return power(total((base, placed)), depth)

    def allows(self, is_base: Sequence[bool], is_placed: Sequence[bool]) -> bool:
        """Whether layers that can be base or placed as told can be placed by this rule."""
        return all(b or p for b, p in zip(is_base, is_placed, strict=True))

    def plain(self) -> Any:
        """As in a campaign file."""
        return self.kind


@dataclass(frozen=True)
class Every:
    """A stripe: layers offset, offset + every, ...; the offset is below ``every``."""

    kind: ClassVar[str] = "every"
    every: Domain

    def draw(self, depth: int, suggest: Suggest) -> frozenset[int]:
        """Asks ``every``, then the offset under a name that carries it."""
        every = draw_int(self.every, "every", suggest)
        offset = suggest.integer(f"offset[every={every}]", 0, every - 1) if every > 1 else 0
        return frozenset(range(offset, depth, every))

    def size(self, depth: int, base: Size, placed: Size) -> Size:
        """Assignments, given those of a base layer and of a placed one."""
        return total(
            product((power(placed, count), power(base, depth - count)))
            for every in ints(self.every)
            for offset in range(every)
            for count in (len(range(offset, depth, every)),)
        )

    def allows(self, is_base: Sequence[bool], is_placed: Sequence[bool]) -> bool:
        """Whether layers that can be base or placed as told can be placed by this rule."""
        return any(
            all((is_placed if i % every == offset else is_base)[i] for i in range(len(is_base)))
            for every in ints(self.every)
            for offset in range(every)
        )

    def plain(self) -> Any:
        """As in a campaign file."""
        return {self.kind: self.every.plain()}


@dataclass(frozen=True)
class Count:
    """A number of layers, anywhere."""

    kind: ClassVar[str] = "count"
    count: Domain

    def draw(self, depth: int, suggest: Suggest) -> frozenset[int]:
        """Asks ``attention_count``, then which under a name that carries depth and count."""
        count = draw_int(self.count, "attention_count", suggest)
        subsets = [",".join(map(str, c)) for c in itertools.combinations(range(depth), count)]
        chosen = subsets[0]
        if len(subsets) > 1:
            chosen = str(suggest.categorical(f"positions[depth={depth},count={count}]", subsets))
        return frozenset(int(i) for i in chosen.split(",") if i)

    def size(self, depth: int, base: Size, placed: Size) -> Size:
        """Assignments, given those of a base layer and of a placed one."""
        return total(
            product((math.comb(depth, count), power(placed, count), power(base, depth - count)))
            for count in ints(self.count)
        )

    def allows(self, is_base: Sequence[bool], is_placed: Sequence[bool]) -> bool:
        """Whether layers that can be base or placed as told can be placed by this rule."""
        if not all(b or p for b, p in zip(is_base, is_placed, strict=True)):
            return False
        most, least = sum(is_placed), len(is_base) - sum(is_base)
        return any(least <= count <= most for count in ints(self.count))

    def plain(self) -> Any:
        """As in a campaign file."""
        return {self.kind: self.count.plain()}


Rule = Positions | Every | Count


@dataclass(frozen=True)
class PlacedLayers:
    """A base block everywhere, except where a rule places (sparse) attention.

    Attributes:
        depth: Number of layers.
        base: What stands where nothing is placed.
        sequence: The placed sequence mixer, chosen layer by layer.
        channel: Its channel mixer; None for the base's, then drawn under a name that both share.
        rules: One or several; a choice among several is a parameter.
    """

    depth: Domain
    base: BlockDomain
    sequence: MixerDomain
    channel: MixerDomain | None
    rules: tuple[Rule, ...]

    def draw(self, suggest: Suggest) -> tuple[Block, ...]:
        """Asks for depth, rule and placement, then layer by layer."""
        depth = draw_int(self.depth, "depth", suggest)
        rule = self.rules[0]
        if len(self.rules) > 1:
            kind = suggest.categorical("rule", tuple(rule.kind for rule in self.rules))
            rule = next(rule for rule in self.rules if rule.kind == kind)
        placed = rule.draw(depth, suggest)
        return tuple(self._block(i, i in placed, suggest) for i in range(depth))

    def _block(self, index: int, placed: bool, suggest: Suggest) -> Block:
        prefix = f"layer{index}.{'placed' if placed else 'base'}"
        sequence = self.sequence if placed else self.base.sequence
        drawn = sequence.draw(prefix, "sequence", suggest)
        if self.channel is None:
            channel = self.base.channel.draw(f"layer{index}", "channel", suggest)
        else:
            channel_domain = self.channel if placed else self.base.channel
            channel = channel_domain.draw(prefix, "channel", suggest)
        return Block(sequence=drawn, channel=channel)

    @property
    def _placed(self) -> BlockDomain:
        return BlockDomain(self.sequence, self.channel or self.base.channel)

    def size(self) -> Size:
        """The number of assignments."""
        base, placed = self.base.size(), self._placed.size()
        return total(
            rule.size(depth, base, placed) for rule in self.rules for depth in ints(self.depth)
        )

    def contains(self, blocks: Sequence[Block]) -> bool:
        """Whether some assignment gives these blocks."""
        is_base = [self.base.contains(block) for block in blocks]
        is_placed = [self._placed.contains(block) for block in blocks]
        return self.depth.contains(len(blocks)) and any(
            rule.allows(is_base, is_placed) for rule in self.rules
        )

    def plain(self) -> dict[str, Any]:
        """As in a campaign file."""
        placement: dict[str, Any] = {"sequence": self.sequence.plain()}
        if self.channel is not None:
            placement["channel"] = self.channel.plain()
        rules = [rule.plain() for rule in self.rules]
        placement["rule"] = rules[0] if len(rules) == 1 else {"choice": rules}
        return {
            "depth": self.depth.plain(),
            "layers": {"base": self.base.plain(), "placement": placement},
        }


Layers = FreeLayers | ListedLayers | PlacedLayers

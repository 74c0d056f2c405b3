"""The stack of layers as a domain: free, listed, or a base with placed attention."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from archsearch.architecture import Architecture, Block, Component
from archsearch.canonical import canonicalise
from archsearch.errors import InputError
from archsearch.presets import presets
from archsearch.space.domains import (
    Domain,
    Fixed,
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


NONE: Final = Component(name="none")
_NO_CONV: Final = Fixed(0)


@dataclass(frozen=True)
class BlockDomain:
    """The parts of a block, chosen independently.

    Attributes:
        sequence: The sequence mixer.
        channel: The channel mixer.
        parallel: A second sequence mixer beside the first, or ``none``.
        local_conv: Taps of a convolution in front of the sequence mixers; 0 for none.
    """

    sequence: MixerDomain
    channel: MixerDomain
    parallel: MixerDomain | None = None
    local_conv: Domain = _NO_CONV

    def draw(
        self, prefix: str, suggest: Suggest, prefixes: Mapping[str, str] | None = None
    ) -> Block:
        """Asks for each part, under ``prefix`` unless ``prefixes`` has another one for it."""

        def name(part: str) -> str:
            return (prefixes or {}).get(part, prefix)

        sequence = self.sequence.draw(name("sequence"), "sequence", suggest)
        channel = self.channel.draw(name("channel"), "channel", suggest)
        parallel = None
        if self.parallel is not None:
            parallel = self.parallel.draw(f"{name('parallel')}.parallel", "mixer", suggest)
        taps: Any = self.local_conv.draw(f"{name('local_conv')}.local_conv", suggest)
        return Block(
            sequence=sequence,
            channel=channel,
            parallel=None if parallel == NONE else parallel,
            local_conv=taps,
        )

    def size(self) -> Size:
        """The number of different choices."""
        parallel = 1 if self.parallel is None else self.parallel.size()
        return product(
            (self.sequence.size(), self.channel.size(), parallel, self.local_conv.size())
        )

    def contains(self, block: Block) -> bool:
        """Whether every part fits."""
        return (
            self.channel.contains(block.channel)
            and self.local_conv.contains(block.local_conv)
            and any(
                self.sequence.contains(one) and self._has_parallel(other)
                for one, other in _orders(block)
            )
        )

    def _has_parallel(self, component: Component | None) -> bool:
        if self.parallel is None:
            return component is None
        return self.parallel.contains(component or NONE)

    def plain(self) -> dict[str, Any]:
        """As in a campaign file."""
        data = {"sequence": self.sequence.plain(), "channel": self.channel.plain()}
        if self.parallel is not None:
            data["parallel"] = self.parallel.plain()
        if self.local_conv != _NO_CONV:
            data["local_conv"] = self.local_conv.plain()
        return data


def _orders(block: Block) -> Iterator[tuple[Component, Component | None]]:
    """The sequence mixers in both orders, for their sum has none."""
    yield block.sequence, block.parallel
    if block.parallel is not None:
        yield block.parallel, block.sequence


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
        placed: What is placed, chosen layer by layer.
        shared: Parts of the placed block that were not given: they are the base's, and drawn under
            a name that both share.
        rules: One or several; a choice among several is a parameter.
    """

    depth: Domain
    base: BlockDomain
    placed: BlockDomain
    shared: frozenset[str]
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
        prefixes = dict.fromkeys(self.shared, f"layer{index}")
        return (self.placed if placed else self.base).draw(prefix, suggest, prefixes)

    def size(self) -> Size:
        """The number of assignments."""
        base, placed = self.base.size(), self.placed.size()
        return total(
            rule.size(depth, base, placed) for rule in self.rules for depth in ints(self.depth)
        )

    def contains(self, blocks: Sequence[Block]) -> bool:
        """Whether some assignment gives these blocks."""
        is_base = [self.base.contains(block) for block in blocks]
        is_placed = [self.placed.contains(block) for block in blocks]
        return self.depth.contains(len(blocks)) and any(
            rule.allows(is_base, is_placed) for rule in self.rules
        )

    def plain(self) -> dict[str, Any]:
        """As in a campaign file."""
        written = {"local_conv": self.placed.local_conv.plain(), **self.placed.plain()}
        placement = {part: domain for part, domain in written.items() if part not in self.shared}
        rules = [rule.plain() for rule in self.rules]
        placement["rule"] = rules[0] if len(rules) == 1 else {"choice": rules}
        return {
            "depth": self.depth.plain(),
            "layers": {"base": self.base.plain(), "placement": placement},
        }


@dataclass(frozen=True)
class PresetLayers:
    """Published stacks: the preset decides blocks, norm and positions.

    Attributes:
        depth: Number of layers.
        preset: Names of presets.
    """

    depth: Domain
    preset: Domain

    def design(self, d_model: int, suggest: Suggest) -> Architecture:
        """Asks for preset and depth."""
        name = str(self.preset.draw("preset", suggest))
        return presets.get(name).design(d_model, draw_int(self.depth, "depth", suggest))

    def size(self) -> Size:
        """The number of assignments."""
        return product((self.preset.size(), self.depth.size()))

    def contains(self, architecture: Architecture) -> bool:
        """Whether some preset is this design, as written or in canonical form."""
        depth = len(architecture.blocks)
        designs = [
            presets.get(str(name)).design(architecture.d_model, depth)
            for name in self.preset.values()
        ]
        return self.depth.contains(depth) and any(
            architecture == design or _is_canonical(architecture, design) for design in designs
        )

    def plain(self) -> dict[str, Any]:
        """As in a campaign file."""
        return {"depth": self.depth.plain(), "layers": {"preset": self.preset.plain()}}


def _is_canonical(architecture: Architecture, design: Architecture) -> bool:
    try:
        return architecture == canonicalise(design)
    except InputError:
        return False


Layers = FreeLayers | ListedLayers | PlacedLayers | PresetLayers

"""The minimal edits of a design: one thing is taken away or moved, all else stays.

An edit takes something away (a layer, a mixer's place to the cheapest one, half of a window or of a
state) or moves what is no convolution. What cannot be taken away without loss is what it needs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Final, NamedTuple

from archsearch.architecture import Architecture, Block, Component, Scalar
from archsearch.campaign.feasibility import priced
from archsearch.canonical import canonicalise, spec_of, unusual
from archsearch.costs import Price
from archsearch.errors import InputError
from archsearch.mixers import specs
from archsearch.mixers.base import CONVOLUTIONS
from archsearch.space import CampaignFile

CHEAPEST: Final = Component(name="short_conv", options={"kernel_size": 3})
"""No mixer that reads the past costs less."""


class EditKind(StrEnum):
    """What is changed."""

    DROP = "drop"
    SWAP = "swap"
    HALVE = "halve"
    MOVE = "move"


class Edit(NamedTuple):
    """One change of a design.

    Attributes:
        layer: The layer that it is about, from 1.
        text: What is changed, in a few words.
        architecture: The changed design in canonical form.
        price: Under the campaign's task.
    """

    kind: EditKind
    layer: int
    text: str
    architecture: Architecture
    price: Price

    @property
    def digest(self) -> str:
        """Of the changed design."""
        return self.architecture.digest


def edits(file: CampaignFile, design: Architecture) -> list[Edit]:
    """All minimal edits of a design that can be built, each design once, in the order of the kinds.

    Args:
        file: Says at which length designs are priced.
        design: In canonical form.
    """
    found: list[Edit] = []
    known, before = {design.digest}, priced(file, design)
    for kind, layer, text, blocks in _changes(design):
        try:
            changed = canonicalise(design.model_copy(update={"blocks": blocks}))
        except InputError:
            continue  # such as half of a head's width
        cost = priced(file, changed)
        # numbers that are no size, such as seeds, change no price
        saves = cost.flops < before.flops or cost.state_floats < before.state_floats
        saves = saves or kind is EditKind.MOVE
        if changed.digest in known or not saves:
            continue
        known.add(changed.digest)
        found.append(Edit(kind, layer, text, changed, cost))
    return found


_NO_SIZES = ("num_heads", "dilation")
"""Options that say how a window or a state is laid out, not how large it is."""

Change = tuple[EditKind, int, str, tuple[Block, ...]]


def _changes(design: Architecture) -> Iterator[Change]:
    blocks = design.blocks
    if len(blocks) > 1:
        for i, shown in enumerate(unusual(design).blocks):
            yield EditKind.DROP, i + 1, f"without {shown}", (*blocks[:i], *blocks[i + 1 :])
    for i, block in enumerate(blocks):
        for text, changed in _cheaper(block):
            yield EditKind.SWAP, i + 1, text, _with(blocks, i, changed)
    for i, block in enumerate(blocks):
        for text, changed in _halved(block):
            yield EditKind.HALVE, i + 1, text, _with(blocks, i, changed)
    for i, block in enumerate(blocks):
        for j in (i - 1, i + 1):
            if 0 <= j < len(blocks) and beyond_convolutions(block):
                # two placed neighbours that change places are one edit, said of the first
                moved = list(blocks)
                moved[i], moved[j] = _with_mixers(block, blocks[j]), _with_mixers(blocks[j], block)
                name = beyond_convolutions(block)[0]
                where = "up" if j < i else "down"
                yield EditKind.MOVE, i + 1, f"{name} one layer {where}", tuple(moved)


def _with(blocks: tuple[Block, ...], i: int, block: Block) -> tuple[Block, ...]:
    return (*blocks[:i], block, *blocks[i + 1 :])


def _cheaper(block: Block) -> Iterator[tuple[str, Block]]:
    """The block with one part at its cheapest."""
    if block.parallel is not None:
        for gone, left in (
            (block.sequence, block.parallel),
            (block.parallel, block.sequence),
        ):
            changed = block.model_copy(update={"sequence": left, "parallel": None})
            yield f"without {gone.name} beside {left.name}", changed
    elif block.sequence.name != CHEAPEST.name:
        text = f"{block.sequence.name} -> {CHEAPEST.name}"
        yield text, block.model_copy(update={"sequence": CHEAPEST})
    if block.channel.name != "none":
        none = Component(name="none")
        yield f"without {block.channel.name}", block.model_copy(update={"channel": none})
    if block.local_conv:
        without = block.model_copy(update={"local_conv": 0})
        yield f"without its convolution of {block.local_conv} taps", without


def _halved(block: Block) -> Iterator[tuple[str, Block]]:
    """The block with one size of one part halved; roots of the length have no half."""
    for kind in ("sequence", "parallel", "channel"):
        part: Component | None = getattr(block, kind)
        if part is None:
            continue
        for name, value in sorted(spec_of(part).canonical().options.items()):
            half = None if name in _NO_SIZES else _half(value)
            if half is not None:
                less = part.model_copy(update={"options": {**part.options, name: half}})
                changed = block.model_copy(update={kind: less})
                yield f"{part.name}: {name} {value} -> {half}", changed


def _half(value: Scalar) -> Scalar | None:
    """Half of a number, or of a share of the length."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 2:
        return value // 2
    if isinstance(value, str) and (share := re.fullmatch(r"N/(\d+)", value)):
        return f"N/{2 * int(share[1])}"
    return None


def _with_mixers(block: Block, other: Block) -> Block:
    """The block with another one's sequence mixers; channel mixer and local convolution stay."""
    return block.model_copy(update={"sequence": other.sequence, "parallel": other.parallel})


def beyond_convolutions(block: Block) -> list[str]:
    """Its sequence mixers that are no convolutions."""
    names = [mixer.name for mixer in block.mixers]
    return [name for name in names if specs.get(name).family not in CONVOLUTIONS]

"""What occurs more often on the front than among the designs that it dominates."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

from archsearch.architecture import Architecture
from archsearch.campaign.estimates import wilson
from archsearch.campaign.explanation.edits import beyond_convolutions
from archsearch.campaign.explanation.records import Motif
from archsearch.records import Front, TrialRecord

LEAST: Final = 2
"""Occurrences below which a motif says nothing."""


def motifs(records: Iterable[TrialRecord], front: Front) -> list[Motif]:
    """Motifs of the trained designs, those first whose shares differ most.

    A search does not draw evenly: shares say what it found, not what there is.

    Args:
        records: Of the campaign, in any order.
        front: Who is a member, and who is dominated.
    """
    designs = {r.number: r.architecture for r in records if r.architecture is not None}
    here, there = (
        Counter(text for row in rows for text in set(_motifs(designs[row.number])))
        for rows in (front.members, front.dominated)
    )
    sizes = len(front.members), len(front.dominated)
    if not all(sizes):
        return []
    found = [
        _motif(text, here[text], there[text], *sizes)
        for text in sorted(here | there)
        if here[text] + there[text] >= LEAST
    ]
    return sorted(found, key=lambda m: (not m.is_telling, -abs(m.front_share - m.dominated_share)))


def _motif(text: str, here: int, there: int, front: int, dominated: int) -> Motif:
    return Motif(
        text=text,
        front=here,
        dominated=there,
        front_share=here / front,
        dominated_share=there / dominated,
        front_interval=wilson(here, front),
        dominated_interval=wilson(there, dominated),
    )


def _motifs(design: Architecture) -> Iterator[str]:
    """What may be said of a design: its mixers, neighbours, ends, and numbers."""
    names = [" & ".join(mixer.name for mixer in block.mixers) for block in design.blocks]
    yield from names
    yield from (f"{above} > {below}" for above, below in itertools.pairwise(names))
    yield f"first: {names[0]}"
    yield f"last: {names[-1]}"
    yield _layers(len(names))
    yield f"d_model {design.d_model}"
    yield f"positions: {design.position}"
    placed = [i for i, block in enumerate(design.blocks) if beyond_convolutions(block)]
    yield f"{_layers(len(placed))} beyond convolutions"
    for i in placed:
        half = "upper" if 2 * i >= len(names) else "lower"
        yield f"a layer beyond convolutions in the {half} half"
    yield from (
        f"channel mixer {b.channel.name}" for b in design.blocks if b.channel.name != "none"
    )


def _layers(count: int) -> str:
    return "1 layer" if count == 1 else f"{count} layers"

"""A design as a few dozen numbers, in which designs that behave alike lie close together."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import log2
from typing import Final

import numpy as np
from numpy.typing import NDArray

from archsearch.architecture import Architecture, Component
from archsearch.mixers import specs

Features = Mapping[str, float]

_MIXER: Final = 0.7
"""What a layer more of a mixer counts, again one of its family, a way through the whole stack, and
a doubled option; a doubled width counts 1."""


def features(design: Architecture) -> dict[str, float]:
    """Numbers by name; what is not named is 0.

    Width and depth, how many layers of each mixer and of each family there are, where in the stack
    they stand on average (-1/2 first, 1/2 last), and their options: numbers as logarithms, means
    over the layers, anything else as a count.

    Args:
        design: In canonical form.
    """
    found = {"width": log2(design.d_model), "depth": log2(len(design.blocks))}
    found[f"position {design.position}"] = found[f"norm {design.norm}"] = 1.0
    counts: Counter[str] = Counter()
    places = defaultdict(list)
    numbers = defaultdict(list)
    for layer, part, component in _components(design):
        spec = specs.get(component.name)
        counts[component.name] += 1
        counts[f"family {spec.family}"] += 1
        counts["parallel"] += part == "parallel"
        places[component.name].append(layer / max(1, len(design.blocks) - 1) - 0.5)
        for option, value in component.options.items():
            name = f"{component.name}.{option}"
            if isinstance(value, (bool, str)) or value < 0:
                counts[f"{name}={value}"] += 1
            else:
                numbers[name].append(log2(1 + value))
    counts["local convolution"] = sum(block.local_conv > 0 for block in design.blocks)
    found |= {name: _MIXER * count for name, count in counts.items()}
    found |= {f"place of {name}": _MIXER * float(np.mean(at)) for name, at in places.items()}
    found |= {name: _MIXER * float(np.mean(values)) for name, values in numbers.items()}
    return found


def _components(design: Architecture) -> Iterator[tuple[int, str, Component]]:
    for layer, block in enumerate(design.blocks):
        yield layer, "sequence", block.sequence
        yield layer, "channel", block.channel
        if block.parallel is not None:
            yield layer, "parallel", block.parallel


def matrix(rows: Sequence[Features]) -> NDArray[np.float64]:
    """One row for each, one column for each name that any of them has."""
    columns = {name: i for i, name in enumerate(_names(rows))}
    found = np.zeros((len(rows), len(columns)))
    for i, row in enumerate(rows):
        for name, value in row.items():
            found[i, columns[name]] = value
    return found


def _names(rows: Iterable[Features]) -> list[str]:
    return sorted({name for row in rows for name in row})

"""From a small design to a large one of the same pattern, priced without building it.

Depth: ``stack`` repeats the pattern of blocks; ``stretch`` repeats each block in place, so that
sparse attention stays at the same share of the depth. Width: heads keep their width as far as
they can and grow in number, and all other options stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from itertools import groupby
from typing import Final, Literal, NamedTuple

from archsearch.architecture import Architecture, Block, Component
from archsearch.canonical import canonicalise, spec_of, unusual
from archsearch.costs import flops_at, num_params, state_floats
from archsearch.errors import InputError

Method = Literal["stack", "stretch"]
METHODS: Final[tuple[Method, ...]] = ("stack", "stretch")

WIDTH_MULTIPLE: Final = 64
"""Widths that kernels of today's hardware like."""
ASPECT: Final = 48
"""Width over depth that is aimed at: between GPT-2's 64 (768 wide, 12 deep) and 31 (1600, 48)."""
CLOSE: Final = 0.03
"""Among shapes this close to a target the one nearest to ``ASPECT`` is taken."""
MOST_DEPTH: Final = 512
MOST_WIDTH: Final = 65536
LENGTHS: Final = tuple(2**k for k in range(11, 18))


def pattern(count: int, depth: int, method: Method) -> list[int]:
    """Which of ``count`` blocks stands at each of ``depth`` places."""
    if method == "stack":
        return [i % count for i in range(depth)]
    return [i * count // depth for i in range(depth)]


def width_multiple(design: Architecture) -> int:
    """What the widths of larger designs are multiples of: whole heads of every mixer."""
    heads = {design.d_model // n for part in _parts(design) if (n := _heads(part))}
    return math.lcm(WIDTH_MULTIPLE, *heads)


def scaled(design: Architecture, *, depth: int, d_model: int, method: Method) -> Architecture:
    """The design at another depth and width.

    Raises:
        InputError: The pattern does not fit into that depth, or the design cannot be built at that
            width; every reason at once.
    """
    _check_depth(len(design.blocks), depth, method)
    wide = [_widened(block, design.d_model, d_model) for block in design.blocks]
    blocks = tuple(wide[i] for i in pattern(len(wide), depth, method))
    return canonicalise(design.model_copy(update={"d_model": d_model, "blocks": blocks}))


def _check_depth(count: int, depth: int, method: Method) -> None:
    if depth < count:
        raise InputError(
            f"depth: got {depth}; the design has {count} blocks, and each must have a place: give"
            f" at least {count}"
        )
    if method == "stack" and depth % count:
        below = depth - depth % count
        raise InputError(
            f"depth: got {depth}; stack repeats the whole pattern of {count} blocks: give a"
            f" multiple of {count} such as {below} or {below + count}, or --method stretch"
        )


def of_size(
    design: Architecture, target: float, measure: Callable[[Architecture], float], method: Method
) -> Architecture:
    """The design at a depth and width at which ``measure`` is near a target.

    Depths go up in whole patterns with ``stack``, in single blocks with ``stretch``; widths in
    multiples of ``width_multiple``.

    Args:
        design: A design that can be built.
        target: Greater than 0.
        measure: A sum over blocks that grows with the width, and perhaps something once.
        method: How depth is reached.

    Raises:
        InputError: No depth and width come near; the message says what lies nearest.
    """
    step = len(design.blocks) if method == "stack" else 1
    unit = width_multiple(design)
    parts = _parts_at(design, measure, method)
    found: list[tuple[float, float, int, int]] = []
    for depth in range(len(design.blocks), MOST_DEPTH + 1, step):
        width = _nearest(lambda w, d=depth: parts(d, w), target, unit)  # type: ignore[misc]
        error = abs(math.log(parts(depth, width) / target))
        found.append((error, abs(math.log(width / depth / ASPECT)), depth, width))
    close = [one for one in found if one[0] <= CLOSE]
    _, _, depth, width = min(close, key=lambda one: one[1]) if close else min(found)
    made = scaled(design, depth=depth, d_model=width, method=method)
    size = measure(made)
    if abs(math.log(size / target)) > 2 * CLOSE:
        raise InputError(
            f"no depth up to {MOST_DEPTH} and width in steps of {unit} gives {target:.4g}; nearest"
            f" is {size:.4g} at depth {depth} and width {width}: give --depth and --width"
        )
    return made


def _parts_at(
    design: Architecture, measure: Callable[[Architecture], float], method: Method
) -> Callable[[int, int], float]:
    """The measure at a depth and a width, as a sum over the pattern's blocks."""

    @cache
    def at_width(width: int) -> tuple[float, list[float]]:
        once, each = 0.0, []
        for block in design.blocks:
            blocks = (_widened(block, design.d_model, width),)
            one, two = (
                measure(design.model_copy(update={"d_model": width, "blocks": blocks * n}))
                for n in (1, 2)
            )
            each.append(two - one)
            once = 2 * one - two
        return once, each

    def total(depth: int, width: int) -> float:
        once, each = at_width(width)
        return once + sum(each[i] for i in pattern(len(each), depth, method))

    return total


def _nearest(size: Callable[[int], float], target: float, unit: int) -> int:
    """The multiple of ``unit`` at which a growing size is nearest to the target, as a ratio."""
    low, high = 1, MOST_WIDTH // unit
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if size(middle * unit) >= target else (middle + 1, high)
    return min(
        (k * unit for k in (low - 1, low) if k), key=lambda w: abs(math.log(size(w) / target))
    )


def _parts(design: Architecture) -> list[Component]:
    return [
        part
        for block in design.blocks
        for part in (block.sequence, block.parallel, block.channel)
        if part is not None
    ]


def _heads(part: Component) -> int:
    """How many heads, if that is an option; 0 if not."""
    number = getattr(spec_of(part), "num_heads", 0)
    return number if isinstance(number, int) else 0


def _widened(block: Block, before: int, after: int) -> Block:
    return block.model_copy(
        update={
            name: _with_heads(part, before, after)
            for name in ("sequence", "parallel", "channel")
            if (part := getattr(block, name)) is not None
        }
    )


def _with_heads(part: Component, before: int, after: int) -> Component:
    """More heads, as many as keep their width, or the most that the mixer and the width allow."""
    options = spec_of(part).model_dump(mode="python")
    number, groups = options.get("num_heads"), options.get("num_kv_heads")
    if not isinstance(number, int):
        return part
    for heads in range(max(1, round(number * after / before)), 0, -1):
        changed = {"num_heads": heads}
        if groups:
            changed["num_kv_heads"] = heads * groups // number
        more = part.model_copy(update={"options": {**part.options, **changed}})
        if (not groups or heads * groups % number == 0) and _is_possible(more, after):
            return more
    return part


def _is_possible(part: Component, d_model: int) -> bool:
    try:
        return not spec_of(part).problems(d_model)
    except InputError:  # beyond its bounds
        return False


def in_short(design: Architecture) -> str:
    """The design in a line, repetitions counted."""
    texts = [str(block) for block in unusual(design).blocks]
    depth = len(texts)
    for count in range(1, depth // 2 + 1):
        if depth % count == 0 and texts == texts[:count] * (depth // count):
            inner = " > ".join(texts[:count])
            return f"d{design.d_model}: {depth // count} x ({inner})"
    runs = [(text, len(list(same))) for text, same in groupby(texts)]
    counted = (text if number == 1 else f"{number} x {text}" for text, number in runs)
    return f"d{design.d_model}: {' > '.join(counted)}"


class Comparison(NamedTuple):
    """A design beside full attention of its width and depth at one length.

    Attributes:
        flops: Forward, per sequence.
        attention_flops: With full attention in place of every sequence mixer.
    """

    length: int
    flops: int
    attention_flops: int
    state_floats: int
    attention_state_floats: int


def with_attention(design: Architecture) -> Architecture:
    """The same with full attention, heads 64 wide, in place of every sequence mixer."""
    heads = max(1, min(256, design.d_model // 64))
    while design.d_model % heads:
        heads -= 1
    full = Component(name="attention", options={"num_heads": heads})
    blocks = tuple(Block(sequence=full, channel=block.channel) for block in design.blocks)
    return canonicalise(design.model_copy(update={"blocks": blocks}))


def compared(design: Architecture, lengths: Sequence[int] = LENGTHS) -> list[Comparison]:
    """The design beside full attention at each length, without building either."""
    full = with_attention(design)
    return [
        Comparison(
            n,
            flops_at(design, n),
            flops_at(full, n),
            state_floats(design, n),
            state_floats(full, n),
        )
        for n in lengths
    ]


def params_of(max_length: int) -> Callable[[Architecture], float]:
    """Parameters without embedding and head, as a measure."""
    return lambda design: float(num_params(design, max_length))


def flops_of(length: int) -> Callable[[Architecture], float]:
    """Forward FLOPs at a length, as a measure."""
    return lambda design: float(flops_at(design, length))

"""Which designs are the same: checked options, canonical form, and the key within a campaign."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import ValidationError

from archsearch.architecture import Architecture, Block, Component
from archsearch.errors import InputError, UnknownNameError
from archsearch.mixers import specs
from archsearch.mixers.base import MixerSpec


def spec_of(component: Component) -> MixerSpec:
    """The checked spec of a component.

    Raises:
        UnknownNameError: There is no such mixer.
        InputError: An option is unknown or out of its bounds.
    """
    spec_class = specs.get(component.name)
    try:
        return spec_class(**component.options)
    except ValidationError as error:
        raise InputError(
            [
                f"{component.name}.{'.'.join(map(str, e['loc']))}: got {e['input']!r}; {e['msg']}"
                for e in error.errors()
            ]
        ) from None


def check(architecture: Architecture) -> None:
    """Raises InputError with every reason why the design cannot be built."""
    problems: list[str] = []
    for i, block in enumerate(architecture.blocks):
        for kind in ("sequence", "channel", "parallel"):
            component: Component | None = getattr(block, kind)
            if component is not None:
                found = _component_problems(component, kind, architecture)
                problems += [f"blocks[{i}].{kind}: {problem}" for problem in found]
    if problems:
        raise InputError(problems)


def _component_problems(component: Component, kind: str, architecture: Architecture) -> list[str]:
    try:
        spec = spec_of(component)
    except (InputError, UnknownNameError) as error:
        return list(error.problems)
    problems = []
    if not spec.fits(kind):
        problems.append(f"'{component.name}' is a {spec.kind} mixer")
    unusable = spec.problems(architecture.d_model)
    if architecture.position == "rotary" and spec.uses_rotary and not unusable:
        width = spec.head_width(architecture.d_model)
        if width % 2:
            problems.append(
                f"rotary positions need an even head width; got {width}"
                f" for {component}, d_model={architecture.d_model}"
            )
    return problems + unusable


def _rebuilt(architecture: Architecture, change: Callable[[MixerSpec], Component]) -> Architecture:
    blocks = tuple(_rebuilt_block(block, change) for block in architecture.blocks)
    turns = any(specs.get(mixer.name).uses_rotary for b in blocks for mixer in b.mixers)
    position = "none" if architecture.position == "rotary" and not turns else architecture.position
    return architecture.model_copy(update={"blocks": blocks, "position": position})


def _rebuilt_block(block: Block, change: Callable[[MixerSpec], Component]) -> Block:
    present = [mixer for mixer in block.mixers if not spec_of(mixer).skipped]
    # a sum has no order
    mixers = sorted((change(spec_of(m)) for m in present), key=Component.model_dump_json)
    return block.model_copy(
        update={
            "sequence": mixers[0],
            "parallel": mixers[1] if len(mixers) > 1 else None,
            "channel": change(spec_of(block.channel)),
        }
    )


def canonicalise(architecture: Architecture) -> Architecture:
    """The same function with every option written out and only active parameters.

    Raises:
        InputError: The design cannot be built; all reasons at once.
    """
    check(architecture)
    return _rebuilt(architecture, lambda spec: spec.canonical())


def merged(architecture: Architecture, n_max: int) -> Architecture:
    """What the design is when no sequence is longer than ``n_max``: the one to price."""
    return _rebuilt(architecture, lambda spec: spec.merged(n_max))


def campaign_key(architecture: Architecture, n_max: int) -> str:
    """Equal for designs that a campaign tested at up to ``n_max`` tokens cannot tell apart."""
    return merged(architecture, n_max).digest


def has_oracle(architecture: Architecture) -> bool:
    """Whether some mixer is told where the answers of the task are."""
    names = {mixer.name for block in architecture.blocks for mixer in block.mixers}
    return any(name in specs and specs.get(name).oracle_bias for name in names)


def readable(architecture: Architecture) -> str:
    """A design in one line, options at their defaults left out."""
    return str(unusual(architecture))


def unusual(architecture: Architecture) -> Architecture:
    """The design without options at their defaults: to read, not to build."""
    blocks = tuple(
        block.model_copy(
            update={
                "sequence": _unusual(block.sequence),
                "channel": _unusual(block.channel),
                "parallel": None if block.parallel is None else _unusual(block.parallel),
            }
        )
        for block in architecture.blocks
    )
    return architecture.model_copy(update={"blocks": blocks})


def _unusual(component: Component) -> Component:
    if component.name not in specs:
        return component
    fields = specs.get(component.name).model_fields
    options = {
        key: value
        for key, value in component.options.items()
        if key not in fields or fields[key].default != value
    }
    return Component(name=component.name, options=options)

"""``archsearch mixers``: what designs can be made of."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archsearch.cli._options import AsJson

if TYPE_CHECKING:
    from archsearch.mixers.base import MixerSpec
    from archsearch.presets.base import Preset

_D_MODEL = 64
_LENGTH = 2048
_PRESET_DEPTH = 2
_ALL = "'archsearch mixers'"


def mixers(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Show this one.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List mixers and presets, or show one with its options, cost and source."""
    from archsearch.cli import render
    from archsearch.errors import UnknownNameError, suggestion
    from archsearch.mixers import specs
    from archsearch.presets import presets

    if name is not None:
        is_preset = name in presets
        if not is_preset and name not in specs:
            hint = suggestion(name, [*specs, *presets])
            raise UnknownNameError(f"unknown mixer or preset '{name}'{hint} ({_ALL} lists them)")
        facts = _preset_facts(presets.get(name)) if is_preset else _facts(specs.get(name))
        if as_json:
            render.print_json(facts)
        elif is_preset:
            _show_preset(facts)
        else:
            _show_one(facts)
        return
    found = [_facts(specs.get(known)) for known in specs]
    found.sort(key=lambda f: (f["kind"] != "sequence", f["family"], f["name"]))
    stacks = [_preset_facts(presets.get(known)) for known in presets]
    if as_json:
        render.print_json([*found, *stacks])
    else:
        _show_all(found)
        _show_presets(stacks)


def _preset_facts(preset: Preset) -> dict[str, Any]:
    from archsearch.canonical import readable
    from archsearch.costs import price

    design = preset.design(_D_MODEL, _PRESET_DEPTH)
    cost = price(design, _LENGTH)
    return {
        "name": preset.name,
        "kind": "preset",
        "summary": preset.summary,
        "design": readable(design),
        "d_model": _D_MODEL,
        "depth": _PRESET_DEPTH,
        "length": _LENGTH,
        "growth": cost.growth_text,
        "flops": cost.flops,
        "state": cost.state_floats,
        "citation": preset.citation.text,
        "arxiv": preset.citation.arxiv,
        "where": preset.citation.where,
    }


def _facts(spec_class: type[MixerSpec]) -> dict[str, Any]:
    """What a spec states; prices at the default options."""
    schema = spec_class.model_json_schema()
    definite = not schema.get("required")
    meanings = _meanings(spec_class)
    price: dict[str, Any] = {"growth": None, "form": None, "flops": None, "state": None}
    if definite:
        spec = spec_class()
        form = spec.flops_form(_D_MODEL, _LENGTH)
        cost = spec.cost(_D_MODEL, _LENGTH)
        price = {
            "growth": str(form.growth),
            "form": str(form),
            "flops": cost.flops_useful,
            "state": cost.state_floats,
        }
    return {
        "name": spec_class.name,
        "kind": spec_class.kind,
        "family": spec_class.family,
        "summary": _first_line(spec_class),
        "words": _in_words(spec_class),
        "formula": spec_class.formula,
        "options": [
            {
                "name": key,
                "default": value.get("default"),
                "allowed": allowed(value),
                "meaning": meanings.get(key, ""),
            }
            for key, value in schema.get("properties", {}).items()
        ],
        "uses_rotary": spec_class.uses_rotary,
        "reads_tokens": spec_class.reads_tokens,
        "oracle_bias": spec_class.oracle_bias,
        "d_model": _D_MODEL,
        "length": _LENGTH,
        **price,
        "citation": spec_class.citation.text,
        "arxiv": spec_class.citation.arxiv,
        "where": spec_class.citation.where,
    }


def _first_line(spec_class: type[MixerSpec]) -> str:
    paragraph = (spec_class.__doc__ or "").strip().split("\n\n")[0]
    return " ".join(paragraph.replace("``", "").split())


def _in_words(spec_class: type[MixerSpec]) -> str:
    """What the class says of itself, up to its options, in one line."""
    text = inspect.cleandoc(spec_class.__doc__ or "").split("\nAttributes:")[0]
    return " ".join(text.replace("``", "").split())


def _meanings(spec_class: type[MixerSpec]) -> dict[str, str]:
    """What each option means, from the attributes that the class and its bases list."""
    found: dict[str, str] = {}
    for kind in reversed(spec_class.__mro__):
        _, _, listed = inspect.cleandoc(kind.__doc__ or "").partition("\nAttributes:\n")
        parts = re.findall(r"^    (\w+): (.*(?:\n(?:        .*|$))*)", listed, flags=re.MULTILINE)
        found |= {name: " ".join(text.replace("``", "").split()) for name, text in parts}
    return found


def allowed(schema: dict[str, Any]) -> str:
    """What an option takes, from its part of the JSON Schema."""
    if "anyOf" in schema:
        return " or ".join(allowed(part) for part in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(str(value) for value in schema["enum"])
    if "const" in schema:
        return str(schema["const"])
    if "pattern" in schema:
        return _policies(schema["pattern"]) or schema["pattern"]
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    kind = {"integer": "whole number", "number": "number", "boolean": "true or false"}
    words = kind.get(str(schema.get("type")), str(schema.get("type", "anything")))
    if low is None and high is None:
        return words
    opening = "(" if "exclusiveMinimum" in schema else "["
    closing = ")" if "exclusiveMaximum" in schema else "]"
    low_text = "-inf" if low is None else f"{low:g}"
    return f"{words} in {opening}{low_text}, {'inf' if high is None else f'{high:g}'}{closing}"


def _policies(pattern: str) -> str:
    """The policies of a length that a pattern names; nothing for other patterns."""
    found = [policy for policy in ("sqrt", "cbrt") if policy in pattern]
    return f"{', '.join(found)} or N/k" if found else ""


def _source(facts: dict[str, Any]) -> str:
    arxiv = f"arXiv {facts['arxiv']}" if facts["arxiv"] else ""
    return ", ".join(part for part in (facts["citation"], arxiv, facts["where"]) if part)


def _show_all(found: list[dict[str, Any]]) -> None:
    from archsearch.cli import render
    from archsearch.cli._text import Column, human

    columns = [
        Column("mixer", text=True),
        Column("kind", rank=2, text=True),
        Column("family", rank=1, text=True),
        Column("growth", text=True),
        Column("state"),
        Column("source", rank=3, text=True),
    ]
    rows = [
        (
            facts["name"],
            facts["kind"],
            facts["family"],
            facts["growth"] or "-",
            "-" if facts["state"] is None else human(facts["state"]),
            facts["citation"] + (f" {facts['arxiv']}" if facts["arxiv"] else ""),
        )
        for facts in found
    ]
    title = f"at the defaults, d = {_D_MODEL}, N = {_LENGTH:,}"
    render.print_table(columns, rows, title=title)


def _show_one(facts: dict[str, Any]) -> None:
    from archsearch.cli import render
    from archsearch.cli._text import Column, human

    pairs = [
        ("kind", f"{facts['kind']} mixer, {facts['family']}"),
        ("in words", facts["words"]),
        ("formula", facts["formula"]),
    ]
    if facts["form"] is not None:
        pairs += [
            ("growth", facts["growth"]),
            ("FLOPs", f"{facts['form']} (d = {_D_MODEL}, priced at N = {_LENGTH:,})"),
            (
                "at that N",
                f"{human(facts['flops'], 'FLOPs')}, state {human(facts['state'])} floats",
            ),
        ]
    pairs.append(("rotary", "yes" if facts["uses_rotary"] else "no"))
    if facts["oracle_bias"]:
        pairs.append(("oracle", "is told where the answers are: no front member unless asked for"))
    pairs.append(("source", _source(facts)))
    render.print_block(facts["name"], pairs)
    if not facts["options"]:
        return
    columns = [
        *(Column(title, text=True) for title in ("option", "default", "allowed")),
        Column("meaning", text=True, below=True),
    ]
    rows = [
        (
            o["name"],
            "required" if o["default"] is None else f"{_short(o['default'])}",
            o["allowed"],
            o["meaning"],
        )
        for o in facts["options"]
    ]
    render.print_line()
    render.print_table(columns, rows, title="options")


def _show_presets(found: list[dict[str, Any]]) -> None:
    from archsearch.cli import render
    from archsearch.cli._text import Column, human

    columns = [
        Column("preset", text=True),
        Column("growth", text=True),
        Column("state"),
        Column("source", rank=3, text=True),
    ]
    rows = [
        (facts["name"], facts["growth"], human(facts["state"]), _source(facts)) for facts in found
    ]
    render.print_line()
    title = f"whole designs, at depth {_PRESET_DEPTH}; in a space: layers: {{preset: NAME}}"
    render.print_table(columns, rows, title=title)


def _show_preset(facts: dict[str, Any]) -> None:
    from archsearch.cli import render
    from archsearch.cli._text import human

    pairs = [
        ("kind", "preset: a whole design, layers: {preset: " + facts["name"] + "} in a space"),
        ("in words", facts["summary"]),
        ("design", facts["design"]),
        ("growth", facts["growth"]),
        (
            "at N = " + f"{_LENGTH:,}",
            f"{human(facts['flops'], 'FLOPs')}, state"
            f" {human(facts['state'])} floats (d = {_D_MODEL}, {_PRESET_DEPTH} layers)",
        ),
        ("source", _source(facts)),
    ]
    render.print_block(facts["name"], pairs)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)

"""A design as Python code that needs torch alone: ours, gathered, and what puts it together."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import Final

from archsearch._version import __version__
from archsearch.architecture import Architecture, Component
from archsearch.canonical import readable, spec_of
from archsearch.exporters._bundle import Bundle, bundle
from archsearch.exporters._source import Place, module_class, spec_class
from archsearch.exporters.base import ArchitectureFile, FreshSeeds
from archsearch.mixers import specs
from archsearch.mixers.base import MixerSpec

METHODS: Final = ("forward", "backward", "step", "initial_state", "initialise")
_MODEL: Final = tuple(
    Place("archsearch.model", name) for name in ("HybridModel", "Block", "initialise")
)
_CONTEXT: Final = Place("archsearch.mixers.base", "MixerContext")
_READER: Final = Place("archsearch.exporters._reader", "load_weights")
SUBSTITUTES: Final = {
    Place("archsearch.errors", "InputError"): "ValueError",
    Place("archsearch.mixers.base", "Reach"): "int | str",
}


def mixers_of(architecture: Architecture) -> dict[str, type[MixerSpec]]:
    """The mixers of a design by name, each once, those that do nothing aside."""
    return {
        part.name: found
        for block in architecture.blocks
        for part in (block.sequence, block.parallel, block.channel)
        if part is not None and not (found := specs.get(part.name)).skipped
    }


def source_of(architecture: Architecture) -> Bundle:
    """The code of a design: the model, its mixers and what reads weights."""
    mixers = mixers_of(architecture)
    docstrings = {}
    for name, spec in mixers.items():
        docstrings[module_class(name)] = f"{_told(spec)}\n\n{_paper(spec)}."
        docstrings[spec_class(name)] = f"Options of ``{name}``."
    return bundle(
        [*_MODEL, _CONTEXT, _READER, *docstrings],
        METHODS,
        docstrings=docstrings,
        substitutes=SUBSTITUTES,
    )


def _told(spec: type[MixerSpec]) -> str:
    """The formula, cut into lines."""
    return "\n".join(wrap(spec.formula, 92))


def _paper(spec: type[MixerSpec]) -> str:
    text, arxiv, where = spec.citation
    return ", ".join(part for part in (text, f"arXiv {arxiv}" if arxiv else "", where) if part)


def _assembly(file: ArchitectureFile, names: Bundle) -> str:
    """The expression that puts the model together."""
    design, length = file.architecture, file.built_length
    lines = ["HybridModel(", "    ["]
    for index, block in enumerate(design.blocks):
        context = (
            f"MixerContext({design.d_model}, {length}, rotary={design.position == 'rotary'},"
            f" layer_index={index}, num_layers={len(design.blocks)})"
        )
        lines += ["        Block(", f"            {_text(design.norm)},"]
        for keyword, part in (
            ("", block.sequence), ("channel=", block.channel), ("parallel=", block.parallel)
        ):  # fmt: skip
            if part is not None and not specs.get(part.name).skipped:
                lines.append(f"            {keyword}{_built(part, context, names)},")
        if block.local_conv:
            lines.append(f"            local_conv={block.local_conv},")
        lines.append("        ),")
    lines += [
        "    ],",
        f"    vocab_size={file.task.vocab_size},",
        f"    max_length={length},",
        f"    norm={_text(design.norm)},",
        f"    learned_positions={design.position == 'learned'},",
        ")",
    ]
    return "\n".join(lines).replace("\n", "\n    ")


def _built(part: Component, context: str, names: Bundle) -> str:
    """One argument of a block, on lines of its own."""
    indent = " " * 12
    options = [
        f"{key}={_text(value)}" for key, value in spec_of(part).model_dump(mode="python").items()
    ]
    made = _call(names.names[spec_class(part.name)], options, f"{indent}    ")
    module = names.names[module_class(part.name)]
    return f"{module}(\n{indent}    {made},\n{indent}    {context},\n{indent})"


def _call(name: str, arguments: Sequence[str], indent: str) -> str:
    """A call in one line, or in one for each argument."""
    text = f"{name}({', '.join(arguments)})"
    if len(indent) + len(text) < 95:
        return text
    return "".join([f"{name}(", *(f"\n{indent}    {a}," for a in arguments), f"\n{indent})"])


def _text(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _costs(file: ArchitectureFile) -> list[str]:
    """What a design costs and reaches, in lines."""
    found = []
    if file.price is not None:
        price = file.price
        found += [
            f"Forward pass of N = {price.n_max:,} tokens: {price.flops / 1e6:,.1f} MFLOPs without"
            " embedding and head,",
            f"growing like {price.growth_text}. {price.params:,} parameters without these;"
            f" {price.state_floats:,} floats of state.",
        ]
    if file.accuracy is not None:
        cells = ", ".join(f"{c.label} {c.accuracy:.3f}" for c in file.test)
        found += list(wrap(f"Recall (MQAR, length and pairs) of the search's seed: {cells}.", 96))
    if file.fresh_seeds is not None:
        found += list(wrap(_fresh(file.fresh_seeds), 96))
    return found


def _fresh(seeds: FreshSeeds) -> str:
    """How a design did with seeds that the search had not seen."""
    text = f"Mean recall with fresh seeds ({seeds.count}): {seeds.accuracy:.3f}"
    if seeds.low is not None and seeds.high is not None:
        text += f", 95 % interval {seeds.low:.3f} to {seeds.high:.3f}"
    return f"{text}. The search's seed, which chose the design, flatters it."


def _source(file: ArchitectureFile) -> str:
    """Which version wrote this, and where the design is from."""
    source, where = file.source, ""
    if source is not None:
        where = f" found by {source.archsearch} in {source.campaign}, trial {source.trial};"
    return f"Written by archsearch {__version__};{where} digest {file.digest}."


def _papers(file: ArchitectureFile) -> list[str]:
    """What its mixers are from."""
    return [
        line
        for name, spec in mixers_of(file.architecture).items()
        for line in wrap(f"  {name}: {_paper(spec)}", 96, subsequent_indent="    ")
    ]


def code_of(file: ArchitectureFile, weights: str | None) -> str:
    """A whole file: ``build()`` gives the network, ``load_weights`` fills it.

    Args:
        file: The design.
        weights: The file beside it that ``load_weights`` reads, if there is one.
    """
    source = source_of(file.architecture)
    head = [
        *wrap(readable(file.architecture), 96),
        "",
        *_costs(file),
        *wrap(_source(file), 96),
        "",
        *_papers(file),
        "",
        f"Needs {' and '.join(sorted(source.packages))}, nothing else.",
        "",
        "    model = build()                       # weights drawn at random",
        "    load_weights(model, path)             # a safetensors file of this design's weights"
        if weights is None
        else f'    load_weights(model, "{weights}")',
        f"    logits = model(tokens)                # (B, L) whole numbers -> (B, L, "
        f"{file.task.vocab_size})",
        "",
        "Axes: B batch, L length, D width, H heads, E width of a head, V vocabulary.",
    ]
    # some of it comes from a file that anyone may have written
    text = "\n".join(head).replace("\\", "\\\\").replace('"""', r"\"\"\"")
    return (
        f'"""{text}\n"""\n\nfrom __future__ import annotations\n\n{source.imports}\n{source.body}'
        "\n\n# the design\n\n\n"
        "def build(seed: int = 0) -> HybridModel:\n"
        '    """The network, its weights drawn by a generator of its own."""\n'
        f"    model = {_assembly(file, source)}\n"
        "    initialise(model, seed)\n"
        "    return model\n"
    )

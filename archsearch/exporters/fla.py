"""A folder that flash-linear-attention loads: its own config, and weights under its names.

``import fla``, then ``AutoModelForCausalLM.from_pretrained(folder)``; without weights
``from_config``. By the source of version 0.6.0, which the config names; older ones read ``attn``
otherwise. Only designs that are the same function there are written:

- norm ``rmsnorm``; positions ``rotary`` if there is attention, which is always turned there, and
  none otherwise; no ``parallel``, no ``local_conv``;
- ``attention``, and ``sliding_window`` with a number of keys: exact, groups of heads included, for
  heads up to 256 wide, as FlashAttention has them.
  Layers that are all alike are a ``transformer``; different ones stand in the list ``attn`` of a
  ``gla``, and beside the layers of a ``gla``, ``retnet`` or ``samba``;
- ``gla`` with ``gate_divisor`` 16, and ``retnet`` with heads up to 256 wide: exact, but for a
  constant in the weights. Our norm of a head's output adds 1e-5 to its mean square, theirs the
  1e-6 that all their norms share. What is normed is linear in the values, so the map that makes
  these gets sqrt(0.1) times our weights;
- ``mamba``: exact. Alone, with channel mixer ``none``, it is a ``mamba``, which transformers load
  too, without ``import fla``, as the same function; with attention, or with
  ``swiglu`` whose hidden width is a multiple of 256, a ``samba``;
- every other channel mixer must be ``swiglu``: their blocks have one each, all of one width.

The layers that are not attention are all alike there. Other mixers either have no counterpart or
differ from theirs; ``_DIFFERENCES`` says how. Their attention needs FlashAttention, which computes
in half precision: the same function, rounded.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from archsearch.architecture import Architecture, Component
from archsearch.canonical import spec_of
from archsearch.errors import InputError
from archsearch.exporters._fla_weights import MLP_MULTIPLE, pieces_of, shapes_of
from archsearch.exporters._foreign import (
    check_renamed,
    check_written,
    difference,
    not_run,
    places,
    renamed,
    structure_problems,
)
from archsearch.exporters.base import ArchitectureFile, Exporter
from archsearch.mixers.mamba.spec import EXPAND, TAPS, Mamba
from archsearch.mixers.swiglu.spec import SwiGLU

_LIBRARY = "flash-linear-attention"
_VERSION = "0.6.0"
_CONFIG = "config.json"
_ATTENTION = ("attention", "sliding_window")
_NATIVE = ("gla", "mamba", "retnet")
_CLASSES: Final = {
    "gla": "GLAForCausalLM",
    "mamba": "MambaForCausalLM",
    "retnet": "RetNetForCausalLM",
    "samba": "SambaForCausalLM",
    "transformer": "TransformerForCausalLM",
}
_EPS: Final = 1e-6
_WIDEST_HEAD: Final = 256

_GAIN = "the norm of a head's output has a gain"
_DIFFERENCES: Final = {
    "based": "it is a layer, but of no model",
    "delta_net": f"{_GAIN}, and 1e-6 under its root",
    "gated_delta_net": f"{_GAIN}, and 1e-6 under its root",
    "hgrn2": "one norm over all heads, and lower bounds that add up over the layers",
    "mamba2": "the norm behind the gate has a gain, and 1e-6 under its root",
    "native_sparse_attention": "its gates have no bias, and means are taken of turned keys",
    "rwkv4": "its models are of later versions",
}


def config_of(file: ArchitectureFile) -> dict[str, Any]:
    """The config.

    Raises:
        InputError: The design cannot be said there; every reason at once.
    """
    design = file.architecture
    family = _family(design)
    problems = [
        *_model_problems(design),
        *structure_problems(design, _LIBRARY),
        *_sequence_problems(design),
        *_channel_problems(design, family),
    ]
    if problems:
        raise InputError(problems)
    config: dict[str, Any] = {
        "model_type": family,
        "architectures": [_CLASSES[family]],
        "vocab_size": file.task.vocab_size,
        "hidden_size": design.d_model,
        "num_hidden_layers": len(design.blocks),
        "norm_eps": _EPS,
        "tie_word_embeddings": True,
        **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id")),
        "written_for": f"{_LIBRARY} {_VERSION}",
    }
    if family != "mamba":
        config["max_position_embeddings"] = file.built_length
        config |= _mlp_options(design, family)
    else:
        # what transformers, which have a mamba of their own, call it
        config["layer_norm_epsilon"] = _EPS
    return config | _mixer_options(design, family)


def _natives(design: Architecture) -> list[tuple[str, Component]]:
    return [(where, part) for where, part in places(design, "sequence") if part.name in _NATIVE]


def _family(design: Architecture) -> str:
    """The kind of model, as far as there is one."""
    natives = {part.name for _, part in _natives(design)}
    sequence = {part for part in map(_attention_options, _parts(design)) if part is not None}
    if "mamba" in natives:
        alone = not sequence and all(b.channel.name == "none" for b in design.blocks)
        return "mamba" if alone else "samba"
    if natives:
        return min(natives)
    # a list of different attention layers is known to models of another mixer only
    return "transformer" if len(sequence) == 1 else "gla"


def _parts(design: Architecture) -> list[Component]:
    return [part for _, part in places(design, "sequence")]


def _attention_options(part: Component) -> tuple[int, int, int | None] | None:
    """Heads, heads of keys and values, and window; None for other mixers."""
    if part.name not in _ATTENTION:
        return None
    options = spec_of(part).model_dump()
    heads, groups = options["num_heads"], options["num_kv_heads"]
    return heads, groups or heads, options.get("window")


def _model_problems(design: Architecture) -> list[str]:
    problems = []
    if design.norm != "rmsnorm":
        problems.append(f"norm: '{design.norm}': norms of {_LIBRARY} are rmsnorm")
    if design.position == "learned":
        problems.append(f"position: 'learned': models of {_LIBRARY} have no table of positions")
    elif design.position == "none":
        problems += [
            f"{where}: '{part.name}' without positions: attention of {_LIBRARY} is always rotary"
            for where, part in places(design, "sequence")
            if part.name in _ATTENTION
        ]
    return problems


def _sequence_problems(design: Architecture) -> list[str]:
    problems = []
    natives = _natives(design)
    for where, part in places(design, "sequence"):
        if part.name not in (*_ATTENTION, *_NATIVE):
            problems.append(f"{where}: {difference(part.name, _LIBRARY, _DIFFERENCES)}")
        elif part.name in _NATIVE and part != natives[0][1]:
            problems.append(
                f"{where}: '{part}' beside '{natives[0][1]}' of {natives[0][0]}: the layers of a"
                f" model of {_LIBRARY} that are not attention are all alike"
            )
        problems += [f"{where}: {text}" for text in _option_problems(part, design.d_model)]
    return problems


def _option_problems(part: Component, d_model: int) -> list[str]:
    options = spec_of(part).model_dump()
    if part.name == "sliding_window" and not isinstance(options["window"], int):
        return [f"window '{options['window']}' depends on the length; {_LIBRARY} has a number"]
    if part.name == "gla" and options["gate_divisor"] != 16:
        return [f"gate_divisor {options['gate_divisor']}; models of {_LIBRARY} have 16"]
    if part.name in (*_ATTENTION, "retnet"):
        wide = d_model // options["num_heads"]
        if wide > _WIDEST_HEAD:
            why = "" if part.name == "retnet" else ", as FlashAttention"
            return [f"heads {wide} wide; {_LIBRARY} has up to {_WIDEST_HEAD}{why}"]
    return []


def _channel_problems(design: Architecture, family: str) -> list[str]:
    if family == "mamba":
        return []
    problems, widths = [], []
    for where, part in places(design, "channel"):
        if part.name != "swiglu":
            allowed = ", or is mamba alone" if family == "samba" else ""
            problems.append(
                f"{where}: '{part.name}': each block of {_LIBRARY} has a swiglu{allowed}"
            )
            continue
        widths.append(_hidden(part, design.d_model))
        if widths[-1] != widths[0]:
            problems.append(
                f"{where}: hidden width {widths[-1]} beside {widths[0]}: {_LIBRARY} has one width"
            )
        elif family == "samba" and widths[0] % MLP_MULTIPLE:
            problems.append(
                f"{where}: hidden width {widths[0]}; beside mamba {_LIBRARY} has multiples of"
                f" {MLP_MULTIPLE}"
            )
    return problems


def _hidden(part: Component, d_model: int) -> int:
    spec = spec_of(part)
    assert isinstance(spec, SwiGLU)
    return spec.hidden(d_model)


def _mlp_options(design: Architecture, family: str) -> dict[str, Any]:
    hidden = _hidden(design.blocks[0].channel, design.d_model)
    if family == "samba":
        # which knows a ratio only, and rounds 2/3 of it up
        return {"hidden_act": "swish", "hidden_ratio": 3 * hidden / (2 * design.d_model)}
    return {"hidden_act": "swish", "intermediate_size": hidden}


def _mixer_options(design: Architecture, family: str) -> dict[str, Any]:
    """Of the model's own mixer, and of the layers that are attention."""
    if family == "transformer":
        found = _attention_options(design.blocks[0].sequence)
        assert found is not None
        return _named(found)
    natives = _natives(design)
    own = spec_of(natives[0][1]).model_dump() if natives else {"num_heads": 1}
    if family in ("mamba", "samba"):
        rank = "dt_rank" if family == "mamba" else "time_step_rank"
        options = {
            "state_size": own["state_size"],
            "expand": EXPAND,
            "conv_kernel": TAPS,
            rank: Mamba.rank(design.d_model),
            "use_bias": False,
            "use_conv_bias": True,
        }
    else:
        options = {
            "num_heads": own["num_heads"],
            "use_short_conv": False,
            "use_output_gate": True,
            "elementwise_affine": False,
        }
        options |= (
            {"expand_k": 0.5, "expand_v": 1.0}
            if family == "gla"
            else {"expand_k": 1.0, "expand_v": float(own["expand_value"])}
        )
    return options if family == "mamba" else options | {"attn": _attention_layers(design)}


def _named(options: tuple[int, int, int | None]) -> dict[str, Any]:
    heads, groups, window = options
    return {
        "num_heads": heads,
        "num_kv_heads": groups,
        "qkv_bias": False,
        "window_size": window,
        "rope_theta": 10000.0,
    }


def _attention_layers(design: Architecture) -> list[dict[str, Any]] | None:
    layers: dict[tuple[int, int, int | None], list[int]] = {}
    for i, part in enumerate(_parts(design)):
        options = _attention_options(part)
        if options is not None:
            layers.setdefault(options, []).append(i)
    return [{"layers": where, **_named(options)} for options, where in layers.items()] or None


def _render(file: ArchitectureFile) -> dict[str, str]:
    return {_CONFIG: json.dumps(config_of(file), indent=2, allow_nan=False) + "\n"}


def _weights(weights: bytes, file: ArchitectureFile) -> bytes:
    config = config_of(file)
    return renamed(weights, pieces_of(file.architecture, config), shapes_of(config))


def _verify(path: Path, file: ArchitectureFile, ours: bytes | None = None) -> str:
    """Compares parameters, config and weights: the library, which needs a GPU, may not be here."""
    found, wanted = json.loads((path / _CONFIG).read_text(encoding="utf-8")), config_of(file)
    check_written(path / _CONFIG, file, found, wanted, shapes_of(found))
    if file.weights is not None and ours is not None:
        check_renamed(path / file.weights.file, ours, pieces_of(file.architecture, wanted))
    return not_run(_LIBRARY)


EXPORTER = Exporter(
    "",
    _render,
    _verify,
    _weights,
    needs=f"{_LIBRARY} {_VERSION} or later is needed to load the folder",
    unweighted="from_pretrained cannot load the folder, for there are no weights in it;"
    " AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder)) draws them",
)

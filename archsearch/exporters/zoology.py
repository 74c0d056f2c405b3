"""JSON for Zoology: ``ModelConfig(**json.load(file))`` of HazyResearch/zoology.

By its source at commit d88d6f5. Only designs that are the same function there are written, and
they are few: norm ``layernorm``, positions ``none`` or ``learned``, no ``parallel``, no
``local_conv``, and

- sequence mixers ``based`` and ``gla``, options included (its ``gla`` takes norm and kernels from
  a version of flash-linear-attention of early 2025);
- channel mixers ``mlp`` and ``glu`` whose hidden width is a whole multiple of the width,
  ``zoology_identity``, and ``rwkv_channel_mix`` of expansion 4 (its file compiles CUDA code when
  it is imported).

Layers may differ: they are listed in ``Hybrid``, which picks by the number of the layer. Other
mixers either have no counterpart or differ from theirs; ``_DIFFERENCES`` says how. Softmax
attention is among them, for its output map always has a bias there. So are designs without a
channel mixer: each of their blocks has one, behind a norm.

``LanguageModel`` gives logits when called with ``return_embeddings=False``. Weights lie beside the
file under its names, for ``load_state_dict``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from archsearch.architecture import Architecture, Component
from archsearch.canonical import spec_of
from archsearch.errors import InputError
from archsearch.exporters._foreign import (
    Piece,
    Shapes,
    check_renamed,
    check_written,
    difference,
    not_run,
    places,
    renamed,
    split,
    structure_problems,
    under,
)
from archsearch.exporters.base import ArchitectureFile, Exporter
from archsearch.mixers.gla.spec import RANK
from archsearch.mixers.glu.spec import GLU
from archsearch.mixers.mlp.spec import MLP
from archsearch.mixers.rwkv_channel_mix.spec import RWKVChannelMix

_LIBRARY = "Zoology"
_MIXERS = "zoology.mixers"
_TIED = "lm_head.weight"
_HYBRID = f"{_MIXERS}.hybrid.Hybrid"
_CLASSES: Final = {
    "based": f"{_MIXERS}.based.Based",
    "gla": f"{_MIXERS}.gla.GatedLinearAttention",
    "glu": f"{_MIXERS}.mlp.GLU",
    "mlp": f"{_MIXERS}.mlp.MLP",
    "rwkv_channel_mix": f"{_MIXERS}.rwkv.RWKVStateMixer",
    "zoology_identity": "torch.nn.Identity",
}
_NAMES: Final = {path: name for name, path in _CLASSES.items()}

_DELTA = "the norm of a head's output has a gain, and its inputs are rounded to bfloat16"
_MAMBA = "the norms of its blocks are rmsnorm, but the last one is layernorm"
_DIFFERENCES: Final = {
    "attention": "the output map has a bias",
    "base_conv": "the input is added to the product",
    "cosformer": "it is turned by the length of each sequence",
    "delta_net": _DELTA,
    "gated_delta_net": _DELTA,
    "h3": "the input vectors of its state spaces are trained too",
    "hyena": "its window falls at another pace, and is not scaled",
    "learned_selection": "it selects by scores of the whole sequence",
    "local_global_random": "random blocks are drawn anew each time",
    "long_conv": "the input is added with weight 1, and taps are not scaled",
    "mamba": _MAMBA,
    "mamba2": _MAMBA,
    "native_sparse_attention": "its window reaches into the future",
    "none": "each block has a channel mixer; give zoology_identity for torch.nn.Identity",
    "rwkv4": "its average is rounded to bfloat16",
    "sglu": "its gated unit has biases and a GELU",
    "short_conv": "its convolution cannot be the mixer of a block",
    "sliding_window": "the output map has a bias",
    "swiglu": "its gated unit has biases and a GELU",
}


def config_of(file: ArchitectureFile) -> dict[str, Any]:
    """The config.

    Raises:
        InputError: The design cannot be said there; every reason at once.
    """
    design = file.architecture
    problems = [
        *_model_problems(design),
        *structure_problems(design, _LIBRARY),
        *(
            f"{where}: {text}"
            for kind in ("sequence", "channel")
            for where, part in places(design, kind)
            for text in _part_problems(part, design.d_model)
        ),
    ]
    if problems:
        raise InputError(problems)
    learned = design.position == "learned"
    return {
        "sequence_mixer": _mixer(design, "sequence"),
        "state_mixer": _mixer(design, "channel"),
        "d_model": design.d_model,
        "n_layers": len(design.blocks),
        "max_position_embeddings": file.built_length if learned else 0,
        "learnable_word_embeddings": True,
        "vocab_size": file.task.vocab_size,
        "pad_vocab_size_multiple": 1,
        "resid_dropout": 0.0,
        "embed_dropout": 0.0,
        "drop_path": 0.0,
        "layer_norm_epsilon": 1e-5,
        "block_type": "TransformerBlock",
        "name": f"archsearch-{file.digest}",
    }


def _model_problems(design: Architecture) -> list[str]:
    problems = []
    if design.norm != "layernorm":
        problems.append(f"norm: '{design.norm}': norms of {_LIBRARY} are layernorm")
    if design.position == "rotary":
        problems.append(f"position: 'rotary': {_LIBRARY} has a learned table or none")
    return problems


def _part_problems(part: Component, d_model: int) -> list[str]:
    if part.name not in _CLASSES:
        return [difference(part.name, _LIBRARY, _DIFFERENCES)]
    if part.name in ("mlp", "glu", "rwkv_channel_mix"):
        hidden = _hidden(part, d_model)
        if hidden % d_model:
            return [f"hidden width {hidden} is no multiple of {d_model}, as in {_LIBRARY}"]
        if part.name == "rwkv_channel_mix" and hidden != 4 * d_model:
            return [f"hidden width {hidden}; {_LIBRARY} has {4 * d_model}"]
    return []


def _hidden(part: Component, d_model: int) -> int:
    spec = spec_of(part)
    assert isinstance(spec, MLP | GLU | RWKVChannelMix)
    return spec.hidden(d_model)


def _mixer(design: Architecture, kind: str) -> dict[str, Any]:
    """One for all layers, or a list of them."""
    configs = [_config(part, design) for _, part in places(design, kind)]
    if all(config == configs[0] for config in configs):
        return configs[0]
    return {"name": _HYBRID, "kwargs": {"configs": configs}}


def _config(part: Component, design: Architecture) -> dict[str, Any]:
    options: dict[str, Any] = {}
    own = spec_of(part).model_dump()
    if part.name == "based":
        heads = own["num_heads"]
        options = {
            "feature_dim": own["feature_dim"],
            "num_heads": heads,
            "num_key_value_heads": heads,
            "feature_name": "taylor_exp",
        }
    elif part.name == "gla":
        options = {
            "num_heads": own["num_heads"],
            "expand_k": 0.5,
            "expand_v": 1.0,
            "gate_logit_normalizer": own["gate_divisor"],
            "gate_low_rank_dim": RANK,
            "elementwise_affine": False,
            "norm_eps": 1e-5,
        }
    elif part.name in ("mlp", "glu"):
        options = {"hidden_mult": _hidden(part, design.d_model) // design.d_model}
    elif part.name == "rwkv_channel_mix":
        options = {"n_layer": len(design.blocks)}
    return {"name": _CLASSES[part.name], "kwargs": options}


def _of_layer(mixer: dict[str, Any], layer: int) -> tuple[str, str, dict[str, Any]]:
    """Prefix of a layer's weights, our name of its mixer, and its options."""
    prefix, found = "", mixer
    if mixer["name"] == _HYBRID:
        configs = mixer["kwargs"]["configs"]
        prefix, found = "mixer.", configs[layer % len(configs)]
    return prefix, _NAMES[found["name"]], found["kwargs"]


def shapes_of(config: dict[str, Any]) -> Shapes:
    """Their weights by name, as their rules make them from a config."""
    width, vocabulary = config["d_model"], (config["vocab_size"], config["d_model"])
    shapes: Shapes = {"backbone.embeddings.word_embeddings.weight": vocabulary, _TIED: vocabulary}
    if config["max_position_embeddings"] > 0:
        positions = (config["max_position_embeddings"], width)
        shapes["backbone.embeddings.position_embeddings.weight"] = positions
    norms = ["backbone.ln_f"]
    for i in range(config["n_layers"]):
        layer = f"backbone.layers.{i}"
        norms += [f"{layer}.norm1", f"{layer}.norm2"]
        for kind in ("sequence_mixer", "state_mixer"):
            prefix, name, options = _of_layer(config[kind], i)
            for part, shape in _mixer_shapes(name, options, width).items():
                shapes[f"{layer}.{kind}.{prefix}{part}"] = shape
    return shapes | {f"{norm}.{part}": (width,) for norm in norms for part in ("weight", "bias")}


def _mixer_shapes(name: str, options: dict[str, Any], width: int) -> Shapes:
    if name == "based":
        keys = (options["num_heads"] * options["feature_dim"], width)
        values = (options["num_key_value_heads"] * (width // options["num_key_value_heads"]), width)
        return {"proj_q.weight": keys, "proj_k.weight": keys, "proj_v.weight": values,
                "proj_o.weight": (width, values[0])}  # fmt: skip
    if name == "gla":
        keys, values = ((int(width * options[k]), width) for k in ("expand_k", "expand_v"))
        rank, heads = options["gate_low_rank_dim"], options["num_heads"]
        gain = {"g_norm_swish_gate.weight": (values[0] // heads,)}
        return (gain if options["elementwise_affine"] else {}) | {
                "q_proj.weight": keys, "k_proj.weight": keys, "v_proj.weight": values,
                "g_proj.weight": values, "o_proj.weight": (width, values[0]),
                "gk_proj.0.weight": (rank, width), "gk_proj.1.weight": (keys[0], rank),
                "gk_proj.1.bias": (keys[0],)}  # fmt: skip
    if name == "rwkv_channel_mix":
        mix, hidden = (1, 1, width), 4 * width
        return {"time_mix_k": mix, "time_mix_r": mix, "key.weight": (hidden, width),
                "receptance.weight": (width, width), "value.weight": (width, hidden)}  # fmt: skip
    if name == "zoology_identity":
        return {}
    hidden = options["hidden_mult"] * width
    wide = ["fc1"] if name == "mlp" else ["fc1", "fc2"]
    shapes: Shapes = {f"fc{len(wide) + 1}.weight": (width, hidden)}
    shapes[f"fc{len(wide) + 1}.bias"] = (width,)
    for layer in wide:
        shapes |= {f"{layer}.weight": (hidden, width), f"{layer}.bias": (hidden,)}
    return shapes


def pieces_of(design: Architecture, config: dict[str, Any]) -> dict[str, Piece]:
    """Where each of their weights comes from."""
    embedding = Piece("embedding.weight")
    pieces = {"backbone.embeddings.word_embeddings.weight": embedding, _TIED: embedding}
    if design.position == "learned":
        pieces["backbone.embeddings.position_embeddings.weight"] = Piece("positions.weight")
    pieces |= _affine("backbone.ln_f", "final_norm")
    for i in range(len(design.blocks)):
        layer, ours = f"backbone.layers.{i}", f"blocks.{i}"
        pieces |= _affine(f"{layer}.norm1", f"{ours}.norm")
        pieces |= _affine(f"{layer}.norm2", f"{ours}.channel_norm")
        for kind, mine in (("sequence_mixer", "sequence"), ("state_mixer", "channel")):
            prefix, name, options = _of_layer(config[kind], i)
            found = _mixer_pieces(name, _mixer_shapes(name, options, design.d_model))
            place = f"{layer}.{kind}.{prefix}".removesuffix(".")
            pieces |= under(place, found, f"{ours}.{mine}")
    return pieces


def _affine(theirs: str, ours: str) -> dict[str, Piece]:
    return {f"{theirs}.{part}": Piece(f"{ours}.{part}") for part in ("weight", "bias")}


def _mixer_pieces(name: str, shapes: Shapes) -> dict[str, Piece]:
    def rows(ours: str, *theirs: str) -> dict[str, Piece]:
        return split(ours, {part: shapes[part][0] for part in theirs})

    if name == "based":
        return rows("query_key.weight", "proj_q.weight", "proj_k.weight") | {
            "proj_v.weight": Piece("value.weight"),
            "proj_o.weight": Piece("output.weight"),
        }
    if name == "gla":
        joint = rows("query_key_value.weight", "q_proj.weight", "k_proj.weight", "v_proj.weight")
        decay = {f"gk_proj.{p}": Piece(f"decay.{p}") for p in ("0.weight", "1.weight", "1.bias")}
        other = {"g_proj.weight": Piece("gate.weight"), "o_proj.weight": Piece("output.weight")}
        return joint | decay | other
    if name == "rwkv_channel_mix":
        mixes = {"time_mix_k": Piece("key_mix"), "time_mix_r": Piece("gate_mix")}
        maps = {"key": "key", "receptance": "gate", "value": "value"}
        return mixes | {f"{t}.weight": Piece(f"{o}.weight") for t, o in maps.items()}
    if name == "mlp":
        return _affine("fc1", "widen") | _affine("fc2", "output")
    if name == "glu":
        found = _affine("fc3", "output")
        for part in ("weight", "bias"):
            found |= rows(f"value_gate.{part}", f"fc1.{part}", f"fc2.{part}")
        return found
    return {}


def _render(file: ArchitectureFile) -> str:
    return json.dumps(config_of(file), indent=2, allow_nan=False) + "\n"


def _weights(weights: bytes, file: ArchitectureFile) -> bytes:
    config = config_of(file)
    return renamed(weights, pieces_of(file.architecture, config), shapes_of(config))


def _verify(path: Path, file: ArchitectureFile, ours: bytes | None = None) -> str:
    """Compares parameters, config and weights: the library may not be here."""
    found, wanted = json.loads(path.read_text(encoding="utf-8")), config_of(file)
    check_written(path, file, found, wanted, shapes_of(found), _TIED)
    if file.weights is not None and ours is not None:
        pieces = pieces_of(file.architecture, wanted)
        check_renamed(path.parent / file.weights.file, ours, pieces, _TIED)
    return not_run(_LIBRARY)


EXPORTER = Exporter(".zoology.json", _render, _verify, _weights)

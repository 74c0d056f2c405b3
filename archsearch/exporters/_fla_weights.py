"""The weights of flash-linear-attention's models: names and shapes by its rules, and where from."""

from __future__ import annotations

from typing import Any, Final

from archsearch.architecture import Architecture
from archsearch.exporters._foreign import Piece, Shapes, split, under
from archsearch.mixers.gla.spec import RANK

MLP_MULTIPLE: Final = 256
"""What hidden widths are rounded up to where only a ratio is known."""

_VALUE_FACTOR: Final = 0.1**0.5
"""y / sqrt(|y|^2 + 1e-5) is z / sqrt(|z|^2 + 1e-6) for z = sqrt(0.1) y."""

_NAMES: Final = {
    "mamba": ("backbone", "norm", "mixer", "", "norm_f"),
    "samba": ("backbone", "mixer_norm", "mixer", "mlp_norm", "norm_f"),
    **dict.fromkeys(
        ("gla", "retnet", "transformer"), ("model", "attn_norm", "attn", "mlp_norm", "norm")
    ),
}
"""What is called how: the trunk, a layer's norm, mixer and second norm, and the last norm."""

_MAMBA: Final = {
    "in_proj.weight": Piece("input.weight"),
    "conv1d.weight": Piece("convolution.conv.weight"),
    "conv1d.bias": Piece("convolution.conv.bias"),
    "x_proj.weight": Piece("selection.weight"),
    "dt_proj.weight": Piece("step_size.weight"),
    "dt_proj.bias": Piece("step_size.bias"),
    "A_log": Piece("log_rate", transposed=True),
    "D": Piece("skip"),
    "out_proj.weight": Piece("output.weight"),
}


def shapes_of(config: dict[str, Any]) -> Shapes:
    """Their parameters by name, a tied head left out, as their rules make them from a config."""
    family, width = config["model_type"], config["hidden_size"]
    root, first, mixer, second, last = _NAMES[family]
    shapes: Shapes = {f"{root}.embeddings.weight": (config["vocab_size"], width)}
    attention = {i: spec for spec in config.get("attn") or () for i in spec["layers"]}
    for i in range(config["num_hidden_layers"]):
        layer = f"{root}.layers.{i}"
        shapes[f"{layer}.{first}.weight"] = (width,)
        own = _mixer_shapes(config, attention.get(i))
        shapes |= {f"{layer}.{mixer}.{name}": shape for name, shape in own.items()}
        if second:
            hidden = config.get("intermediate_size")
            if hidden is None:
                least = int(width * config["hidden_ratio"] * 2 / 3)
                hidden = -(-least // MLP_MULTIPLE) * MLP_MULTIPLE
            shapes[f"{layer}.{second}.weight"] = (width,)
            shapes[f"{layer}.mlp.gate_proj.weight"] = (hidden, width)
            shapes[f"{layer}.mlp.up_proj.weight"] = (hidden, width)
            shapes[f"{layer}.mlp.down_proj.weight"] = (width, hidden)
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (config["vocab_size"], width)
    return shapes | {f"{root}.{last}.weight": (width,)}


def _mixer_shapes(config: dict[str, Any], attention: dict[str, Any] | None) -> Shapes:
    width = config["hidden_size"]
    if attention is None and config["model_type"] == "transformer":
        attention = config
    if attention is not None:
        grouped = width // attention["num_heads"] * attention["num_kv_heads"]
        return _projections(width, width, grouped, grouped)
    if config["model_type"] in ("mamba", "samba"):
        return _mamba_shapes(config)
    keys, values = round(config["expand_k"] * width), round(config["expand_v"] * width)
    shapes = _projections(width, keys, keys, values) | {"g_proj.weight": (values, width)}
    shapes["o_proj.weight"] = (width, values)
    if config["elementwise_affine"]:
        shapes["g_norm_swish_gate.weight"] = (values // config["num_heads"],)
    if config["model_type"] == "gla":
        shapes["gk_proj.0.weight"] = (RANK, width)
        shapes["gk_proj.1.weight"] = (keys, RANK)
        shapes["gk_proj.1.bias"] = (keys,)
    return shapes


def _projections(width: int, queries: int, keys: int, values: int) -> Shapes:
    rows = {"q_proj": queries, "k_proj": keys, "v_proj": values, "o_proj": width}
    return {f"{name}.weight": (count, width) for name, count in rows.items()}


def _mamba_shapes(config: dict[str, Any]) -> Shapes:
    width, states = config["hidden_size"], config["state_size"]
    inner = config["expand"] * width
    rank = config.get("dt_rank", config.get("time_step_rank"))
    return {
        "in_proj.weight": (2 * inner, width),
        "conv1d.weight": (inner, 1, config["conv_kernel"]),
        "conv1d.bias": (inner,),
        "x_proj.weight": (rank + 2 * states, inner),
        "dt_proj.weight": (inner, rank),
        "dt_proj.bias": (inner,),
        "A_log": (inner, states),
        "D": (inner,),
        "out_proj.weight": (width, inner),
    }


def pieces_of(design: Architecture, config: dict[str, Any]) -> dict[str, Piece]:
    """Where each of their weights comes from."""
    root, first, mixer, second, last = _NAMES[config["model_type"]]
    shapes = shapes_of(config)
    pieces = {
        f"{root}.embeddings.weight": Piece("embedding.weight"),
        f"{root}.{last}.weight": Piece("final_norm.weight"),
    }
    for i, block in enumerate(design.blocks):
        theirs = f"{root}.layers.{i}"
        found = {f"{first}.weight": Piece("norm.weight")}
        found |= under(mixer, _mixer_pieces(block.sequence.name, shapes, f"{theirs}.{mixer}"),
                       "sequence")  # fmt: skip
        if second:
            hidden = shapes[f"{theirs}.mlp.gate_proj.weight"][0]
            rows = {"mlp.gate_proj.weight": hidden, "mlp.up_proj.weight": hidden}
            found |= split("channel.gate_value.weight", rows)
            found["mlp.down_proj.weight"] = Piece("channel.output.weight")
            found[f"{second}.weight"] = Piece("channel_norm.weight")
        pieces |= under(theirs, found, f"blocks.{i}")
    return pieces


def _mixer_pieces(name: str, shapes: Shapes, place: str) -> dict[str, Piece]:
    if name == "mamba":
        return _MAMBA
    projections = [f"{part}_proj.weight" for part in "qkv"]
    rows = {part: shapes[f"{place}.{part}"][0] for part in projections}
    found = split("query_key_value.weight", rows)
    found["o_proj.weight"] = Piece("output.weight")
    if name in ("gla", "retnet"):
        found["v_proj.weight"] = found["v_proj.weight"]._replace(factor=_VALUE_FACTOR)
        found["g_proj.weight"] = Piece("gate.weight")
    if name == "gla":
        parts = ("0.weight", "1.weight", "1.bias")
        found |= {f"gk_proj.{part}": Piece(f"decay.{part}") for part in parts}
    return found

"""A folder that ``AutoModelForCausalLM.from_pretrained(..., trust_remote_code=True)`` loads.

Without weights ``AutoModelForCausalLM.from_config`` does, from the folder's config.
The network is the file of ``pytorch``; beside it stands what transformers want around it.
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from archsearch.exporters._code import code_of
from archsearch.exporters.base import ArchitectureFile, Exporter

NETWORK: Final = "network_archsearch"
MODULE: Final = "modeling_archsearch"
_CONFIG_CLASS, _MODEL_CLASS = "ArchsearchConfig", "ArchsearchForCausalLM"
PREFIX: Final = "model."
"""Before the names of our weights: the network is a part of what transformers want."""
_NOT_LOADED: Final = (
    "not loaded by transformers, which cannot be imported; network and weights were compared"
)


def _config(file: ArchitectureFile) -> dict[str, Any]:
    return {
        "model_type": "archsearch",
        "architectures": [_MODEL_CLASS],
        "auto_map": {
            "AutoConfig": f"{MODULE}.{_CONFIG_CLASS}",
            "AutoModelForCausalLM": f"{MODULE}.{_MODEL_CLASS}",
        },
        "vocab_size": file.task.vocab_size,
        "hidden_size": file.architecture.d_model,
        "num_hidden_layers": len(file.architecture.blocks),
        "max_position_embeddings": file.built_length,
        "tie_word_embeddings": False,
        "use_cache": True,
        "archsearch": file.plain(),
    }


def _modeling() -> str:
    return (files("archsearch.exporters") / "modeling.py.in").read_text("utf-8")


def _render(file: ArchitectureFile) -> dict[str, str]:
    return {
        "config.json": json.dumps(_config(file), indent=2, allow_nan=False) + "\n",
        # its load_weights knows our names, not those of the weights in the folder
        f"{NETWORK}.py": code_of(file, weights=None),
        f"{MODULE}.py": _modeling(),
    }


def _with_prefix(weights: bytes, file: ArchitectureFile) -> bytes:
    """Our safetensors file as transformers name and mark it."""
    from safetensors.numpy import load, save

    return save({PREFIX + k: v for k, v in load(weights).items()}, metadata={"format": "pt"})


def _verify(path: Path, file: ArchitectureFile, ours: bytes | None = None) -> str | None:
    """Compares the network, and all of the folder through transformers where these are."""
    from archsearch.exporters._transformers import check_loaded
    from archsearch.exporters._verify import (
        MismatchError,
        check_config,
        check_equal,
        check_weights,
        imported,
        tensors_of,
    )

    try:
        network = imported(path / f"{NETWORK}.py").build()
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except Exception as error:
        kind = type(error).__name__
        raise MismatchError(f"{path}: cannot be rebuilt: {kind}: {error}") from error
    check_equal(str(path), file, network)
    check_config(str(path / "config.json"), config, _config(file))
    if (path / f"{MODULE}.py").read_text(encoding="utf-8") != _modeling():
        raise MismatchError(f"{path / MODULE}.py: is not what archsearch ships")
    tensors = None if ours is None else tensors_of(ours)
    if file.weights is not None and tensors is not None:
        found = tensors_of((path / file.weights.file).read_bytes())
        wanted = {PREFIX + name: value for name, value in tensors.items()}
        check_weights(str(path / file.weights.file), found, wanted)
    return None if check_loaded(path, file, tensors) else _NOT_LOADED


EXPORTER = Exporter(
    "",
    _render,
    _verify,
    _with_prefix,
    unweighted="from_pretrained cannot load the folder, for there are no weights in it;"
    " AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder, trust_remote_code=True),"
    " trust_remote_code=True) draws them",
)

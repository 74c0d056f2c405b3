"""A folder that ``AutoModelForCausalLM.from_pretrained(..., trust_remote_code=True)`` loads.

The network is the file of ``pytorch``; beside it stands what transformers want around it.
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Final

from archsearch.exporters._code import code_of
from archsearch.exporters.base import ArchitectureFile, Exporter

NETWORK: Final = "network_archsearch"
MODULE: Final = "modeling_archsearch"
_CONFIG_CLASS, _MODEL_CLASS = "ArchsearchConfig", "ArchsearchForCausalLM"
PREFIX: Final = "model."
"""Before the names of our weights: the network is a part of what transformers want."""


def _render(file: ArchitectureFile) -> dict[str, str]:
    config = {
        "model_type": "archsearch",
        "architectures": [_MODEL_CLASS],
        "auto_map": {
            "AutoConfig": f"{MODULE}.{_CONFIG_CLASS}",
            "AutoModelForCausalLM": f"{MODULE}.{_MODEL_CLASS}",
        },
        "vocab_size": file.task.vocab_size,
        "hidden_size": file.architecture.d_model,
        "num_hidden_layers": len(file.architecture.blocks),
        "max_position_embeddings": file.task.longest_length,
        "tie_word_embeddings": False,
        "use_cache": True,
        "archsearch": file.plain(),
    }
    return {
        "config.json": json.dumps(config, indent=2, allow_nan=False) + "\n",
        f"{NETWORK}.py": code_of(file),
        f"{MODULE}.py": (files("archsearch.exporters") / "modeling.py.in").read_text("utf-8"),
    }


def _with_prefix(weights: bytes, file: ArchitectureFile) -> bytes:
    """Our safetensors file as transformers name and mark it."""
    from safetensors.numpy import load, save

    return save({PREFIX + k: v for k, v in load(weights).items()}, metadata={"format": "pt"})


def _verify(path: Path, file: ArchitectureFile) -> None:
    """Compares the network; what stands around it needs transformers, which may not be here."""
    from safetensors.torch import load_file

    from archsearch.exporters._verify import MismatchError, check_equal, imported

    try:
        network = imported(path / f"{NETWORK}.py").build()
    except Exception as error:
        kind = type(error).__name__
        raise MismatchError(f"{path}: cannot be rebuilt: {kind}: {error}") from error
    check_equal(str(path), file, network)
    if file.weights is not None:
        found = load_file(path / file.weights.file)
        own = {PREFIX + name: value for name, value in network.state_dict().items()}
        shapes = [
            {name: tuple(value.shape) for name, value in part.items()} for part in (found, own)
        ]
        if shapes[0] != shapes[1]:
            raise MismatchError(f"{path}: {file.weights.file} is not of the design")


EXPORTER = Exporter("", _render, _verify, _with_prefix)

"""A folder that ``AutoModelForCausalLM.from_pretrained(..., trust_remote_code=True)`` loads."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Final

from archsearch.canonical import readable
from archsearch.exporters.base import ArchitectureFile, Exporter
from archsearch.exporters.pytorch import assembly, costs_of, papers_of, source_line, source_of

if TYPE_CHECKING:
    from types import ModuleType

MODULE: Final = "modeling_archsearch"
_CONFIG_CLASS, _MODEL_CLASS = "ArchsearchConfig", "ArchsearchForCausalLM"
PREFIX: Final = "model."
"""Before the names of our weights: the network is a part of what transformers want."""

_IMPORTS = """\
from dataclasses import dataclass as _dataclass
from typing import Any as _Any

from transformers import GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput
"""

_CLASSES = (files("archsearch.exporters") / "huggingface.py.in").read_text(encoding="utf-8")
"""Configuration and model as transformers want them, behind the design's own code."""


def _modelling(file: ArchitectureFile) -> str:
    source = source_of(file.architecture)
    head = [
        *wrap(readable(file.architecture), 96),
        "",
        *costs_of(file),
        *wrap(source_line(file), 96),
        "",
        *papers_of(file),
    ]
    imports = source.imports.replace("import torch\n", f"import torch\n{_IMPORTS}", 1)
    text = "\n".join(head)
    return (
        f'"""{text}\n"""\n\nfrom __future__ import annotations\n\n{imports}\n{source.body}'
        "\n\n# the design\n\n"
        f"VOCAB_SIZE, WIDTH = {file.task.vocab_size}, {file.architecture.d_model}\n"
        f"DEPTH, MAX_LENGTH = {len(file.architecture.blocks)}, {file.task.longest_length}\n\n\n"
        "def build(seed: int = 0) -> HybridModel:\n"
        '    """The network, its weights drawn by a generator of its own."""\n'
        f"    model = {assembly(file, source)}\n"
        "    initialise(model, seed)\n"
        "    return model\n"
        f"{_CLASSES}"
    )


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
        f"{MODULE}.py": _modelling(file),
    }


def _with_prefix(weights: bytes) -> bytes:
    """Our safetensors file as transformers name and mark it."""
    from safetensors.numpy import load, save

    return save({PREFIX + k: v for k, v in load(weights).items()}, metadata={"format": "pt"})


def _verify(path: Path, file: ArchitectureFile) -> None:
    """Compares the network itself; the classes around it need transformers."""
    from safetensors.torch import load_file

    from archsearch.exporters._verify import MismatchError, check_equal

    try:
        network = _imported(path / f"{MODULE}.py").build()
    except Exception as error:
        kind = type(error).__name__
        raise MismatchError(f"{path}: cannot be rebuilt: {kind}: {error}") from error
    check_equal(str(path), file, network, network)
    if file.weights is not None:
        found = load_file(path / file.weights.file)
        own = {PREFIX + name: value for name, value in network.state_dict().items()}
        shapes = [
            {name: tuple(value.shape) for name, value in part.items()} for part in (found, own)
        ]
        if shapes[0] != shapes[1]:
            raise MismatchError(f"{path}: {file.weights.file} is not of the design")


def _imported(path: Path) -> ModuleType:
    """The network's code alone: the classes around it need transformers, which may not be here."""
    from tempfile import TemporaryDirectory

    from archsearch.exporters._verify import imported

    text = path.read_text(encoding="utf-8").replace(_IMPORTS, "").replace(_CLASSES, "")
    with TemporaryDirectory() as folder:
        alone = Path(folder) / path.name
        alone.write_text(text, encoding="utf-8")
        return imported(alone)


EXPORTER = Exporter("", _render, _verify, _with_prefix)

"""What the tests of formats for other libraries share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from archsearch.architecture import Block, Component
from archsearch.exporters import exporters, write
from archsearch.exporters._verify import MismatchError, own_model
from archsearch.exporters.base import ArchitectureFile, Weights
from archsearch.training import save_weights


def part(name: str, **options: Any) -> Component:
    return Component(name=name, options=options)


def block(sequence: Component, channel: Component, **other: Any) -> Block:
    return Block(sequence=sequence, channel=channel, **other)


def exported(
    name: str, file: ArchitectureFile, folder: Path
) -> tuple[Path, ArchitectureFile, dict[str, Tensor]]:
    """A verified export with weights that are all different; and our weights."""
    exporter = exporters.get(name)
    model = own_model(file)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(generator=generator)
    ours = folder / "ours.safetensors"
    save_weights(model, ours)
    path = folder / f"d{exporter.suffix}"
    told = write(file, exporter, path, ours.read_bytes())
    assert told is not None
    assert told.startswith("logits were not compared: ")
    return path, file, model.state_dict()


def check_every_value(
    name: str, file: ArchitectureFile, folder: Path, weights: str, wrong: tuple[str, str, str]
) -> None:
    """Each weight with one value turned round, and a config with one key changed, are found.

    Args:
        name: The format's.
        file: A design that it can write.
        folder: To write it to.
        weights: Their name, as seen from the folder.
        wrong: A key of the config, its line, and another one.
    """
    exporter = exporters.get(name)
    path, file, _ = exported(name, file, folder)
    kept = folder / weights
    named = Weights(file=kept.name, sha256="0" * 64)
    file = file.model_copy(update={"weights": named})
    ours = (folder / "ours.safetensors").read_bytes()
    exporter.verify(path, file, ours)
    theirs, right = load_file(kept), kept.read_bytes()
    for name, value in theirs.items():
        for place in (0, -1):
            other = value.clone()
            other.view(-1)[place] *= -1
            save_file({**theirs, name: other}, kept)
            with pytest.raises(MismatchError, match=f"the weights {name} are not the design's"):
                exporter.verify(path, file, ours)
    kept.write_bytes(right)
    key, old, new = wrong
    config = path if path.is_file() else path / "config.json"
    text = config.read_text()
    assert old in text
    config.write_text(text.replace(old, new))
    with pytest.raises(MismatchError, match=f"'{key}' is not the design's"):
        exporter.verify(path, file, ours)

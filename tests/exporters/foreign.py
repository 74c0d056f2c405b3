"""What the tests of formats for other libraries share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from archsearch.architecture import Block, Component
from archsearch.exporters import exporters, write
from archsearch.exporters._verify import own_model
from archsearch.exporters.base import ArchitectureFile
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
    write(file, exporter, path, ours.read_bytes())
    return path, file, model.state_dict()

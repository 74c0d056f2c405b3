"""Weights from a safetensors file, with torch alone: nothing in the file is executed."""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
from torch import nn

TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@torch.no_grad()
def load_weights(model: nn.Module, path: str | Path) -> None:
    """Fills a model; every name and shape is checked before the first is touched.

    Raises:
        ValueError: The file is not of this model, or is damaged.
    """
    data = bytearray(Path(path).read_bytes())
    size = int.from_bytes(data[:8], "little")
    if size > len(data) - 8:
        raise ValueError(f"{path}: not a safetensors file, or cut short")
    entries = json.loads(data[8 : 8 + size])
    entries.pop("__metadata__", None)
    wanted = model.state_dict()
    if entries.keys() != wanted.keys():
        names = sorted(entries.keys() ^ wanted.keys())
        raise ValueError(f"{path}: weights of another design ({', '.join(names[:3])} ...)")
    for name, entry in entries.items():
        first, last = entry["data_offsets"]
        length = math.prod(entry["shape"]) * TYPES[entry["dtype"]].itemsize
        if tuple(entry["shape"]) != tuple(wanted[name].shape):
            raise ValueError(f"{path}: {name} is {entry['shape']}, not {list(wanted[name].shape)}")
        if not 0 <= first <= last == first + length <= len(data) - 8 - size:
            raise ValueError(f"{path}: {name}: damaged, or cut short")
    for name, entry in entries.items():
        first, _ = entry["data_offsets"]
        kind, shape = TYPES[entry["dtype"]], entry["shape"]
        count = math.prod(shape)
        part = torch.frombuffer(data, dtype=kind, count=count, offset=8 + size + first)
        wanted[name].copy_(part.view(shape))

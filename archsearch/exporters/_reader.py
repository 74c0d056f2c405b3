"""Weights from a safetensors file, with torch alone: nothing in the file is executed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

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
MOST_HEADER = 100_000_000
"""Bytes of a header; the format allows no more."""


class Entry(NamedTuple):
    """One tensor of a file: its type and shape, and where its bytes begin and end."""

    dtype: torch.dtype
    shape: list[int]
    begin: int
    end: int


def checked_entries(path: str | Path, wanted: Mapping[str, Tensor]) -> dict[str, Entry]:
    """The tensors of a file by name, in the order of their bytes; only the header is read.

    Args:
        path: A safetensors file.
        wanted: What must be in it, and nothing else; tensors on the meta device will do.

    Raises:
        ValueError: The file is not of this model, or is damaged.
    """
    entries = _entries(Path(path))
    if entries.keys() != wanted.keys():
        names = sorted(entries.keys() ^ wanted.keys())
        raise ValueError(f"{path}: weights of another design ({', '.join(names[:3])} ...)")
    for name, entry in entries.items():
        shape, dtype = list(wanted[name].shape), wanted[name].dtype
        if entry.shape != shape:
            raise ValueError(f"{path}: {name} is {entry.shape}, not {shape}")
        if entry.dtype.is_floating_point != dtype.is_floating_point:
            raise ValueError(f"{path}: {name} holds {entry.dtype}, not {dtype}")
    return entries


def _entries(path: Path) -> dict[str, Entry]:
    total = path.stat().st_size
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if total < 8 or size > min(total - 8, MOST_HEADER):
            raise ValueError(f"{path}: not a safetensors file, or cut short")
        text = file.read(size)
    try:
        header = json.loads(text)
        header.pop("__metadata__", None)
        found = {name: _entry(entry, 8 + size) for name, entry in header.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ValueError(f"{path}: its header is damaged, or not of a safetensors file") from None
    # one behind the other without gaps, to the end of the file
    here = 8 + size
    in_order = dict(sorted(found.items(), key=lambda item: (item[1].begin, item[1].end)))
    for name, entry in in_order.items():
        if entry.begin != here:
            raise ValueError(f"{path}: {name}: damaged, or cut short")
        here = entry.end
    if here != total:
        raise ValueError(f"{path}: damaged, or cut short")
    return in_order


def _entry(told: Any, start: int) -> Entry:
    dtype, shape, (begin, end) = TYPES[told["dtype"]], told["shape"], told["data_offsets"]
    if not isinstance(shape, list) or any(type(n) is not int for n in (*shape, begin, end)):
        raise TypeError
    if min(*shape, begin, end) < 0 or end - begin != math.prod(shape) * dtype.itemsize:
        raise ValueError
    return Entry(dtype, shape, start + begin, start + end)


@torch.no_grad()
def load_weights(model: nn.Module, path: str | Path) -> None:
    """Fills a model; every name, shape, type and place is checked before the first is touched.

    Raises:
        ValueError: The file is not of this model, or is damaged.
    """
    wanted = model.state_dict()
    entries = checked_entries(path, wanted)
    with Path(path).open("rb") as file:
        for name, entry in entries.items():
            file.seek(entry.begin)
            data = bytearray(file.read(entry.end - entry.begin))
            if data:
                part = torch.frombuffer(data, dtype=entry.dtype)
                wanted[name].copy_(part.view(entry.shape))

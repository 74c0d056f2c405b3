"""Weight files are checked by their header before memory is taken; damage is a line."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import archsearch
from archsearch import model as models
from archsearch.errors import StoreError
from archsearch.exporters import exporters, write
from archsearch.exporters._reader import checked_entries, load_weights
from archsearch.exporters._verify import own_model
from archsearch.training import save_weights

from .test_pytorch import MIXED, with_mixer


def container(header: Any, data: bytes = b"\0" * 8, size: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if size is None else size).to_bytes(8, "little") + text + data


def entry(**changes: Any) -> dict[str, Any]:
    return {"weight": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8], **changes}}


MAP = nn.Linear(2, 1, bias=False)


def test_what_is_whole_is_read(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    values = torch.tensor([[1.0, 2.0]])
    for dtype, size in (("F32", 8), ("F16", 4), ("F64", 16)):
        data = values.to({"F32": torch.float32, "F16": torch.float16, "F64": torch.float64}[dtype])
        header = {"__metadata__": {"a": "b"}, **entry(dtype=dtype, data_offsets=[0, size])}
        path.write_bytes(container(header, data.numpy().tobytes()))
        model = nn.Linear(2, 1, bias=False)
        load_weights(model, path)
        assert torch.equal(model.weight, values)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a safetensors file, or cut short"),
        (b"abc", "not a safetensors file, or cut short"),
        (container(entry(), size=2**63), "not a safetensors file, or cut short"),
        (container(b"{"), "its header is damaged"),
        (container(b"\xff\xfe{}"), "its header is damaged"),
        (container(b"[" * 100_000), "its header is damaged"),
        (container([]), "its header is damaged"),
        (container(3), "its header is damaged"),
        (container({"weight": 3}), "its header is damaged"),
        (container({"weight": {}}), "its header is damaged"),
        (container(entry(dtype="F8")), "its header is damaged"),
        (container(entry(dtype=["F32"])), "its header is damaged"),
        (container(entry(shape=2)), "its header is damaged"),
        (container(entry(shape=[1, "2"])), "its header is damaged"),
        (container(entry(shape=[-1, -2])), "its header is damaged"),
        (container(entry(shape=[1, 2.0])), "its header is damaged"),
        (container(entry(shape=[True, 2])), "its header is damaged"),
        (container(entry(data_offsets=[0])), "its header is damaged"),
        (container(entry(data_offsets=[0, 8, 16])), "its header is damaged"),
        (container(entry(data_offsets=None)), "its header is damaged"),
        (container(entry(data_offsets=[0, 4])), "its header is damaged"),
        (container(entry(data_offsets=[-8, 0])), "its header is damaged"),
        (container(entry(data_offsets=[8, 16]), b"\0" * 16), "weight: damaged, or cut short"),
        (container(entry(), b"\0" * 7), "damaged, or cut short"),
        (container(entry(), b"\0" * 9), "damaged, or cut short"),
        (container({}, b""), "weights of another design"),
        (container(entry(shape=[2, 1])), r"weight is \[2, 1\], not \[1, 2\]"),
        (container(entry(dtype="I32")), "weight holds torch.int32, not torch.float32"),
    ],
    ids=lambda value: None if isinstance(value, bytes) else value[:20],
)
def test_damage_is_a_line(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    before = MAP.weight.clone()
    with pytest.raises(ValueError, match=message) as caught:
        load_weights(MAP, path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert torch.equal(MAP.weight, before)


def test_a_file_larger_than_memory_costs_none(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(container(entry(shape=[2**30, 2**7], data_offsets=[0, 2**39]), b""))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + 2**39)
    with pytest.raises(ValueError, match="weight is"):
        load_weights(MAP, path)
    with torch.device("meta"):
        large = nn.Linear(2**7, 2**30, bias=False)
    [found] = checked_entries(path, large.state_dict()).values()
    assert found.end - found.begin == 2**39


def test_a_network_is_not_built_for_weights_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "w.safetensors"
    save_weights(own_model(MIXED), weights)
    write(MIXED, exporters.get("json"), tmp_path / "d.json", weights.read_bytes())
    built = []
    build = models.build_model

    def watched(*arguments: Any) -> nn.Module:
        built.append(str(torch.get_default_device()))
        return build(*arguments)

    monkeypatch.setattr(models, "build_model", watched)
    archsearch.load(tmp_path / "d.json")
    assert built == ["meta", "cpu"]
    save_weights(own_model(with_mixer("mamba")), weights)
    whole = weights.read_bytes()
    for content, message in (
        (whole, "weights of another design"),
        (whole[:-3], "damaged, or cut short"),
        (container(b"{"), "its header is damaged"),
    ):
        built.clear()
        (tmp_path / "d.safetensors").write_bytes(content)
        told = json.loads((tmp_path / "d.json").read_text())
        told["weights"]["sha256"] = hashlib.sha256(content).hexdigest()
        (tmp_path / "d.json").write_text(json.dumps(told))
        with pytest.raises(StoreError, match=message):
            archsearch.load(tmp_path / "d.json")
        assert built == ["meta"]

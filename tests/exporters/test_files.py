"""The files of an export: in which order they come, and whose they are."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import archsearch
from archsearch.errors import InputError, StoreError
from archsearch.exporters import _writing, exporters, write
from archsearch.exporters._verify import own_model
from archsearch.model import initialise
from archsearch.training import save_weights

from .test_pytorch import with_mixer

FILE = with_mixer("short_conv")


def weights(folder: Path, seed: int = 0) -> bytes:
    """A safetensors file of the design."""
    model = own_model(FILE)
    initialise(model, seed)
    save_weights(model, folder / "weights")
    content = (folder / "weights").read_bytes()
    (folder / "weights").unlink()
    return content


def put(path: Path, content: bytes | None = None) -> None:
    write(
        FILE, exporters.get(path.suffix[1:].replace("py", "pytorch")), path, content, verify=False
    )


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_weights_come_before_what_names_them_and_checksums_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    replace = Path.replace

    def watched(self: Path, target: Path) -> Path:
        if target.parent == tmp_path:
            done.append(target.name)
        return replace(self, target)

    data = weights(tmp_path)
    monkeypatch.setattr(Path, "replace", watched)
    monkeypatch.setattr(_writing, "sync", lambda folder: done.append(f"sync {folder}"))
    put(tmp_path / "d.yaml", data)
    assert done == ["d.safetensors", "d.yaml", "d.yaml.sha256", f"sync {tmp_path}"]


def test_old_weights_go_with_the_export_that_they_belong_to(tmp_path: Path) -> None:
    data = weights(tmp_path)
    put(tmp_path / "d.yaml", data)
    put(tmp_path / "d.yaml")
    assert names(tmp_path) == {"d.yaml", "d.yaml.sha256"}
    run = ["sha256sum", "-c", "d.yaml.sha256"]
    assert subprocess.run(run, cwd=tmp_path, capture_output=True, check=False).returncode == 0
    # of nobody, or of another as well: they stay
    (tmp_path / "d.safetensors").write_bytes(data)
    put(tmp_path / "d.yaml")
    assert "d.safetensors" in names(tmp_path)
    put(tmp_path / "d.yaml", data)
    put(tmp_path / "d.json", data)
    put(tmp_path / "d.yaml")
    archsearch.load(tmp_path / "d.json")
    put(tmp_path / "d.json")
    assert "d.safetensors" not in names(tmp_path)


def test_weights_of_another_export_are_not_overwritten(tmp_path: Path) -> None:
    one, two = weights(tmp_path), weights(tmp_path, seed=1)
    put(tmp_path / "d.yaml", one)
    # the same weights, for another format
    put(tmp_path / "d.py", one)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    message = r"d\.safetensors' is of another export, 'd\.py\.sha256' names it"
    with pytest.raises(InputError, match=message):
        put(tmp_path / "d.yaml", two)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    with pytest.raises(InputError, match="is of another export"):
        put(tmp_path / "d.json", two)
    put(tmp_path / "d.yaml")
    put(tmp_path / "d.py", two)
    with pytest.raises(StoreError, match="cannot be written"):
        put(tmp_path / "d.py" / "d.yaml")


def test_what_is_no_export_is_not_overwritten(tmp_path: Path) -> None:
    data = weights(tmp_path)
    for name in ("d.yaml", "d.safetensors", "d.yaml.sha256"):
        (tmp_path / name).write_text("mine")
        with pytest.raises(InputError, match=f"{name}' is there already and is no export, for no"):
            put(tmp_path / "d.yaml", data)
        assert names(tmp_path) == {name}
        assert (tmp_path / name).read_text() == "mine"
        (tmp_path / name).unlink()
    # what was moved before the checksums came, when something killed us
    put(tmp_path / "d.yaml", data)
    (tmp_path / "d.yaml.sha256").unlink()
    put(tmp_path / "d.yaml", data)
    # and an earlier export is replaced, whatever became of it
    (tmp_path / "d.yaml").write_text("edited")
    put(tmp_path / "d.yaml", data)
    archsearch.load(tmp_path / "d.yaml")


@pytest.mark.parametrize("name", ["d.yaml", "d.safetensors", "d.yaml.sha256"])
def test_a_folder_in_the_way_is_found_before_anything_is_written(tmp_path: Path, name: str) -> None:
    data = weights(tmp_path)
    (tmp_path / name).mkdir()
    unverifiable = exporters.get("yaml")._replace(verify=lambda *_: pytest.fail("verified"))
    with pytest.raises(InputError, match=f"{name}' is a folder; give the name of a file"):
        write(FILE, unverifiable, tmp_path / "d.yaml", data)
    assert names(tmp_path) == {name}
    # checksums of nobody's are no checksums
    (tmp_path / name).rename(tmp_path / "other.sha256")
    put(tmp_path / "d.yaml", data)


def test_a_description_that_is_called_as_weights_stays(tmp_path: Path) -> None:
    for _ in range(2):
        write(FILE, exporters.get("yaml"), tmp_path / "d.safetensors", verify=False)
    assert names(tmp_path) == {"d.safetensors", "d.safetensors.sha256"}
    archsearch.load(tmp_path / "d.safetensors")

"""The folder for transformers: the design's own code and weights, and classes that load them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from archsearch.errors import InputError
from archsearch.exporters import _transformers, exporters, write
from archsearch.exporters._verify import MismatchError, own_model
from archsearch.exporters.base import ArchitectureFile, Weights
from archsearch.training import save_weights

from .test_pytorch import MIXED, with_mixer

EXPORTER = exporters.get("huggingface")

LOADED = """
import json, sys, torch
sys.modules["archsearch"] = sys.modules["pydantic"] = None  # as where they are not installed
from transformers import AutoConfig, AutoModelForCausalLM
folder, again = sys.argv[1:]
config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True).eval()
tokens = torch.arange(24).reshape(2, 12) % config.vocab_size
with torch.no_grad():
    logits = model(tokens).logits
    options = {"max_new_tokens": 6, "do_sample": False}
    by_state = model.generate(tokens[:, :8], **options)
    by_all = model.generate(tokens[:, :8], use_cache=False, **options)
    loss = model(tokens, labels=tokens).loss
    beams = model.generate(tokens[:, :8], num_beams=3, **options)
    beams_of_all = model.generate(tokens[:, :8], num_beams=3, use_cache=False, **options)
    told = model.generate(
        tokens[:, :8], output_hidden_states=True, output_attentions=True,
        return_dict_in_generate=True, **options,
    )
    assert set(told.hidden_states) == set(told.attentions) == {None}
    assert told.sequences.tolist() == by_state.tolist()
    model.save_pretrained(again)
    reloaded = AutoModelForCausalLM.from_pretrained(again, trust_remote_code=True)
    same = torch.equal(reloaded.eval()(tokens).logits, logits)
    half = model.bfloat16()(tokens).logits
    assert half.dtype == torch.bfloat16
try:
    model(tokens, attention_mask=torch.tensor([[0] * 3 + [1] * 9, [1] * 12]))
    padding = ""
except ValueError as error:
    padding = str(error)
def refused(**options):
    try:
        model.generate(tokens[:, :8], max_new_tokens=40, do_sample=False, **options)
    except ValueError as error:
        return str(error)
print(json.dumps({
    "beams": beams.tolist(), "beams_of_all": beams_of_all.tolist(),
    "too_long": [refused(), refused(use_cache=False), refused(num_beams=2)],
    "half": half.flatten().tolist(), "logits": logits.flatten().tolist(),
    "by_state": by_state.tolist(), "by_all": by_all.tolist(),
    "loss": loss.item(), "decodes": model.decodes, "same": same, "padding": padding,
    # as Trainer asks: without the attribute it goes by the ** of forward
    "divides_loss": not getattr(model, "accepts_loss_kwargs", True),
}))
"""


def exported(name: str, folder: Path, *, verify: bool = False) -> Path:
    folder.mkdir(exist_ok=True)
    file = MIXED if name == "mixed" else with_mixer(name)
    weights = folder / "w.safetensors"
    save_weights(own_model(file), weights)
    path = folder / "model"
    write(file, EXPORTER, path, weights.read_bytes(), verify=verify)
    return path


def named(file: ArchitectureFile, path: Path) -> ArchitectureFile:
    """The description of an export with weights."""
    weights = path / "model.safetensors"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    return file.model_copy(update={"weights": Weights(file=weights.name, sha256=digest)})


def test_the_folder_describes_itself(tmp_path: Path) -> None:
    path = exported("mixed", tmp_path, verify=True)
    config = json.loads((path / "config.json").read_text())
    assert config["archsearch"]["digest"] == MIXED.digest
    assert (config["vocab_size"], config["hidden_size"], config["num_hidden_layers"]) == (64, 16, 3)
    for where in config["auto_map"].values():
        module, name = where.split(".")
        assert f"class {name}(" in (path / f"{module}.py").read_text()
    ours = own_model(MIXED).state_dict()
    kept = load_file(path / "model.safetensors")
    assert kept.keys() == {f"model.{key}" for key in ours}
    assert all(torch.equal(kept[f"model.{key}"], value) for key, value in ours.items())
    with pytest.raises(InputError, match="is there already; remove it"):
        write(MIXED, EXPORTER, path)


def test_another_function_is_found(tmp_path: Path) -> None:
    path = exported("sliding_window", tmp_path)
    code = path / "network_archsearch.py"
    code.write_text(code.read_text().replace("window=64", "window=5"))
    with pytest.raises(MismatchError, match="logits differ"):
        EXPORTER.verify(path, with_mixer("sliding_window"))


def test_every_value_key_and_line_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_transformers, "check_loaded", lambda *_: None)  # seconds each time
    path = exported("mixed", tmp_path)
    file, ours = named(MIXED, path), (tmp_path / "w.safetensors").read_bytes()
    EXPORTER.verify(path, file, ours)
    weights = path / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 128]))
    with pytest.raises(MismatchError, match=r"the weights model\.\S+ are not the design's"):
        EXPORTER.verify(path, file, ours)
    weights.write_bytes(whole)
    for name, old, new, message in (
        (
            "config.json",
            '"vocab_size": 64,\n  "hidden',
            '"vocab_size": 65,\n  "hidden',
            "vocab_size",
        ),
        ("config.json", '"use_cache": true,', "", "'use_cache' is not the design's"),
        ("config.json", f'"digest": "{MIXED.digest}"', '"digest": ""', "'archsearch' is not"),
        ("modeling_archsearch.py", "return self.model.embedding", "return None", "not what archs"),
    ):
        text = (path / name).read_text()
        assert old in text
        (path / name).write_text(text.replace(old, new))
        with pytest.raises(MismatchError, match=message):
            EXPORTER.verify(path, file, ours)
        (path / name).write_text(text)
    EXPORTER.verify(path, file, ours)


@pytest.mark.slow
def test_what_transformers_make_of_a_folder_is_compared(tmp_path: Path) -> None:
    path = exported("mixed", tmp_path)
    file = named(MIXED, path)
    tensors = load_file(tmp_path / "w.safetensors")
    assert _transformers.check_loaded(path, file, tensors)
    tensors["embedding.weight"] = tensors["embedding.weight"].flip(0)
    with pytest.raises(MismatchError, match="loaded by transformers: logits differ"):
        _transformers.check_loaded(path, file, tensors)
    code = path / "modeling_archsearch.py"
    code.write_text(code.read_text().replace("self.model = build()", "self.model = built()"))
    with pytest.raises(MismatchError, match="cannot be loaded by transformers: NameError"):
        _transformers.check_loaded(path, file, tensors)
    # without weights both sides draw the same ones
    write(MIXED, EXPORTER, tmp_path / "drawn")
    code = tmp_path / "drawn" / "network_archsearch.py"
    code.write_text(
        code.read_text().replace("def build(seed: int = 0)", "def build(seed: int = 1)")
    )
    with pytest.raises(MismatchError, match="loaded by transformers: logits differ"):
        EXPORTER.verify(tmp_path / "drawn", MIXED)


def test_a_folder_without_weights_is_loaded_as_is_said(tmp_path: Path) -> None:
    path = tmp_path / "model"
    write(MIXED, EXPORTER, path, verify=False)
    assert EXPORTER.hints(has_weights=True) == []
    [hint] = EXPORTER.hints(has_weights=False)
    found = re.fullmatch(r"from_pretrained cannot load .* in it; (.+) draws them", hint)
    assert found is not None
    script = f"""
import sys, torch
from transformers import AutoConfig, AutoModelForCausalLM
folder = sys.argv[1]
try:
    AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
except OSError as error:
    assert "model.safetensors" in str(error), error
else:
    raise AssertionError("from_pretrained has loaded it")
print({found[1]}(torch.arange(12)[None]).logits.shape)
"""
    ran = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")},
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "torch.Size([1, 12, 64])\n"
    # the names in a folder's weights are not those that load_weights knows
    assert "load_weights(model, path)" in (path / "network_archsearch.py").read_text()
    assert (
        "load_weights(model, path)"
        in (exported("mixed", tmp_path / "with") / "network_archsearch.py").read_text()
    )


@pytest.mark.parametrize(
    "name",
    [
        "mixed",
        pytest.param("learned_selection", marks=pytest.mark.slow),
        pytest.param("local_global_random", marks=pytest.mark.slow),
    ],
)
def test_transformers_loads_and_generates(name: str, tmp_path: Path) -> None:
    path = exported(name, tmp_path)
    ran = subprocess.run(
        [sys.executable, "-c", LOADED, str(path), str(tmp_path / "again")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")},
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout.splitlines()[-1])
    file = MIXED if name == "mixed" else with_mixer(name)
    ours = own_model(file).eval()
    tokens = torch.arange(24).reshape(2, 12) % 64
    with torch.no_grad():
        expected = ours(tokens)
        text = tokens[:, :8]
        for _ in range(6):
            text = torch.cat((text, ours(text)[:, -1:].argmax(-1)), dim=1)
    torch.testing.assert_close(
        torch.tensor(found["logits"]).view_as(expected), expected, rtol=1e-5, atol=1e-6
    )
    with torch.no_grad():
        half = ours.bfloat16()(tokens).float()
    torch.testing.assert_close(
        torch.tensor(found["half"]).view_as(half), half, rtol=0.02, atol=0.02
    )
    assert found["by_all"] == text.tolist()
    assert found["decodes"]
    if name != "mixed":  # whose window is a policy of the length
        assert found["by_state"] == text.tolist()
    assert found["beams"] == found["beams_of_all"]
    assert len(found["too_long"]) == 3
    assert all("exceeds the model's max_length 40" in text for text in found["too_long"])
    assert found["same"]
    assert found["divides_loss"]
    assert "padding is not supported" in found["padding"]
    assert 0 < found["loss"] < 10

"""A design for Zoology: said exactly, or refused with what differs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from archsearch.errors import InputError
from archsearch.exporters import exporters
from archsearch.exporters._verify import MismatchError
from archsearch.exporters.base import ArchitectureFile, Weights
from archsearch.exporters.zoology import config_of
from archsearch.mixers import specs

from .foreign import block, check_every_value, exported, part
from .test_pytorch import described

EXPORTER = exporters.get("zoology")
MAPPED = {"based", "gla", "mlp", "glu", "zoology_identity", "rwkv_channel_mix"}
BASED = part("based", num_heads=2, feature_dim=8)
GLA = part("gla", num_heads=4, gate_divisor=7)
MLP = part("mlp", expansion=3.0)
GLU = part("glu", expansion=2.0)
IDENTITY = part("zoology_identity")
SHIFT = part("rwkv_channel_mix")

BASED_THERE = {
    "name": "zoology.mixers.based.Based",
    "kwargs": {"feature_dim": 8, "num_heads": 2, "num_key_value_heads": 2,
               "feature_name": "taylor_exp"},
}  # fmt: skip
GLA_THERE = {
    "name": "zoology.mixers.gla.GatedLinearAttention",
    "kwargs": {"num_heads": 4, "expand_k": 0.5, "expand_v": 1.0, "gate_logit_normalizer": 7,
               "gate_low_rank_dim": 16, "elementwise_affine": False, "norm_eps": 1e-5},
}  # fmt: skip
MLP_THERE = {"name": "zoology.mixers.mlp.MLP", "kwargs": {"hidden_mult": 3}}
GLU_THERE = {"name": "zoology.mixers.mlp.GLU", "kwargs": {"hidden_mult": 2}}
IDENTITY_THERE = {"name": "torch.nn.Identity", "kwargs": {}}


def hybrid(*configs: dict[str, Any]) -> dict[str, Any]:
    return {"name": "zoology.mixers.hybrid.Hybrid", "kwargs": {"configs": list(configs)}}


CASES: dict[str, tuple[ArchitectureFile, dict[str, Any]]] = {
    "alike": (
        described(block(BASED, MLP), block(BASED, MLP), position="learned"),
        {"sequence_mixer": BASED_THERE, "state_mixer": MLP_THERE, "n_layers": 2,
         "max_position_embeddings": 40},
    ),
    "different": (
        described(block(BASED, IDENTITY), block(GLA, GLU), block(GLA, SHIFT)),
        {"sequence_mixer": hybrid(BASED_THERE, GLA_THERE, GLA_THERE), "n_layers": 3,
         "state_mixer": hybrid(
             IDENTITY_THERE, GLU_THERE,
             {"name": "zoology.mixers.rwkv.RWKVStateMixer", "kwargs": {"n_layer": 3}},
         ),
         "max_position_embeddings": 0},
    ),
    "one": (
        described(block(GLA, IDENTITY)),
        {"sequence_mixer": GLA_THERE, "state_mixer": IDENTITY_THERE, "n_layers": 1},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_designs_that_are_known_there(name: str, tmp_path: Path) -> None:
    file, wanted = CASES[name]
    path, _, ours = exported("zoology", file, tmp_path)
    config = json.loads(path.read_text())
    assert {key: config[key] for key in wanted} == wanted
    common = {
        "d_model": 16, "vocab_size": 64, "pad_vocab_size_multiple": 1, "resid_dropout": 0.0,
        "embed_dropout": 0.0, "drop_path": 0.0, "layer_norm_epsilon": 1e-5,
        "block_type": "TransformerBlock", "learnable_word_embeddings": True,
    }  # fmt: skip
    assert {key: config[key] for key in common} == common
    run = ["sha256sum", "-c", "d.zoology.json.sha256"]
    assert subprocess.run(run, cwd=tmp_path, capture_output=True, check=False).returncode == 0
    theirs = load_file(tmp_path / "d.zoology.safetensors")
    embedding = theirs.pop("lm_head.weight")
    assert torch.equal(embedding, ours["embedding.weight"])
    # each number of ours once
    numbers = [torch.cat([v.flatten() for v in w.values()]).sort().values for w in (theirs, ours)]
    assert torch.equal(*numbers)


def test_weights_are_ours_under_their_names(tmp_path: Path) -> None:
    _, _, ours = exported("zoology", CASES["different"][0], tmp_path)
    theirs = load_file(tmp_path / "d.zoology.safetensors")
    layer = "backbone.layers.{}"
    based = [theirs[f"{layer.format(0)}.sequence_mixer.mixer.proj_{x}.weight"] for x in "qk"]
    assert torch.equal(torch.cat(based), ours["blocks.0.sequence.query_key.weight"])
    gla = [theirs[f"{layer.format(1)}.sequence_mixer.mixer.{x}_proj.weight"] for x in "qkv"]
    assert torch.equal(torch.cat(gla), ours["blocks.1.sequence.query_key_value.weight"])
    for kind in ("weight", "bias"):
        # the first is the value, the second the gate, as in ours
        glu = [theirs[f"{layer.format(1)}.state_mixer.mixer.fc{i}.{kind}"] for i in (1, 2)]
        assert torch.equal(torch.cat(glu), ours[f"blocks.1.channel.value_gate.{kind}"])
        norm = theirs[f"{layer.format(2)}.norm2.{kind}"]
        assert torch.equal(norm, ours[f"blocks.2.channel_norm.{kind}"])
    mix = theirs[f"{layer.format(2)}.state_mixer.mixer.time_mix_r"]
    assert mix.shape == (1, 1, 16)
    assert torch.equal(mix.flatten(), ours["blocks.2.channel.gate_mix"])


@pytest.mark.parametrize("name", specs.names())
def test_every_mixer_is_said_or_refused_with_its_place(name: str) -> None:
    spec = specs.get(name)
    sequence, channel, place = part(name), IDENTITY, "sequence"
    if spec.kind == "channel":
        options = {"expansion": 2.0} if name == "glu" else {}
        sequence, channel, place = BASED, part(name, **options), "channel"
    file = described(block(sequence, channel), block(sequence, channel))
    if name in MAPPED:
        EXPORTER.render(file)
        return
    with pytest.raises(InputError) as caught:
        EXPORTER.render(file)
    assert len(caught.value.problems) == 2
    for i, problem in enumerate(caught.value.problems):
        assert problem.startswith(f"blocks[{i}].{place}: '{name}' ")
        assert "Zoology" in problem
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        (described(block(BASED, MLP), norm="rmsnorm"), "norm: 'rmsnorm': norms of Zoology"),
        (described(block(BASED, MLP, parallel=GLA)), "blocks[0].parallel: "),
        (described(block(BASED, MLP, local_conv=3)), "blocks[0].local_conv: 3 taps"),
        (described(block(BASED, MLP), block(BASED, part("mlp", expansion=2.5))),
         "blocks[1].channel: hidden width 40 is no multiple of 16"),
        (described(block(BASED, part("glu"))), "blocks[0].channel: hidden width 42 is no multiple"),
        (described(block(BASED, part("rwkv_channel_mix", expansion=2.0))),
         "blocks[0].channel: hidden width 32; Zoology has 64"),
    ],
)  # fmt: skip
def test_what_differs_is_named(file: ArchitectureFile, problem: str) -> None:
    with pytest.raises(InputError) as caught:
        config_of(file)
    [found] = caught.value.problems
    assert found.startswith(problem)


def test_all_that_differs_is_named_at_once() -> None:
    file = described(block(part("attention"), part("swiglu")), norm="rmsnorm", position="rotary")
    with pytest.raises(InputError) as caught:
        config_of(file)
    starts = [problem.split(":")[0] for problem in caught.value.problems]
    assert starts == ["norm", "position", "blocks[0].sequence", "blocks[0].channel"]


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("alike", '"hidden_mult": 3', '"hidden_mult": 4'),
        ("alike", '"feature_dim": 8', '"feature_dim": 9'),
        ("alike", '"n_layers": 2', '"n_layers": 3'),
        ("alike", '"max_position_embeddings": 40', '"max_position_embeddings": 0'),
        ("alike", "mlp.MLP", "mlp.GLU"),
        ("one", '"elementwise_affine": false', '"elementwise_affine": true'),
    ],
)
def test_another_size_is_found(name: str, old: str, new: str, tmp_path: Path) -> None:
    path, file, _ = exported("zoology", CASES[name][0], tmp_path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(MismatchError, match=r"describes \d+ parameters, the design has \d+"):
        EXPORTER.verify(path, file)


def test_every_value_and_key_is_compared(tmp_path: Path) -> None:
    wrong = ("resid_dropout", '"resid_dropout": 0.0', '"resid_dropout": 0.1')
    weights = "d.zoology.safetensors"
    check_every_value("zoology", CASES["different"][0], tmp_path, weights, wrong)


def test_other_weights_are_found(tmp_path: Path) -> None:
    path, file, _ = exported("zoology", CASES["one"][0], tmp_path)
    name = "d.zoology.safetensors"
    weights = load_file(tmp_path / name)
    del weights["lm_head.weight"]
    save_file(weights, tmp_path / name)
    file = file.model_copy(update={"weights": Weights(file=name, sha256="0" * 64)})
    with pytest.raises(MismatchError, match=r"first difference: lm_head\.weight"):
        EXPORTER.verify(path, file)

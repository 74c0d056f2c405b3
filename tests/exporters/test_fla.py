"""A design for flash-linear-attention: said exactly, or refused with what differs."""

from __future__ import annotations

import json
import subprocess
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save, save_file

from archsearch.architecture import Architecture, Block, Component
from archsearch.canonical import canonicalise
from archsearch.errors import InputError
from archsearch.exporters import exporters, write
from archsearch.exporters._fla_weights import pieces_of
from archsearch.exporters._foreign import check_renamed
from archsearch.exporters._verify import MismatchError, own_model
from archsearch.exporters.base import ArchitectureFile, Weights
from archsearch.exporters.fla import config_of
from archsearch.mixers import specs

from .foreign import block, check_every_value, exported, part
from .test_pytorch import described

EXPORTER = exporters.get("fla")
MAPPED = {"attention", "sliding_window", "gla", "retnet", "mamba", "swiglu"}
SWIGLU = part("swiglu", expansion=2.5)
NONE = part("none")


def rms(*blocks: Block, position: str = "rotary", **other: Any) -> ArchitectureFile:
    return described(*blocks, norm="rmsnorm", position=position, **other)


def of_width(d_model: int, *blocks: Block) -> ArchitectureFile:
    design = Architecture(d_model=d_model, norm="rmsnorm", position="rotary", blocks=blocks)
    design = canonicalise(design)
    return rms(blocks[0]).model_copy(update={"architecture": design, "digest": design.digest})


def layers(where: list[int], heads: int, groups: int, window: int | None) -> dict[str, Any]:
    return {
        "layers": where, "num_heads": heads, "num_kv_heads": groups, "qkv_bias": False,
        "window_size": window, "rope_theta": 10000.0,
    }  # fmt: skip


FULL = part("attention", num_heads=4, num_kv_heads=2)
WINDOW = part("sliding_window", num_heads=2, window=5)
GLA = part("gla", num_heads=2)
RETNET = part("retnet", num_heads=2, expand_value=3)
MAMBA = part("mamba", state_size=8)
WIDE = part("swiglu", expansion=4.0)

CASES: dict[str, tuple[ArchitectureFile, dict[str, Any]]] = {
    "all full": (
        rms(block(FULL, SWIGLU), block(FULL, SWIGLU)),
        {"model_type": "transformer", "num_heads": 4, "num_kv_heads": 2, "window_size": None,
         "rope_theta": 10000.0, "qkv_bias": False, "intermediate_size": 40,
         "max_position_embeddings": 40},
    ),
    "all windows": (
        rms(block(WINDOW, SWIGLU)),
        {"model_type": "transformer", "num_heads": 2, "num_kv_heads": 2, "window_size": 5},
    ),
    "windows and full": (
        rms(block(WINDOW, SWIGLU), block(FULL, SWIGLU), block(WINDOW, SWIGLU)),
        {"model_type": "gla", "attn": [layers([0, 2], 2, 2, 5), layers([1], 4, 2, None)]},
    ),
    "gla and full": (
        rms(block(GLA, SWIGLU), block(FULL, SWIGLU)),
        {"model_type": "gla", "num_heads": 2, "expand_k": 0.5, "expand_v": 1.0,
         "elementwise_affine": False, "use_short_conv": False, "use_output_gate": True,
         "attn": [layers([1], 4, 2, None)]},
    ),
    "gla alone": (rms(block(GLA, SWIGLU), position="none"), {"model_type": "gla", "attn": None}),
    "retnet and a window": (
        rms(block(WINDOW, SWIGLU), block(RETNET, SWIGLU)),
        {"model_type": "retnet", "num_heads": 2, "expand_k": 1.0, "expand_v": 3.0,
         "elementwise_affine": False, "attn": [layers([0], 2, 2, 5)]},
    ),
    "mamba alone": (
        rms(block(MAMBA, NONE), block(MAMBA, NONE), position="none"),
        {"model_type": "mamba", "state_size": 8, "expand": 2, "conv_kernel": 4, "dt_rank": 1,
         "layer_norm_epsilon": 1e-6, "written_for": "flash-linear-attention 0.6.0",
         "use_bias": False, "use_conv_bias": True},
    ),
    "mamba and full": (
        of_width(64, block(MAMBA, WIDE), block(FULL, WIDE)),
        {"model_type": "samba", "state_size": 8, "time_step_rank": 4, "hidden_ratio": 6.0,
         "attn": [layers([1], 4, 2, None)]},
    ),
    "mamba and swiglu": (
        of_width(64, block(MAMBA, WIDE), block(MAMBA, WIDE)),
        {"model_type": "samba", "hidden_ratio": 6.0, "attn": None},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_designs_that_are_known_there(name: str, tmp_path: Path) -> None:
    file, wanted = CASES[name]
    config = json.loads(EXPORTER.render(file)["config.json"])  # type: ignore[index, call-overload]
    assert {key: config[key] for key in wanted} == wanted
    common = {
        "vocab_size": 64, "hidden_size": file.architecture.d_model, "norm_eps": 1e-6,
        "num_hidden_layers": len(file.architecture.blocks), "tie_word_embeddings": True,
        "pad_token_id": None, "bos_token_id": None, "eos_token_id": None,
    }  # fmt: skip
    assert {key: config[key] for key in common} == common
    assert ("attn" in config) == (wanted["model_type"] not in ("transformer", "mamba"))
    path, _, ours = exported("fla", file, tmp_path)
    assert {p.name for p in path.iterdir()} == {"config.json", "model.safetensors", "SHA256SUMS"}
    run = ["sha256sum", "-c", "SHA256SUMS"]
    assert subprocess.run(run, cwd=path, capture_output=True, check=False).returncode == 0
    theirs = load_file(path / "model.safetensors")
    # each number of ours once, some of them times a constant
    assert sum(v.numel() for v in theirs.values()) == sum(v.numel() for v in ours.values())
    assert "lm_head.weight" not in theirs


def test_weights_are_ours_under_their_names(tmp_path: Path) -> None:
    path, _, ours = exported("fla", CASES["gla and full"][0], tmp_path)
    theirs = load_file(path / "model.safetensors")
    heads = [theirs[f"model.layers.1.attn.{x}_proj.weight"] for x in "qkv"]
    assert [len(head) for head in heads] == [16, 8, 8]
    assert torch.equal(torch.cat(heads), ours["blocks.1.sequence.query_key_value.weight"])
    mlp = [theirs[f"model.layers.0.mlp.{x}_proj.weight"] for x in ("gate", "up")]
    assert torch.equal(torch.cat(mlp), ours["blocks.0.channel.gate_value.weight"])
    down = theirs["model.layers.0.mlp.down_proj.weight"]
    assert torch.equal(down, ours["blocks.0.channel.output.weight"])
    assert torch.equal(theirs["model.norm.weight"], ours["final_norm.weight"])
    assert torch.equal(
        theirs["model.layers.0.mlp_norm.weight"], ours["blocks.0.channel_norm.weight"]
    )
    assert torch.equal(theirs["model.embeddings.weight"], ours["embedding.weight"])
    q, k, v = (theirs[f"model.layers.0.attn.{x}_proj.weight"] for x in "qkv")
    joint = torch.cat((q, k, v / 0.1**0.5))
    torch.testing.assert_close(joint, ours["blocks.0.sequence.query_key_value.weight"])
    bias = theirs["model.layers.0.attn.gk_proj.1.bias"]
    assert torch.equal(bias, ours["blocks.0.sequence.decay.1.bias"])


def test_rates_of_mamba_are_turned(tmp_path: Path) -> None:
    path, _, ours = exported("fla", CASES["mamba alone"][0], tmp_path)
    theirs = load_file(path / "model.safetensors")
    assert torch.equal(
        theirs["backbone.layers.1.mixer.A_log"], ours["blocks.1.sequence.log_rate"].T
    )
    assert torch.equal(theirs["backbone.norm_f.weight"], ours["final_norm.weight"])


def test_smaller_values_are_normed_to_the_same_by_the_smaller_constant() -> None:
    y = torch.randn(5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 1e-3
    z = 0.1**0.5 * y
    ours, theirs = (
        x / (x.square().mean(-1, keepdim=True) + eps).sqrt() for x, eps in ((y, 1e-5), (z, 1e-6))
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-14, atol=0)


@pytest.mark.parametrize("name", specs.names())
def test_every_mixer_is_said_or_refused_with_its_place(name: str) -> None:
    spec = specs.get(name)
    if spec.kind == "channel":
        sequence, channel, place = FULL, part(name), "channel"
    else:
        sequence, channel, place = part(name), NONE if name == "mamba" else SWIGLU, "sequence"
    file = rms(block(sequence, channel), block(sequence, channel))
    if name in MAPPED:
        EXPORTER.render(file)
        return
    with pytest.raises(InputError) as caught:
        EXPORTER.render(file)
    assert len(caught.value.problems) == 2
    for i, problem in enumerate(caught.value.problems):
        assert problem.startswith(f"blocks[{i}].{place}: '{name}'")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        (described(block(FULL, SWIGLU), position="rotary"), "norm: 'layernorm': norms of"),
        (rms(block(FULL, SWIGLU), position="learned"), "position: 'learned': models of"),
        (rms(block(FULL, SWIGLU), position="none"),
         "blocks[0].sequence: 'attention' without positions: attention of"),
        (rms(block(FULL, SWIGLU, parallel=GLA)), "blocks[0].parallel: "),
        (rms(block(FULL, SWIGLU, local_conv=3)), "blocks[0].local_conv: 3 taps: a block of"),
        (rms(block(part("sliding_window", window="sqrt"), SWIGLU)),
         "blocks[0].sequence: window 'sqrt' depends on the length"),
        (rms(block(part("gla", gate_divisor=4), SWIGLU)),
         "blocks[0].sequence: gate_divisor 4; models of"),
        (of_width(1024, block(part("retnet", num_heads=2), SWIGLU)),
         "blocks[0].sequence: heads 512 wide"),
        (of_width(1024, block(part("attention", num_heads=2), SWIGLU)),
         "blocks[0].sequence: heads 512 wide"),
        (of_width(512, block(part("sliding_window", num_heads=1), SWIGLU), block(FULL, SWIGLU)),
         "blocks[0].sequence: heads 512 wide"),
        (rms(block(GLA, SWIGLU), block(part("gla", num_heads=4), SWIGLU)),
         "blocks[1].sequence: 'gla(gate_divisor=16, num_heads=4)' beside"),
        (rms(block(GLA, SWIGLU), block(RETNET, SWIGLU)), "blocks[1].sequence: 'retnet("),
        (rms(block(GLA, SWIGLU), block(GLA, part("swiglu", expansion=3.0))),
         "blocks[1].channel: hidden width 48 beside 40"),
        (rms(block(MAMBA, SWIGLU)), "blocks[0].channel: hidden width 40; beside mamba"),
        (of_width(64, block(MAMBA, WIDE), block(FULL, NONE)),
         "blocks[1].channel: 'none': each block of"),
    ],
)  # fmt: skip
def test_what_differs_is_named(file: ArchitectureFile, problem: str) -> None:
    with pytest.raises(InputError) as caught:
        config_of(file)
    [found] = caught.value.problems
    assert found.startswith(problem)
    assert "flash-linear-attention" in found


def test_attention_beside_mamba_needs_channel_mixers() -> None:
    with pytest.raises(InputError) as caught:
        config_of(rms(block(MAMBA, NONE), block(FULL, NONE)))
    starts = [problem.split(": each")[0] for problem in caught.value.problems]
    assert starts == ["blocks[0].channel: 'none'", "blocks[1].channel: 'none'"]


def test_all_that_differs_is_named_at_once() -> None:
    with pytest.raises(InputError) as caught:
        config_of(described(block(part("hyena"), NONE, local_conv=4)))
    starts = [problem.split(":")[0] for problem in caught.value.problems]
    assert starts == ["norm", "blocks[0].local_conv", "blocks[0].sequence", "blocks[0].channel"]


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("all full", "num_kv_heads", 4),
        ("all full", "intermediate_size", 41),
        ("all full", "num_hidden_layers", 3),
        ("all full", "tie_word_embeddings", False),
        ("gla and full", "expand_k", 1.0),
        ("gla and full", "elementwise_affine", True),
        ("mamba alone", "state_size", 9),
        ("mamba and full", "hidden_ratio", 6.1),
    ],
)
def test_another_size_is_found(name: str, key: str, value: float, tmp_path: Path) -> None:
    path, file, _ = exported("fla", CASES[name][0], tmp_path)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, key: value}))
    with pytest.raises(MismatchError, match=r"describes \d+ parameters, the design has \d+"):
        EXPORTER.verify(path, file)


def test_other_weights_are_found(tmp_path: Path) -> None:
    path, file, _ = exported("fla", CASES["all full"][0], tmp_path)
    weights = load_file(path / "model.safetensors")
    weights["model.gain"] = weights.pop("model.norm.weight")
    save_file(weights, path / "model.safetensors")
    file = file.model_copy(update={"weights": Weights(file="model.safetensors", sha256="0" * 64)})
    with pytest.raises(MismatchError, match=r"model\.safetensors is not what it describes"):
        EXPORTER.verify(path, file)


def test_every_value_and_key_is_compared(tmp_path: Path) -> None:
    wrong = ("norm_eps", '"norm_eps": 1e-06', '"norm_eps": 1e-05')
    check_every_value("fla", CASES["gla and full"][0], tmp_path, "d/model.safetensors", wrong)


def test_a_part_of_ours_twice_and_another_never_is_found(tmp_path: Path) -> None:
    path, file, _ = exported("fla", CASES["all full"][0], tmp_path)
    ours = (tmp_path / "ours.safetensors").read_bytes()
    pieces = pieces_of(file.architecture, config_of(file))
    gate, up = (f"model.layers.0.mlp.{name}_proj.weight" for name in ("gate", "up"))
    theirs = load_file(path / "model.safetensors")
    save_file({**theirs, up: theirs[gate].clone()}, path / "model.safetensors")
    with pytest.raises(MismatchError, match=r"row 0 of blocks\.0\.channel\.gate_value\.weight is"):
        check_renamed(path / "model.safetensors", ours, {**pieces, up: pieces[gate]})


def test_transformers_load_mamba_alone_as_the_same_function(tmp_path: Path) -> None:
    """They have a model of that name, and read the config without what is only known to fla."""
    transformers = pytest.importorskip("transformers")
    _, file, ours = exported("fla", CASES["mamba alone"][0], tmp_path)
    model = own_model(file).eval()
    with torch.no_grad():
        for name, value in ours.items():
            # norms tell one constant from another where their inputs are small
            value.mul_(1e-3 if name == "embedding.weight" else 0.3)
        model.load_state_dict(ours)
    write(file, EXPORTER, tmp_path / "small", save(ours))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = transformers.MambaForCausalLM.from_pretrained(tmp_path / "small").eval()
    tokens = torch.arange(24).reshape(2, 12)
    with torch.no_grad():
        torch.testing.assert_close(theirs(tokens).logits, model(tokens), rtol=1e-4, atol=1e-7)


def test_the_version_that_is_needed_is_said() -> None:
    [needed] = EXPORTER.hints(has_weights=True)
    assert needed == "flash-linear-attention 0.6.0 or later is needed to load the folder"
    assert needed.split(" or ")[0] == config_of(CASES["all full"][0])["written_for"]
    [same, drawn] = EXPORTER.hints(has_weights=False)
    assert same == needed
    assert "AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder)) draws" in drawn


def test_components_are_compared_with_every_option_written_out() -> None:
    same = rms(block(part("gla"), SWIGLU), block(Component(name="gla"), SWIGLU), position="none")
    assert config_of(same)["num_heads"] == 2

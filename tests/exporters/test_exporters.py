"""An exported design is whole: it loads elsewhere as the same function, or says why not."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest
import torch
import yaml

import archsearch
from archsearch.campaign.config import Campaign
from archsearch.campaign.exports import describe, export_record, file_name
from archsearch.campaign.rungs import last_rung
from archsearch.cli import main
from archsearch.errors import InputError, StoreError, UnknownNameError
from archsearch.evaluate import CHECKPOINT, evaluate
from archsearch.exporters import _transformers, exporters, read
from archsearch.exporters._verify import MismatchError
from archsearch.exporters.base import Weights
from archsearch.model import build_model
from archsearch.records import TrialOutcome, TrialRecord
from archsearch.storage import read_records
from archsearch.training import advance, load_weights, start
from tests.helpers import Inline, drive, new_campaign, request, tiny_text

READABLE = ("yaml", "json")
"""What ``archsearch.load`` reads back."""

OTHERS = ("fla", "zoology")
"""What few designs can be said in; their own tests have some."""

TOKENS = torch.randint(0, 64, (4, 16), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Campaign, list[TrialRecord]]:
    campaign = new_campaign(
        tmp_path_factory.mktemp("exports") / "c", tiny_text("random", 3), reference_widths="all"
    )
    drive(campaign, Inline(evaluate))
    return campaign, read_records(campaign.storage_url, campaign.settings.study)


@pytest.fixture
def campaign(done: tuple[Campaign, list[TrialRecord]]) -> Campaign:
    return done[0]


@pytest.fixture
def records(done: tuple[Campaign, list[TrialRecord]]) -> list[TrialRecord]:
    return done[1]


@pytest.fixture
def trained(records: list[TrialRecord]) -> TrialRecord:
    return next(r for r in records if r.outcome is TrialOutcome.FINISHED and r.number >= 0)


@pytest.fixture
def exported(campaign: Campaign, trained: TrialRecord, tmp_path: Path) -> Path:
    return export_record(campaign, trained, "yaml", tmp_path / "d.yaml", weights=True).path


@pytest.mark.parametrize("name", READABLE)
def test_every_design_comes_back_as_it_went(
    campaign: Campaign, records: list[TrialRecord], tmp_path: Path, name: str
) -> None:
    for record in records:
        path = export_record(campaign, record, name, tmp_path / f"{record.number}.x").path
        file = read(path)
        assert file == describe(campaign, record)
        assert file.digest == record.digest
        assert file.task.longest_length == 16
    assert {r.outcome for r in records} >= {TrialOutcome.INFEASIBLE, TrialOutcome.FINISHED}


def test_the_source_names_the_version_that_ran_the_campaign(
    campaign: Campaign, trained: TrialRecord
) -> None:
    versions = {"archsearch": "0.0.9"}
    settings = campaign.settings.model_copy(update={"versions": versions})
    source = describe(Campaign(campaign.directory, campaign.file, settings), trained).source
    assert source is not None
    assert source.archsearch == "0.0.9"


@pytest.mark.parametrize("name", READABLE)
def test_names_of_files_are_plain(
    campaign: Campaign, records: list[TrialRecord], name: str
) -> None:
    paths = set()
    for record in records:
        if record.outcome is TrialOutcome.FINISHED:
            paths.add(export_record(campaign, record, name, weights=True).path)
    assert all(p.parent == campaign.directory / "exports" for p in paths)
    assert len(paths) == 18 + 3
    for path in paths:
        assert path.suffix == f".{name}"
        assert path.with_suffix(".safetensors").is_file()
        archsearch.load(path)


@pytest.mark.parametrize("name", [name for name in exporters.names() if name not in OTHERS])
def test_what_is_written_is_whole_or_not_there(
    campaign: Campaign, trained: TrialRecord, tmp_path: Path, name: str
) -> None:
    exporter = exporters.get(name)
    out = tmp_path / f"d{exporter.suffix}"
    path, _ = export_record(campaign, trained, name, out, weights=True)
    folder, sums = tmp_path, f"{path.name}.sha256"
    written = {path.name, "d.safetensors"}
    if not exporter.suffix:
        folder, sums = path, "SHA256SUMS"
        written = {"config.json", "model.safetensors"}
        written |= {"modeling_archsearch.py", "network_archsearch.py"}
        assert [p.name for p in tmp_path.iterdir()] == ["d"]
    assert {p.name for p in folder.iterdir()} == written | {sums}
    run = ["sha256sum", "-c", sums]
    assert subprocess.run(run, cwd=folder, capture_output=True, check=False).returncode == 0
    file = describe(campaign, trained)
    [weights] = folder.glob("*.safetensors")
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    named = Weights(file=weights.name, sha256=digest)
    exporter.verify(path, file.model_copy(update={"weights": named}))
    if name in (*READABLE, "huggingface"):
        with pytest.raises(MismatchError, match=r"something else|is not the design's"):
            exporter.verify(path, file)
    victim = folder / sorted(written)[0]
    victim.write_bytes(victim.read_bytes() + b"\n")
    assert subprocess.run(run, cwd=folder, capture_output=True, check=False).returncode == 1


def test_folders_of_two_formats_lie_side_by_side(campaign: Campaign, trained: TrialRecord) -> None:
    path, _ = export_record(campaign, trained, "huggingface", verify=False)
    assert path == campaign.directory / "exports" / f"trial-{trained.number}-huggingface"
    assert file_name(trained, "fla") == f"trial-{trained.number}-fla"
    assert file_name(trained, "yaml") == f"trial-{trained.number}.yaml"


def test_the_command_says_what_was_not_compared(
    campaign: Campaign,
    trained: TrialRecord,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    partly = exporters.get("yaml")._replace(
        verify=lambda *_: "logits were not compared", needs="2.0 is needed", unweighted="draw them"
    )
    monkeypatch.setattr(exporters, "get", lambda name: partly)
    out = tmp_path / "d.yaml"
    command = ["export", str(campaign.directory), "--trial", str(trained.number), "--out", str(out)]
    assert main(command) == 0
    told = "logits were not compared\n2.0 is needed\ndraw them\n"
    assert capsys.readouterr() == (f"{out}\n", told)
    assert main([*command, "--no-verify", "--weights"]) == 0
    assert capsys.readouterr() == (f"{out}\n", "2.0 is needed\n")


@pytest.mark.parametrize("how", ["missing", "broken"])
def test_the_command_says_that_transformers_did_not_load_the_folder(
    how: str,
    campaign: Campaign,
    trained: TrialRecord,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if how == "missing":
        monkeypatch.setattr(_transformers, "find_spec", lambda _: None)
    else:
        (tmp_path / "transformers.py").write_text("raise ImportError('huggingface-hub is too old')")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    out = tmp_path / "d"
    command = ["export", str(campaign.directory), "--trial", str(trained.number), "--weights"]
    assert main([*command, "--format", "huggingface", "--out", str(out)]) == 0
    told = "not loaded by transformers, which cannot be imported; network and weights were compared"
    assert capsys.readouterr() == (f"{out}\n", f"{told}\n")


def test_what_the_command_is_to_write_to(
    campaign: Campaign, trained: TrialRecord, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", str(campaign.directory)]
    one = [*command, "--trial", str(trained.number), "--no-verify", "--out"]
    assert main([*one, str(tmp_path / "d.json")]) == 0
    assert json.loads((tmp_path / "d.json").read_text())["digest"] == trained.digest
    capsys.readouterr()
    for arguments, message in (
        ([*one, str(tmp_path / "d.yaml"), "--format", "json"], "that of yaml, and json is asked"),
        ([*command, "--all", "--out", str(tmp_path / "d.json")], "d.json: is a file; give a fold"),
        ([*one, str(tmp_path)], f"'{tmp_path}' is a folder; give the name of a file"),
    ):
        assert main(arguments) == 2
        assert message in capsys.readouterr().err


def test_a_wrong_export_leaves_nothing(
    campaign: Campaign, trained: TrialRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = exporters.get("pytorch")
    wrong = right._replace(render=lambda file: right.render(file).replace("L, V)", "L)") + "x")
    monkeypatch.setattr(exporters, "get", lambda name: wrong)
    folder = tmp_path / "e"
    with pytest.raises(MismatchError, match="cannot be rebuilt: NameError"):
        export_record(campaign, trained, "pytorch", folder / "d.py")
    assert list(folder.iterdir()) == []
    path, _ = export_record(campaign, trained, "pytorch", folder / "d.py", verify=False)
    assert path.is_file()


@pytest.mark.parametrize("name", READABLE)
def test_a_loaded_design_is_the_trained_function(
    campaign: Campaign, records: list[TrialRecord], tmp_path: Path, name: str
) -> None:
    for record in records:
        if record.outcome is not TrialOutcome.FINISHED:
            continue
        out = tmp_path / f"d{record.number}.x"
        path, _ = export_record(campaign, record, name, out, weights=True)
        loaded = archsearch.load(path).eval()
        rung = last_rung(campaign, record)
        assert rung is not None
        assert record.architecture is not None
        model = build_model(record.architecture, 64, 16).eval()
        load_weights(model, rung / CHECKPOINT, "model.")
        with torch.no_grad():
            assert torch.equal(loaded(TOKENS), model(TOKENS))
        # and it is what the recorded run makes, when it is run again
        again = start(
            request(
                record.architecture,
                task=campaign.file.task,
                training=campaign.file.training.model_dump(),
                seed=record.evaluations[-1].seed,
            )
        )
        advance(again, campaign.file.training.steps)
        with torch.no_grad():
            assert torch.equal(loaded(TOKENS), again.model.eval()(TOKENS))


def test_without_weights_the_run_begins_as_it_began(
    campaign: Campaign, trained: TrialRecord, tmp_path: Path
) -> None:
    path, _ = export_record(campaign, trained, "json", tmp_path / "d.json")
    model = archsearch.load(path)
    file = read(path)
    run = start(request(file.architecture, task=file.task, seed=file.seed))
    for mine, theirs in zip(model.parameters(), run.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_both_formats_say_the_same_and_are_plain(
    campaign: Campaign, trained: TrialRecord, tmp_path: Path
) -> None:
    path, _ = export_record(campaign, trained, "json", tmp_path / "d.json")
    as_json = json.loads(path.read_text())
    text = export_record(campaign, trained, "yaml", tmp_path / "d.yaml").path.read_text()
    assert yaml.safe_load(text) == as_json
    assert text.startswith("# d")
    assert "MFLOPs at N = 16" in text


@pytest.mark.parametrize(
    "digest", ["1234e56789012345", "1234567890123456", "0123456701234567", "12e4567890123456"]
)
def test_a_digest_that_looks_like_a_number_stays_text(
    campaign: Campaign, trained: TrialRecord, digest: str
) -> None:
    file = describe(campaign, trained).model_copy(update={"digest": digest})
    text = exporters.get("yaml").render(file)
    assert f'digest: "{digest}"' in text
    assert yaml.safe_load(text)["digest"] == digest


def test_changed_weights_are_refused(exported: Path) -> None:
    weights = exported.with_suffix(".safetensors")
    good = weights.read_bytes()
    for place in (0, 9, len(good) // 2, len(good) - 1):
        bad = bytearray(good)
        bad[place] ^= 1
        weights.write_bytes(bad)
        with pytest.raises(StoreError, match="its SHA-256 is not the one in"):
            archsearch.load(exported)
    weights.unlink()
    with pytest.raises(StoreError, match=r"d\.safetensors: cannot be read"):
        archsearch.load(exported)


def test_weights_of_another_design_are_refused(
    exported: Path, campaign: Campaign, records: list[TrialRecord], tmp_path: Path
) -> None:
    mine = read(exported)
    other = next(
        r
        for r in records
        if r.outcome is TrialOutcome.FINISHED and r.architecture != mine.architecture
    )
    foreign = read(export_record(campaign, other, "json", tmp_path / "o.json", weights=True).path)
    assert mine.weights is not None
    assert foreign.weights is not None
    text = exported.read_text()
    exported.write_text(
        text.replace(mine.weights.sha256, foreign.weights.sha256).replace(
            mine.weights.file, foreign.weights.file
        )
    )
    with pytest.raises(StoreError, match=r"another design|has shape"):
        archsearch.load(exported)


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("d_model: ", "d_model: 1", "digest: got"),
        ("archsearch_architecture: 1", "archsearch_architecture: 2", "archsearch_architecture"),
        ("archsearch_architecture: 1", "odd: 1", "not an exported design"),
        ("file: d.safetensors", "file: ../d.safetensors", "weights.file"),
        ("file: d.safetensors", "file: /etc/passwd", "weights.file"),
        ("name: mqar", "name: mqra", "task.name"),
        ("d_model:", "d_modle:", "d_modle"),
    ],
)
def test_an_edited_description_is_refused(exported: Path, old: str, new: str, error: str) -> None:
    text = exported.read_text()
    assert old in text
    exported.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=error) as caught:
        archsearch.load(exported)
    assert all(str(exported) in p for p in caught.value.problems)


def test_an_edited_mixer_with_its_new_digest_is_another_design(exported: Path) -> None:
    """Weights whose shapes fit are not enough: the digest tells a window of 3 from one of 4."""
    data = yaml.safe_load(exported.read_text())
    data["architecture"]["norm"] = "rmsnorm"
    exported.write_text(yaml.safe_dump(data))
    with pytest.raises(InputError, match="it was edited"):
        archsearch.load(exported)


@pytest.mark.parametrize(
    "content", ["", "[]", "a: 1", "!!python/object:os.system {}", "\0", "{", "a: 1\na: 2", "x" * 9]
)
def test_what_is_no_description_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match=r"x\.yaml"):
        archsearch.load(path)
    with pytest.raises(InputError):
        archsearch.load(tmp_path / "none.yaml")


@pytest.mark.parametrize("name", ["my design.yaml", "-x.yaml", "é.json", ".yaml", "d.safetensors"])
def test_odd_names_do_without_weights(
    campaign: Campaign, trained: TrialRecord, tmp_path: Path, name: str
) -> None:
    out = tmp_path / name
    assert read(export_record(campaign, trained, "yaml", out).path).digest == trained.digest
    before = set(tmp_path.iterdir())
    with pytest.raises(InputError, match="with weights beside it the name must be"):
        export_record(campaign, trained, "yaml", out, weights=True)
    assert set(tmp_path.iterdir()) == before


def test_weights_that_are_gone_or_damaged_are_said_to_be(tmp_path: Path) -> None:
    campaign = new_campaign(tmp_path / "c", tiny_text("random", 1))
    drive(campaign, Inline(evaluate))
    records = read_records(campaign.storage_url, campaign.settings.study)
    [record] = [r for r in records if r.outcome is TrialOutcome.FINISHED and r.number >= 0]
    rung = last_rung(campaign, record)
    assert rung is not None
    data = bytearray((rung / CHECKPOINT).read_bytes())
    data[-1] ^= 1
    (rung / CHECKPOINT).write_bytes(data)
    with pytest.raises(StoreError, match="damaged"):
        export_record(campaign, record, "yaml", tmp_path / "d.yaml", weights=True)
    (rung / CHECKPOINT).unlink()
    with pytest.raises(StoreError, match="were not kept"):
        export_record(campaign, record, "yaml", tmp_path / "d.yaml", weights=True)
    assert not (tmp_path / "d.yaml").exists()
    # without weights the description is whole all the same
    export_record(campaign, record, "yaml", tmp_path / "d.yaml")


def test_what_cannot_be_exported(campaign: Campaign, trained: TrialRecord, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="bibtex, fla, huggingface, json, pytorch, yaml"):
        export_record(campaign, trained, "onnx")
    with pytest.raises(InputError, match="has no design that can be built"):
        export_record(campaign, TrialRecord(number=7, outcome=TrialOutcome.INFEASIBLE), "yaml")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        export_record(campaign, trained, "yaml", tmp_path / "file" / "d.yaml")

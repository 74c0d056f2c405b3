"""What ``--out`` names: the suffix chooses the format, or must not contradict it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from archsearch.cli._out_file import check_file, check_folder, export_format
from archsearch.errors import InputError, UnknownNameError

from .conftest import Ran


@pytest.mark.parametrize(
    ("out", "asked", "found"),
    [
        (None, None, "yaml"),
        (None, "fla", "fla"),
        ("d.yml", None, "yaml"),
        ("d.JSON", None, "json"),
        ("d.py", None, "pytorch"),
        ("d.bib", None, "bibtex"),
        ("d.zoology.json", None, "zoology"),
        ("d.txt", None, "yaml"),
        ("d.v2", "huggingface", "huggingface"),
        ("d.yml", "yaml", "yaml"),
        ("d.json", "zoology", "zoology"),
        ("d.zoology.json", "json", "json"),
    ],
)
def test_the_suffix_chooses_where_nothing_is_asked_for(
    out: str | None, asked: str | None, found: str
) -> None:
    assert export_format(None if out is None else Path(out), asked) == found


@pytest.mark.parametrize(
    ("out", "asked", "named"),
    [
        ("d.yaml", "json", "yaml"),
        ("d.yml", "pytorch", "yaml"),
        ("d.json", "yaml", "json"),
        ("d.zoology.json", "yaml", "zoology"),
        ("d.py", "huggingface", "pytorch"),
        (".json", "yaml", "json"),
    ],
)
def test_a_suffix_of_another_format_is_refused(out: str, asked: str, named: str) -> None:
    with pytest.raises(InputError) as caught:
        export_format(Path(out), asked)
    assert caught.value.problems == (
        f"--out: got '{out}', whose suffix is that of {named}, and {asked} is asked for;"
        f" give another suffix, or ask for {named}",
    )


def test_an_unknown_format_is_named_before_a_suffix() -> None:
    for out in (None, Path("d.yaml")):
        with pytest.raises(UnknownNameError, match="unknown export format 'onnx'"):
            export_format(out, "onnx")


def test_what_cannot_be_written_is_known_before(tmp_path: Path) -> None:
    check_file(tmp_path / "new")
    check_folder(tmp_path / "new" / "newer")
    check_folder(tmp_path)
    with pytest.raises(InputError, match=f"no folder '{tmp_path}/no'; make it first"):
        check_file(tmp_path / "no" / "new")
    with pytest.raises(InputError, match="is a folder; give the name of a file"):
        check_file(tmp_path)
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "deep" / "deeper"):
        with pytest.raises(InputError, match=f"^{tmp_path}/file: is a file; give a folder$"):
            check_folder(path)


@pytest.mark.parametrize("check", [check_file, check_folder])
def test_a_folder_in_which_no_file_can_be_made_is_known_before(
    check: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"^/proc: no file can be made there \(.+\); give another"):
        check(Path("/proc/x.png") if check is check_file else Path("/proc"))
    check(tmp_path / "new")
    # nothing is left of the trial
    assert list(tmp_path.iterdir()) == []

    def forbid(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    # as where a folder may not even be looked into
    monkeypatch.setattr(Path, "exists", forbid)
    with pytest.raises(InputError, match=r"no file can be made there \(Permission denied\); give"):
        check(tmp_path / "secret" / "new")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["front", "D", "--plot", "/proc/x.png"], "/proc: no file can be made there"),
        (["compare", "D", "D", "--plot", "/proc/x.png"], "/proc: no file can be made there"),
        (["explain", "D", "--show", "--plot", "/proc/x.png"], "/proc: no file can be made there"),
        (["table", "D", "--out", "/proc/x.csv"], "/proc: no file can be made there"),
        (["report", "D", "--static", "/proc/x"], "/proc/x: no file can be made there"),
        (["export", "D", "--all", "--out", "/proc/x"], "/proc/x: no file can be made there"),
        (["export", "D", "--out", "/proc/x/d.yaml"], "/proc/x: no file can be made there"),
        (["export", "D", "--out", "/etc/passwd/d.yaml"], "/etc/passwd: is a file; give a folder"),
        (["scale", "D", "--out", "/proc/x/d.yaml"], "/proc/x: no file can be made there"),
        (["scale", "D", "--out", "/etc/passwd/d.yaml"], "/etc/passwd: is a file; give a folder"),
    ],
)
def test_commands_refuse_it_before_they_read(
    cli: Callable[..., Ran], arguments: list[str], named: str
) -> None:
    ran = cli(*arguments)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert ran.err.startswith(f"archsearch: error: {named}")


def test_a_folder_of_exports_may_be_called_as_a_file(
    cli: Callable[..., Ran], campaign: Path, tmp_path: Path
) -> None:
    ran = cli("export", campaign, "--all", "--no-verify", "--out", tmp_path / "all.py")
    assert (ran.code, ran.err) == (0, "")
    assert {path.suffix for path in (tmp_path / "all.py").iterdir()} == {".yaml", ".sha256"}

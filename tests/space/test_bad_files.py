"""Every bad file is refused, at once, by exactly the lines in ``bad_files.golden``."""

import re
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, model_validator

from archsearch import space
from archsearch.errors import InputError
from archsearch.mixers import specs
from archsearch.space.nodes import MAX_PROBLEMS
from archsearch.space.parse_domains import option_adapter
from tests.space.bad_files import CASES, GOOD, text_of

EXAMPLES = settings(max_examples=100, deadline=None, derandomize=True)

PLACED_LINE = re.compile(r"f\.yaml:\d+:\d+: .+")


def golden() -> dict[str, list[str]]:
    cases: dict[str, list[str]] = {}
    lines: list[str] = []
    text = (Path(__file__).parent / "bad_files.golden").read_text(encoding="utf-8")
    for line in text.splitlines():
        if re.fullmatch(r"\[\w+\]", line):
            lines = cases.setdefault(line[1:-1], [])
        else:
            lines.append(line)
    return cases


GOLDEN = golden()


def refused(text: str) -> InputError:
    with pytest.raises(InputError) as caught:
        space.loads(text, "f.yaml")
    assert caught.value.exit_code == 2
    for line in caught.value.problems:
        assert PLACED_LINE.fullmatch(line), line
        assert len(line) < 400
    return caught.value


def test_the_unchanged_file_is_good() -> None:
    assert space.loads(GOOD).name == "demo"


def test_golden_lines_belong_to_cases() -> None:
    assert GOLDEN.keys() == CASES.keys()
    assert len(CASES) >= 60


@pytest.mark.parametrize("case", CASES)
def test_golden_lines(case: str) -> None:
    lines = list(refused(text_of(case)).problems)
    # the wording of a task belongs to the task: only the place is ours
    for i, line in enumerate(GOLDEN[case]):
        if line.endswith("...") and i < len(lines) and lines[i].startswith(line[:-3]):
            lines[i] = line
    assert lines == GOLDEN[case]


def test_options_without_default_and_specs_with_rules_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Odd(specs.get("short_conv")):  # type: ignore[misc]
        kernel_size: int = Field(ge=2, le=128)

        @model_validator(mode="after")
        def _odd(self) -> Self:
            if self.kernel_size % 2 == 0:
                raise ValueError("must be odd")
            return self

    found = specs.get
    monkeypatch.setattr(specs, "get", lambda name: Odd if name == "short_conv" else found(name))
    option_adapter.cache_clear()
    text = GOOD.replace("{mixer: short_conv, kernel_size: {choice: [3, 5]}}", "short_conv")
    (line,) = refused(text).problems
    assert line.endswith(
        ":17:17: space.layers.base.sequence: missing key 'kernel_size' of 'short_conv'"
    )
    (line,) = refused(GOOD.replace("[3, 5]", "[4, 6]")).problems
    assert "fits no width of the space; for one, short_conv" in line
    assert "must be odd" in line
    file = space.loads(GOOD.replace("[3, 5]", "[3, 4]"))
    assert file.space.contains(file.space.default())
    option_adapter.cache_clear()


def test_a_mixer_with_countless_options_is_not_judged() -> None:
    text = GOOD.replace("d_model: {choice: [32, 64]}", "d_model: {range: [7, 4003]}")
    text = text.replace("- attention", "- {mixer: attention, num_heads: {range: [200, 256]}}")
    assert space.loads(text)


def test_all_problems_come_at_once() -> None:
    text = GOOD.replace("norm: layernorm", "norm: batch").replace("seed: 0", "seed: -1")
    text = text.replace("mixer: short_conv", "mixer: short").replace("growth < 2", "growth")
    lines = refused(text).problems
    assert len(lines) == 4
    assert [int(line.split(":")[1]) for line in lines] == [13, 17, 27, 28]


def test_many_problems_are_cut() -> None:
    keys = "\n".join(f"k{i}: 1" for i in range(5000))
    with pytest.raises(InputError) as caught:
        space.loads(GOOD + keys, "f.yaml")
    assert len(caught.value.problems) == MAX_PROBLEMS + 1
    assert caught.value.problems[-1] == f"f.yaml: and {5000 - MAX_PROBLEMS} more problems"


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "piece"),
    [
        (BOMB, "alias '*a' is not supported"),
        ("name: " + "[" * 5000, "nested deeper than 50 levels"),
        ("name: " + "{a: " * 5000, "nested deeper than 50 levels"),
        ("".join(" " * i + f"k{i}:\n" for i in range(900)), "nested deeper than 50 levels"),
        ("? " * 5000, "nested deeper than 50 levels"),
        ("- " * 200_000, "nested deeper than 50 levels"),
        ("name: !!python/object/apply:os.system ['touch /tmp/archsearch_owned']", "tag"),
        ("name: 'x\n" + "y\n" * 300_000, "not YAML"),
    ],
    ids=["aliases", "lists", "mappings", "blocks", "keys", "dashes", "python", "quote"],
)
def test_hostile_text_is_refused_quickly(text: str, piece: str) -> None:
    start = time.process_time()
    assert any(piece in line for line in refused(text).problems)
    assert time.process_time() - start < 1
    assert not Path("/tmp/archsearch_owned").exists()


def test_hostile_text_needs_little_memory() -> None:
    code = (
        "import resource, sys; from archsearch import space;"
        " resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31));"
        " from archsearch.errors import InputError\n"
        "try:\n    space.loads(sys.stdin.read())\n"
        "except InputError as error:\n    sys.exit(error.exit_code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], input=BOMB, text=True, timeout=60)
    assert resource.RLIMIT_AS is not None
    assert done.returncode == 2


class TestFiles:
    def check(self, path: Path, piece: str) -> None:
        with pytest.raises(InputError) as caught:
            space.load(path)
        (line,) = caught.value.problems
        assert line.startswith(str(path))
        assert piece in line
        assert "\n" not in line

    def test_missing(self, tmp_path: Path) -> None:
        self.check(tmp_path / "none.yaml", "no such file")

    def test_below_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        self.check(tmp_path / "file" / "x.yaml", "cannot be read (Not a directory)")

    def test_folder(self, tmp_path: Path) -> None:
        self.check(tmp_path, "is a folder")

    def test_empty(self, tmp_path: Path) -> None:
        (tmp_path / "x.yaml").touch()
        self.check(tmp_path / "x.yaml", ":1:1: the file is empty")

    def test_large(self, tmp_path: Path) -> None:
        path = tmp_path / "x.yaml"
        with path.open("wb") as file:
            file.truncate(10**10)
        self.check(path, "larger than 1000000 bytes")

    def test_not_utf8(self, tmp_path: Path) -> None:
        path = tmp_path / "x.yaml"
        path.write_bytes(b"name: demo\ntitle: \xff\n")
        self.check(path, ":2:8: byte 0xff is not UTF-8")

    def test_byte_order_mark_and_crlf_are_fine(self, tmp_path: Path) -> None:
        path = tmp_path / "x.yaml"
        path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
        assert space.load(path) == space.loads(GOOD)

    def test_nul_in_the_name(self) -> None:
        with pytest.raises(InputError, match="NUL"):
            space.load("a\0b")


@EXAMPLES
@given(st.text(max_size=60))
def test_any_text_is_refused_with_a_place(text: str) -> None:
    refused(text)


@EXAMPLES
@given(st.text(max_size=20))
def test_names_that_pass_are_plain(name: str) -> None:
    text = GOOD.replace("name: demo", f"name: {name!r}")
    try:
        loaded = space.loads(text).name
    except InputError:
        return
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", loaded)
    assert Path("/root/x", loaded).parent == Path("/root/x")


BOUND = st.one_of(
    st.integers(-(2**60), 2**60).map(str),
    st.floats().map(str),
    st.sampled_from(["0", "-1", "1", "8", "16", ".nan", "x", "true", "~", "[]"]),
)


@EXAMPLES
@given(BOUND, BOUND, BOUND, st.sampled_from(["", "true", "false", "1"]))
def test_random_ranges_are_read_or_refused(low: str, high: str, step: str, log: str) -> None:
    loaded = None
    extras = f", step: {step}" + (f", log: {log}" if log else "")
    try:
        loaded = space.loads(GOOD.replace("choice: [32, 64]", f"range: [{low}, {high}]{extras}"))
    except InputError as error:
        misplaced = [p for p in error.problems if not re.match(r"<text>:11:\d+: space.d_model", p)]
    else:
        misplaced = []
    assert not misplaced
    if loaded is None:
        return
    widths = list(loaded.space.d_model.values()) if loaded.space.d_model.size() < 100 else []
    assert all(1 <= width <= 65536 for width in widths)

"""The entry point: help, exit codes, one line an error, nothing heavy imported."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

import archsearch
from archsearch import __version__
from archsearch.campaign.progress import Ending, EndKind
from archsearch.cli import COMMANDS, app, main
from archsearch.cli._session import _closing_words, launch_options
from archsearch.errors import InputError
from tests.campaign.test_sessions import MAIN
from tests.conftest import PUBLISHED, ROOT
from tests.helpers import new_campaign, tiny_text

from .conftest import Ran

OPTIONS = {
    "status": ["DIR", "--json"],
    "front": ["DIR", "--plot", "--all", "--json"],
    "show": ["DIR", "TRIAL", "--json"],
    "space": ["[FILE]", "--samples", "--schema", "--no-estimate", "--json"],
    "mixers": ["[NAME]", "--json"],
}
"""Frozen: who changes one changes the scripts of our users."""

HEAVY = ("torch", "ray", "optuna", "sqlalchemy", "matplotlib", "scipy", "rich")

Cli = Callable[..., Ran]


def _registered(command: str) -> list[str]:
    group = typer.main.get_command(app)
    params = group.commands[command].params  # type: ignore[attr-defined]
    return [p.opts[0] if p.param_type_name == "option" else p.metavar for p in params]


@pytest.mark.parametrize("command", OPTIONS)
def test_options_are_frozen(command: str) -> None:
    assert _registered(command) == OPTIONS[command]


def test_all_commands_are_registered() -> None:
    assert tuple(typer.main.get_command(app).commands) == COMMANDS  # type: ignore[attr-defined]


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], []])
def test_help_lists_the_commands(cli: Cli, arguments: list[str]) -> None:
    ran = cli(*arguments)
    assert ran.code == 0
    assert ran.err == ""
    for name in OPTIONS:
        assert f"\n  {name} " in ran.out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_in_plain_text(cli: Cli, command: str) -> None:
    ran = cli(command, "--help")
    assert ran.code == 0
    assert ran.out.startswith(f"Usage: archsearch {command} ")
    assert "\x1b" not in ran.out
    assert "╭" not in ran.out


def test_version(cli: Cli) -> None:
    assert cli("--version") == (0, f"archsearch {__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["frnt"], "no such command 'frnt'; did you mean 'front'?"),
        (["front"], "missing argument 'DIR'"),
        (["front", "x", "y"], "got unexpected extra argument"),
        (["front", "--jsn", "x"], "no such option: --jsn; did you mean '--json'?"),
        (["front", "x", "--plot"], "option '--plot' requires an argument"),
        (["space", "x", "--samples", "many"], "invalid value for '--samples'"),
        (["space", "x", "--samples", "-1"], "invalid value for '--samples'"),
        (["--quiet"], "no such option: --quiet"),
        (["space"], "missing argument 'FILE'"),
        (["space", "nowhere.yaml"], "nowhere.yaml"),
        (["front", "nowhere"], "nowhere: there is no such folder"),
        (["front", ""], "is not a campaign's folder"),
        (["mixers", "atention"], "unknown mixer or preset 'atention'; did you mean 'attention'?"),
        (["mixers", "\x1b[31m\nx"], "unknown mixer"),
        (["front", "nowhere", "--plot", "a.gif"], "a.gif: got suffix '.gif'; must be one of"),
        (["front", "nowhere", "--plot", "no/such/a.png"], "there is no folder 'no/such'"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(cli: Cli, arguments: list[str], message: str) -> None:
    ran = cli(*arguments)
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.startswith("archsearch: error: ")
    assert message in ran.err
    assert ran.err.count("\n") == 1
    assert "\x1b" not in ran.err


def test_a_deterministic_campaign_gets_no_budget_of_time(cli: Cli, tmp_path: Path) -> None:
    text = tiny_text("random", 8).replace("confirm_seeds: 0", "deterministic: true")
    campaign = new_campaign(tmp_path / "c", text)
    file = tmp_path / "tiny.yaml"
    file.write_text(text)
    for command in (("run", file, "--dry-run"), ("resume", campaign.directory)):
        ran = cli(*map(str, command), "--time-budget", "5")
        assert (ran.code, ran.out) == (2, "")
        assert "--time-budget: the campaign is 'deterministic'" in ran.err
        assert ran.err.count("\n") == 1
    assert not campaign.has_begun


def test_every_problem_has_its_line(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Path) -> None:
        raise InputError(["first", "second"])

    monkeypatch.setattr("archsearch.campaign.reading.read", fail)
    ran = cli("front", "x")
    assert ran == (2, "", "archsearch: error: first\narchsearch: error: second\n")


def test_an_unexpected_exception_is_one_line_unless_debugged(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Path) -> None:
        raise ValueError("boom\nand more")

    monkeypatch.setattr("archsearch.campaign.reading.read", fail)
    ran = cli("front", "x")
    assert ran == (
        1,
        "",
        "archsearch: internal error: ValueError: boom and more;"
        " run again with --debug and report it\n",
    )
    for arguments in (["--debug", "front", "x"], ["front", "x", "--debug"]):
        assert "Traceback (most recent call last)" in cli(*arguments).err


def test_ctrl_c_is_130(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("archsearch.campaign.reading.read", interrupt)
    ran = cli("front", "x")
    assert ran.code == 130
    assert "Traceback" not in ran.err


def test_main_returns_the_code_of_an_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(_: Path) -> None:
        raise typer.Exit(75)

    monkeypatch.setattr("archsearch.campaign.reading.read", leave)
    assert main(["front", "x"]) == 75


def _python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_light_commands_import_nothing_heavy(campaign: Path) -> None:
    code = f"""
import io, json, sys
from contextlib import redirect_stdout
from archsearch.cli import main
found = {{}}
for arguments in json.loads(sys.argv[1]):
    with redirect_stdout(io.StringIO()):
        assert main(arguments) == 0
    found[" ".join(arguments)] = [name for name in {HEAVY!r} if name in sys.modules]
print(json.dumps(found))
"""
    where = str(campaign)
    asked = [["--help"], ["--version"], ["front", where], ["status", where], ["show", where, "2"]]
    asked.append(["mixers", "attention"])
    ran = _python(code, json.dumps(asked))
    assert ran.returncode == 0, ran.stderr
    assert list(json.loads(ran.stdout).values()) == [[]] * len(asked)


def test_help_does_not_even_import_numpy() -> None:
    ran = _python(
        "import sys; from archsearch.cli import main; main(['--help']);"
        " assert not {'numpy', 'pydantic', 'yaml'} & set(sys.modules)"
    )
    assert ran.returncode == 0, ran.stderr


def test_a_reader_that_leaves_is_no_error() -> None:
    command = [
        sys.executable,
        "-c",
        "import sys; from archsearch.cli import main; sys.exit(main())",
    ]
    with subprocess.Popen(
        [*command, "space", "--schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        complaints = process.stderr.read()
        assert process.wait(60) == 0
    assert complaints == b""


FAILING = """
import sys
from archsearch.campaign import reading
from archsearch.cli import main
from archsearch.errors import InputError
def read(_):
    print("begun")
    raise InputError("wrong")
reading.read = read
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        # fits into the buffer, and does not
        (["--version"], 4, "standard output: cannot be written (No space left on device); make"),
        (["space", "--schema"], 4, "standard output: cannot be written (No space left on device)"),
        # what is still buffered when the process ends does not hide what was wrong
        (["front", "x"], 2, "wrong\n"),
    ],
)
def test_a_full_standard_output_is_one_line_and_exit_4(
    arguments: list[str], code: int, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            [sys.executable, "-c", FAILING, *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert (ran.returncode, ran.stderr.count("\n")) == (code, 1)
    assert ran.stderr.startswith(f"archsearch: error: {complaint}")


@pytest.mark.parametrize(
    ("closed", "prints", "complains"),
    [
        ("<&-", True, True),
        (">&-", False, True),
        ("2>&-", True, False),
        ("<&- >&- 2>&-", False, False),
    ],
)
def test_a_closed_stream_is_as_one_that_nobody_reads(
    campaign: Path, closed: str, prints: bool, complains: bool
) -> None:
    def said(where: Path) -> tuple[int, bool, str]:
        command = f'"$@" {closed}'
        program = [sys.executable, "-c", MAIN, "front", str(where)]
        ran = subprocess.run(
            ["sh", "-c", command, "sh", *program],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return ran.returncode, ran.stdout != "", ran.stderr

    assert said(campaign) == (0, prints, "")
    code, out, err = said(campaign / "nothing")
    assert (code, out, "there is no such folder" in err) == (2, False, complains)


def test_closed_streams_are_open_in_workers_too(tmp_path: Path) -> None:
    worker = (
        "import os, sys; taken = [os.readlink(f'/proc/self/fd/{n}') for n in range(3)];"
        " open(sys.argv[1], 'w').write(' '.join(taken))"
    )
    program = (
        "import subprocess, sys; from archsearch.cli import main; main(['--version']);"
        f" subprocess.run([sys.executable, '-c', {worker!r}, sys.argv[1]])"
    )
    found = tmp_path / "found"
    command = ["sh", "-c", '"$@" <&- >&- 2>&-', "sh", sys.executable, "-c", program, str(found)]
    subprocess.run(command, timeout=60, check=True)
    assert found.read_text() == "/dev/null /dev/null /dev/null"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["front", "nothing"], 2),
        (["--debug", "front", "nothing"], 2),
        # which says there what reads the file, and what was not compared
        (["export", str(PUBLISHED), "--trial", "9", "--format", "huggingface", "--out", "a"], 0),
    ],
)
def test_a_full_standard_error_changes_nothing(
    arguments: list[str], code: int, tmp_path: Path
) -> None:
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            [sys.executable, "-c", MAIN, *arguments],
            stdout=subprocess.PIPE,
            stderr=full,
            text=True,
            timeout=120,
            check=False,
            cwd=tmp_path,
        )
    assert (ran.returncode, ran.stdout) == (code, "" if code else "a\n")


def test_a_limit_of_files_is_as_a_full_disk(tmp_path: Path) -> None:
    command = 'ulimit -f 0; exec "$@" > file'
    program = [sys.executable, "-c", MAIN, "space", "--schema"]
    ran = subprocess.run(
        ["sh", "-c", command, "sh", *program],
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )
    assert (ran.returncode, ran.stderr.count("\n")) == (4, 1)
    assert "standard output: cannot be written (File too large)" in ran.stderr


def test_a_disk_that_fails_elsewhere_is_not_taken_for_standard_output(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("archsearch.campaign.reading.read", fail)
    ran = cli("front", "x")
    assert ran.code == 1
    assert "internal error: OSError: [Errno 5] Input/output error" in ran.err


@pytest.mark.parametrize(
    ("executor", "gpus", "wished", "device"),
    [
        ("serial", 0, "auto", "auto"), ("serial", 0, "cpu", "cpu"), ("ray", 1, "auto", "auto"),
        # a worker of Ray sees accelerators that its trial was not given
        ("ray", 0, "auto", "cpu"), ("ray", 0.5, "meta", "meta"),
    ],
)  # fmt: skip
def test_where_a_campaign_trains(executor: str, gpus: float, wished: str, device: str) -> None:
    how = launch_options(
        executor=executor, workers=None, address=None, cpus_per_trial=1, gpus_per_trial=gpus,
        device=wished,
    )  # fmt: skip
    assert how.device == device


def test_a_device_that_is_not_there_is_refused_at_once(cli: Cli, tmp_path: Path) -> None:
    space = ROOT / "search_spaces" / "quickstart.yaml"
    ran = cli("run", space, "--executor", "serial", "--device", "nowhere", "--out", tmp_path / "o")
    assert ran.code == 2
    assert "--device: device 'nowhere' cannot be used here" in ran.err
    assert not (tmp_path / "o").exists()


def test_a_file_in_the_way_of_its_export_does_not_spoil_a_campaign(
    campaign: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reading = archsearch.open_campaign(campaign)
    assert reading.front.knee is not None
    path = campaign / "exports" / f"trial-{reading.front.knee}.yaml"
    path.parent.mkdir()
    ending = Ending(EndKind.FINISHED, "done")
    path.write_text("mine")
    _closing_words(reading.campaign, ending, reading.front, reading.records, [], "")
    assert f"\nnot exported: --out: '{path}' is there" in capsys.readouterr().out
    assert path.read_text() == "mine"
    path.unlink()
    _closing_words(reading.campaign, ending, reading.front, reading.records, [], "")
    assert f"\nexported: {path}" in capsys.readouterr().out

"""The command line: one file per command, and one way to fail.

Nothing heavy is imported here or at the top of a command's file: ``--help`` and ``front`` answer at
once. A command ``x`` is the function ``x`` of ``archsearch.cli.x``; its docstring is its help.
"""

from __future__ import annotations

import errno
import gc
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from archsearch._version import __version__
from archsearch.cli import _streams
from archsearch.errors import ArchsearchError, StoreError, suggestion

COMMANDS = (
    "run", "resume", "confirm", "status", "watch", "front", "show", "report", "dashboard", "table",
    "compare", "explain", "export", "scale", "replay", "train", "space", "calibrate",
    "mixers", "bench",
)  # fmt: skip
"""In the order of the help."""

_LONG = frozenset(
    (
        "run", "resume", "confirm", "watch", "dashboard", "explain", "train", "space", "calibrate",
        "bench",
    )
)  # fmt: skip
"""Commands that run for more than a moment."""

INTERRUPTED = 130
_USAGE = 2
_BUG = 1

_FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO))
"""What a disk, a limit or a terminal says that takes no more."""

# typer shows neither class: they live in click, or in typer's copy of it
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]
_ClickError: type[Exception] = typer.BadParameter.__mro__[2]

app = typer.Typer(
    name="archsearch",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"archsearch {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _archsearch(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Print the traceback of an error.")
    ] = False,
) -> None:
    """Search hybrids of convolution and attention that recall well at a sub-quadratic price."""
    if context.invoked_subcommand is None:
        print(context.get_help())


def _register() -> None:
    for name in COMMANDS:
        command = getattr(importlib.import_module(f"{__name__}.{name}"), name)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit code; every error is a line on stderr."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # taken wherever it stands, for it is typed when a command has just failed
    debug = "--debug" in given
    given = [argument for argument in given if argument != "--debug"]
    _streams.prepare()
    # a driver beside busy workers: threads that wait for each other make its small matrices slow
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # what a short command makes lives to its end: looking for garbage takes an eighth of its time
    collects = gc.isenabled()
    if not _LONG.intersection(given):
        gc.disable()
    try:
        code = _run(given)
        sys.stdout.flush()
    except BrokenPipeError:
        # whoever read our output had enough, such as head: that is no error
        code = 0
    except KeyboardInterrupt:
        _complain("interrupted")
        code = INTERRUPTED
    except Exception as error:  # noqa: BLE001  # the process's boundary: everything becomes a line
        if debug:
            traceback.print_exc()
        code = _reported(error)
    finally:
        if collects:
            gc.enable()
    if not _streams.is_printed():
        _streams.discard_output()
    return code


def _run(arguments: list[str]) -> int:
    command: Any = typer.main.get_command(app)
    try:
        result = command.main(args=arguments, prog_name="archsearch", standalone_mode=False)
    except SystemExit as end:
        cause = end.__context__
        if isinstance(cause, OSError) and cause.errno == errno.EPIPE:
            raise BrokenPipeError from None
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except typer.Abort:
        raise KeyboardInterrupt from None
    return result if isinstance(result, int) else 0


def _complain(problem: str) -> None:
    print(f"archsearch: {problem}", file=sys.stderr)


def _reported(error: Exception) -> int:
    if isinstance(error, ArchsearchError):
        problems, code = error.problems, error.exit_code
    elif isinstance(error, _ClickError):
        problems, code = (_usage_problem(error),), _USAGE
    # the error does not say which file it is of, but what is full does not take a line either
    elif isinstance(error, OSError) and error.errno in _FULL and not _streams.is_printed("\n"):
        problem = f"standard output: cannot be written ({error.strerror})"
        problems = (f"{problem}; make room, or send it elsewhere",)
        code = StoreError.exit_code
    else:
        what = f"{type(error).__name__}: {error}".rstrip(": ")
        _complain(f"internal error: {_one_line(what)}; run again with --debug and report it")
        return _BUG
    for problem in problems:
        _complain(f"error: {_one_line(problem)}")
    return code


def _one_line(text: str) -> str:
    shown = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(shown.split())


def _usage_problem(error: Any) -> str:
    message = str(error.format_message()).rstrip(".")
    message = message[:1].lower() + message[1:].replace(". Did you", "; did you")
    context = getattr(error, "ctx", None)
    if context is None:
        return message
    option = getattr(error, "option_name", None)
    if option is not None and "possibilities" in vars(error):
        known = [name for p in context.command.params for name in p.opts if name.startswith("-")]
        message = f"no such option: {option}{suggestion(option, [*known, '--help', '--debug'])}"
    return f"{message}; see '{context.command_path} --help'"


_register()

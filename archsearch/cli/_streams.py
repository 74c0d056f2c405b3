"""Standard streams as commands find them: closed, full, or read no further."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer


class _Unheard(io.FileIO):
    """Standard error: what it does not take is lost, and the command goes on."""

    def write(self, data: Buffer, /) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def prepare() -> None:
    """Makes the streams safe to print to, whatever they are and whatever is printed."""
    _open_closed()
    stderr = sys.__stderr__
    if stderr is not None and sys.stderr is stderr:
        raw = io.BufferedWriter(_Unheard(stderr.fileno(), "w", closefd=False))
        sys.stderr = io.TextIOWrapper(raw, encoding=stderr.encoding, line_buffering=True)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def is_printed(more: str = "") -> bool:
    """Whether standard output takes what is still buffered, and some more."""
    try:
        print(more, end="", flush=True)
    except OSError:
        return False
    return True


def discard_output() -> None:
    """What standard output has still buffered would fail again when the interpreter ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def _open_closed() -> None:
    """What a closed stream would have taken goes nowhere, and no file or pipe gets its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = Path(os.devnull).open(mode)  # noqa: SIM115  # open to the end
            # in worker processes, too
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)

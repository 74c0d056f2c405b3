"""``archsearch dashboard``: a campaign's study in Optuna's own dashboard."""

from __future__ import annotations

import signal
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from archsearch.cli._options import Directory

if TYPE_CHECKING:
    from wsgiref.simple_server import WSGIServer

_HOST = "127.0.0.1"
_ENDED_BY_SIGTERM = 143


def dashboard(
    directory: Directory,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Of this machine alone; 0 takes a free one.")
    ] = 8080,
) -> None:
    """Show a copy of the study in Optuna's dashboard until Ctrl-C; the campaign is only read."""
    from archsearch.campaign.config import Campaign
    from archsearch.campaign.lock import holder_of
    from archsearch.errors import InputError
    from archsearch.storage.dashboard import check_installed

    campaign = Campaign.open(directory)
    if not campaign.has_begun:
        raise InputError(f"{directory}: has no study yet; give a campaign that has begun")
    check_installed()
    holder = holder_of(directory)
    # before the copy is made, which takes a while where a campaign is long
    with _listening(port) as server, tempfile.TemporaryDirectory(prefix="archsearch-") as folder:
        from archsearch.campaign.dashboard import dashboard_of

        server.set_app(dashboard_of(campaign, Path(folder) / "study.db"))
        if holder is not None:
            print(f"held by {holder}; what comes from now on is shown when this is started again")
        print(
            f"a copy of the study of {directory}, to look at: http://{_HOST}:{server.server_port}"
        )
        print("Ctrl-C ends it", flush=True)
        # Optuna warns of what its charts cannot tell, each time that one is looked at
        with warnings.catch_warnings(action="ignore"):
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                print("ended")


@contextmanager
def _listening(port: int) -> Iterator[WSGIServer]:
    """A server that has its port, and gives it back.

    Raises:
        InputError: The port is taken, or not ours to take.
    """
    from socketserver import ThreadingMixIn
    from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

    from archsearch.errors import InputError

    class Server(ThreadingMixIn, WSGIServer):
        # browsers keep connections open and send nothing: those may not hold up others, or the end
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            if not isinstance(sys.exception(), ConnectionError):
                super().handle_error(request, client_address)  # type: ignore[arg-type]

    class Handler(WSGIRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """A line for each request says nothing."""

    try:
        server = Server((_HOST, port), Handler)
    except OSError as error:
        raise InputError(
            f"--port: got {port}, which cannot be opened ({error.strerror});"
            " give another one, or 0 for any that is free"
        ) from None
    # otherwise SIGTERM would leave the copy behind
    before = signal.signal(signal.SIGTERM, _leave)
    try:
        yield server
    finally:
        signal.signal(signal.SIGTERM, before)
        server.server_close()


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(_ENDED_BY_SIGTERM)

"""``archsearch bench``: measure this machine; a file for each subcommand, as for commands."""

from __future__ import annotations

import importlib

import typer

SUBCOMMANDS = (
    "training",
    "verdict",
    "data",
    "scaling",
    "protocol",
    "mixers",
    "recall",
    "tabular",
    "search",
    "driver",
)
"""In the order of the help."""

bench = typer.Typer()


@bench.callback(invoke_without_command=True)
def _bench(context: typer.Context) -> None:
    """Measure speed and recall on this machine."""
    if context.invoked_subcommand is None:
        print(context.get_help())


for _name in SUBCOMMANDS:
    bench.command(_name)(getattr(importlib.import_module(f"{__name__}.{_name}"), _name))

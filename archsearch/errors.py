"""The exception tree.

ArchsearchError
├── InputError            exit 2   a command line, file or value that cannot be used
│   └── UnknownNameError  exit 2   a name that no component carries
├── GoalNotMetError       exit 3   a campaign ended without any usable result
├── StoreError            exit 4   a store, record or folder is damaged or not writable
├── ResumeRefusedError    exit 5   a campaign cannot go on under other settings
├── ClusterError          exit 6   Ray is missing, refuses us or is gone
└── CampaignHeldError     exit 75  another driver holds the campaign

Messages say where, what was found, what is allowed and what to do; one line a problem.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class ArchsearchError(Exception):
    """Base of everything that archsearch raises on purpose."""

    exit_code = 1

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems: tuple[str, ...] = (
            (problems,) if isinstance(problems, str) else tuple(problems)
        )
        super().__init__("\n".join(self.problems))


class InputError(ArchsearchError):
    """A command line, a file or a value cannot be used as given."""

    exit_code = 2


class UnknownNameError(InputError):
    """A name is not among the known ones."""


class GoalNotMetError(ArchsearchError):
    """A campaign ended, but without any usable result."""

    exit_code = 3


class StoreError(ArchsearchError):
    """A study, record, folder or weight file is damaged, missing or not writable."""

    exit_code = 4


class ResumeRefusedError(ArchsearchError):
    """A campaign cannot go on: its settings or software differ from those it began with."""

    exit_code = 5


class ClusterError(ArchsearchError):
    """Ray could not be started, joined or kept."""

    exit_code = 6


class CampaignHeldError(ArchsearchError):
    """Another driver holds the campaign's lock."""

    exit_code = 75


def suggestion(name: str, known: Iterable[str]) -> str:
    """Returns ``; did you mean 'x'?`` for the nearest known name, or an empty string."""
    nearest = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean '{nearest[0]}'?" if nearest else ""

"""``archsearch watch``: the live view of a campaign that runs elsewhere."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from archsearch.cli._options import Directory

if TYPE_CHECKING:
    from archsearch.campaign.progress import Snapshot
    from archsearch.campaign.reading import Reading
    from archsearch.cli.render import LiveProgress

_LOOKING_SHARE = 1 / 20
"""Of the time is spent on reading: a long campaign is read less often."""


def watch(
    directory: Directory,
    every: Annotated[
        float, typer.Option(min=0.1, max=3600, help="Seconds between two looks.")
    ] = 2.0,
) -> None:
    """Follow a campaign from another terminal until its driver ends; nothing is written."""
    from archsearch.cli.render import LiveProgress

    with LiveProgress(str(directory)) as progress:
        try:
            _follow(directory, every, progress)
        except KeyboardInterrupt:
            progress.event("no longer watched; the campaign goes on")


def _follow(directory: Path, every: float, progress: LiveProgress) -> None:
    from archsearch.campaign.lock import holder_of
    from archsearch.campaign.progress import TrialLog
    from archsearch.campaign.reading import read
    from archsearch.records import TrialOutcome

    log = TrialLog(progress)
    known: set[int] | None = None
    while True:
        began = time.monotonic()
        # asked before reading: what a driver did at last is then read all the same
        holder = holder_of(directory)
        reading = read(directory)
        ended = {r.number: r for r in reading.records if r.outcome is not TrialOutcome.RUNNING}
        if known is None:
            driven = f"held by {holder}" if holder else "no driver is at work"
            progress.event(f"{len(ended):,} records so far, {driven}")
            known = set(ended)
        for number in sorted(ended.keys() - known):
            log.tell(ended[number])
        known |= ended.keys()
        progress.update(partial(_snapshot, reading, is_driven=holder is not None))
        if holder is None:
            log.event(f"no driver is at work (any more): archsearch status {directory}")
            return
        time.sleep(max(every, (time.monotonic() - began) / _LOOKING_SHARE))


def _snapshot(reading: Reading, *, is_driven: bool) -> Snapshot:
    from archsearch.campaign.progress import Snapshot, design_of, name_of
    from archsearch.records import TrialOutcome

    front = reading.front
    running = [r for r in reading.records if r.outcome is TrialOutcome.RUNNING]
    confirming = bool(reading.confirmations) or reading.confirm_seconds > 0
    phase = "confirmation" if confirming else "search"
    return Snapshot(
        phase=phase if is_driven else "ended",
        counts=front.counts,
        running=tuple(f"{name_of(r)}: {design_of(r)}" for r in running),
        front=front,
        target_trials=reading.campaign.settings.trials,
        elapsed_seconds=reading.elapsed_seconds + reading.confirm_seconds,
        eta_seconds=None,
        core_use=None,
        decisions=reading.decisions,
        failures=reading.failures,
    )

"""What ``run`` and ``resume`` share: options, signals, the live display and the closing words."""

from __future__ import annotations

import shlex
import shutil
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TextIO, TypeVar

from archsearch.campaign.config import (
    Campaign,
    Settings,
    check_versions,
    claim_directory,
    confirm_command,
    new_settings,
    next_directory,
    probe,
    resume_command,
)
from archsearch.campaign.exports import export_record
from archsearch.campaign.front import front_of
from archsearch.campaign.launch import LaunchOptions, launch
from archsearch.campaign.progress import Ending, EndKind, Stop
from archsearch.campaign.stopping import rules
from archsearch.cli._options import RESULTS
from archsearch.cli.render import LiveProgress, print_front
from archsearch.errors import (
    ArchsearchError,
    GoalNotMetError,
    InputError,
    suggestion,
)
from archsearch.execution import executors
from archsearch.execution.base import ExecutorOptions
from archsearch.records import Confirmation, Front, TrialOutcome, TrialRecord
from archsearch.samplers import samplers
from archsearch.space import CampaignFile
from archsearch.storage import read_confirmations, read_records, redacted, url_problems

T = TypeVar("T")

_TERM_GRACE_SECONDS = 25.0
_SIGNAL_EXIT = {signal.SIGINT: 130, signal.SIGTERM: 143}


def reopened(directory: Path) -> Campaign:
    """An existing campaign, to be gone on with; warns of other versions than it began with.

    Raises:
        InputError: The folder is not a campaign's.
        StoreError: It is damaged.
        ResumeRefusedError: Its file was edited, or the versions differ too much.
    """
    campaign = Campaign.open(directory)
    for warning in check_versions(campaign.settings):
        warn(warning)
    return campaign


def launch_options(
    *,
    executor: str,
    workers: int | None,
    address: str | None,
    cpus_per_trial: int,
    gpus_per_trial: float,
    device: str,
) -> LaunchOptions:
    """Checks the options of execution against each other.

    Raises:
        InputError: They do not fit; every reason at once.
    """
    problems = []
    if executor not in executors:
        names = ", ".join(executors.names())
        problems.append(
            f"--executor: got '{executor}'; must be one of {names}"
            f"{suggestion(executor, executors.names())}"
        )
    if executor == "serial":
        if workers not in (None, 1):
            problems.append(
                f"--workers: got {workers}; the serial executor has 1; use --executor ray"
            )
        if address is not None:
            problems.append("--address: needs --executor ray")
        if gpus_per_trial:
            problems.append("--gpus-per-trial: needs --executor ray")
    if device not in ("auto", "cpu") and address is None:
        from archsearch.device import resolve

        try:
            resolve(device)
        except InputError as error:
            problems += [f"--device: {problem}" for problem in error.problems]
    if problems:
        raise InputError(problems)
    options = ExecutorOptions(
        workers=workers,
        address=address,
        cpus_per_trial=cpus_per_trial,
        gpus_per_trial=gpus_per_trial,
    )
    if device == "auto" and executor != "serial" and not gpus_per_trial:
        # Ray's workers see every accelerator, also those that no trial was given
        device = "cpu"
    return LaunchOptions(executor, options, device)


UNTIMED = (
    "--time-budget: the campaign is 'deterministic', and what a time allows differs from run to"
    " run; give --trials"
)
"""Why a deterministic campaign gets no other budget."""


def settings(file: CampaignFile, **overrides: object) -> Settings:
    """Settings of a new campaign, the command line's words first.

    Raises:
        InputError: A sampler, a stopping rule or a choice of references is not known, or a
            deterministic campaign is given a time.
    """
    problems = []
    for option, known in (
        ("sampler", samplers.names()),
        ("stopping", rules.names()),
        ("reference_widths", ("default", "all")),
    ):
        given = overrides.get(option)
        if given is not None and given not in known:
            flag = "--references" if option == "reference_widths" else f"--{option}"
            problems.append(
                f"{flag}: got '{given}'; must be one of {', '.join(known)}"
                f"{suggestion(str(given), known)}"
            )
    if overrides.get("time_budget_minutes") is not None and file.search.deterministic:
        problems.append(UNTIMED)
    storage = overrides.get("storage")
    if storage is not None:
        problems += [f"--storage: {problem}" for problem in url_problems(str(storage))]
    if problems:
        raise InputError(problems)
    command = shlex.join(["archsearch", *map(redacted, sys.argv[1:])])
    return new_settings(file, command=command, **overrides)


def with_settings(file: CampaignFile, fixed: Settings) -> CampaignFile:
    """The campaign file as the command line has changed it, to be shown."""
    fields = ("trials", "time_budget_minutes", "seed", "sampler", "stopping", "reference_widths")
    changed = {name: getattr(fixed, name) for name in fields}
    return replace(file, search=file.search.model_copy(update=changed))


def warn(text: str) -> None:
    """One line on stderr."""
    print(f"archsearch: warning: {text}", file=sys.stderr)


def warn_of_calibration(file: CampaignFile, path: Path, out: Path | None) -> None:
    """One line, unless the space was calibrated and found to tell designs apart.

    Args:
        file: As the command line has changed it.
        path: Where it is.
        out: The campaign's folder, if it was named: calibrations may lie beside it, too.
    """
    from archsearch.campaign.calibrate import caution

    roots = (RESULTS,) if out is None else (out.parent, RESULTS)
    found = caution(file, path, roots)
    if found is not None:
        warn(found)


def begin(file: CampaignFile, fixed: Settings, how: LaunchOptions, out: Path | None) -> int:
    """Makes the campaign's folder and runs it; returns the exit code."""
    directory = claim_directory(out) if out is not None else next_directory(file.name, RESULTS)
    probe(directory)
    campaign = Campaign.create(file, directory, fixed)
    try:
        return _drive(campaign, how)
    except ArchsearchError:
        # no folder is left behind by a campaign that could not even begin
        if not campaign.has_begun:
            shutil.rmtree(directory, ignore_errors=True)
        raise


def go_on(campaign: Campaign, how: LaunchOptions, changes: Mapping[str, object]) -> int:
    """Continues a campaign, with another budget if one was given; returns the exit code."""
    return _drive(campaign, how, changes)


def confirm(campaign: Campaign, how: LaunchOptions, changes: Mapping[str, object]) -> int:
    """Trains the front again with fresh seeds; returns the exit code."""
    return _drive(campaign, how, changes, search=False)


def _drive(
    campaign: Campaign,
    how: LaunchOptions,
    changes: Mapping[str, object] | None = None,
    *,
    search: bool = True,
) -> int:
    def work(display: LiveProgress, stop: Stop, install: Callable[[], None]) -> Ending:
        return launch(
            campaign, how, display, stop, changes=changes, on_started=install, search=search
        )

    ending, received = carried_out(f"campaign {campaign.directory}", work)
    url, study = campaign.storage_url, campaign.settings.study
    records, confirmations = read_records(url, study), read_confirmations(url, study)
    front = front_of(campaign, records, confirmations)
    go_on_with = (resume_command if search else confirm_command)(campaign.directory)
    _closing_words(campaign, ending, front, records, confirmations, go_on_with)
    if ending.kind in (EndKind.DRAINED, EndKind.CANCELLED):
        return exit_code(received)
    _complain_of_failure(ending, front, records, go_on_with)
    return 0


def carried_out(
    title: str,
    work: Callable[[LiveProgress, Stop, Callable[[], None]], T],
    stream: TextIO | None = None,
) -> tuple[T, list[int]]:
    """What work with a live display comes to, and the signals that it received.

    Args:
        title: Of the work, said first.
        work: Is given what to tell, how it is ended, and what installs our signal handlers.
        stream: Where it is shown; standard output unless given.
    """
    stop, display = Stop(), LiveProgress(stream=stream)
    display.event(title)
    received: list[int] = []
    try:
        with signals(stop, received) as install:
            return work(display, stop, install), received
    finally:
        display.close()


@contextmanager
def signals(stop: Stop, received: list[int]) -> Iterator:  # type: ignore[type-arg]
    """Ctrl-C once drains, twice cancels; SIGTERM drains for less than a batch system's patience."""
    timer = threading.Timer(_TERM_GRACE_SECONDS, lambda: setattr(stop, "cancelled", True))
    timer.daemon = True

    def on_signal(number: int, _: FrameType | None) -> None:
        received.append(number)
        if stop.draining:
            stop.cancelled = True
        stop.draining = True
        if number == signal.SIGTERM and len(received) == 1:
            timer.start()

    before = {number: signal.getsignal(number) for number in _SIGNAL_EXIT}

    def install() -> None:
        for number in _SIGNAL_EXIT:
            signal.signal(number, on_signal)

    try:
        yield install
    finally:
        timer.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)


def exit_code(received: list[int]) -> int:
    """Of what was ended by the first of these signals."""
    return _SIGNAL_EXIT.get(signal.Signals(received[0]), 130) if received else 130


def _closing_words(
    campaign: Campaign,
    ending: Ending,
    front: Front,
    records: list[TrialRecord],
    confirmations: list[Confirmation],
    go_on_with: str,
) -> None:
    print(f"{ending.kind.value}: {ending.reason}")
    print_front(front, n_max=campaign.n_max, always_picture=True)
    if ending.kind in (EndKind.DRAINED, EndKind.CANCELLED):
        print(f"continue: {go_on_with}")
    if not front.members:
        return
    from archsearch.cli.figure import plot_front

    picture = campaign.directory / "front.png"
    plot_front(front, picture, campaign.file.title or campaign.file.name)
    print(f"picture: {picture}")
    if front.knee is not None:
        by_number = {record.number: record for record in records}
        try:
            path = export_record(
                campaign, by_number[front.knee], "yaml", confirmations=confirmations
            ).path
        except InputError as error:
            # what is in the way is the user's; the campaign has ended as it should all the same
            print(f"not exported: {error}")
        else:
            print(f"exported: {path} (trial {front.knee}, the knee of the front)")
    print(f"inspect: archsearch front {campaign.directory}")


def _complain_of_failure(
    ending: Ending, front: Front, records: list[TrialRecord], go_on_with: str
) -> None:
    """Raises GoalNotMetError where a campaign has nothing to show."""
    counted = Counter(r.failure.message for r in records if r.failure is not None)
    commonest = "; ".join(f"{count} x {text}" for text, count in counted.most_common(3))
    why = f"; the commonest failures: {commonest}" if commonest else ""
    if ending.kind is EndKind.ABORTED:
        mended = f"when that is mended: {go_on_with}"
        raise GoalNotMetError(f"campaign stopped: {ending.reason}{why}; {mended}")
    if not any(front.counts[o.value] for o in (TrialOutcome.SOLVED, TrialOutcome.FINISHED)):
        infeasible = front.counts[TrialOutcome.INFEASIBLE.value]
        why = (f"; {infeasible} were infeasible" if infeasible else "") + why
        raise GoalNotMetError(f"no design could be trained to its end{why}")

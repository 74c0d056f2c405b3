"""Carries a calibration out and keeps it, under a key that spaces of the same protocol share.

<results>/calibrations/<name>-<key>/
    runs.jsonl         every run that ended, one sealed line each, synced before the next begins
    calibration.json   what they say, sealed; there once no run is missing
    lock               of the process that is at work
"""

from __future__ import annotations

import shlex
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from archsearch.campaign.calibration.conclude import against, conclude
from archsearch.campaign.calibration.plan import CalibrationPlan, missing, plan_of
from archsearch.campaign.calibration.records import Calibration, CalibrationRun, Place
from archsearch.campaign.dispatch import WorkerSettings
from archsearch.campaign.estimates import score_of
from archsearch.campaign.launch import LaunchOptions, worker_of
from archsearch.campaign.lock import CampaignLock
from archsearch.campaign.progress import Ending, EndKind, Observer, Stop
from archsearch.campaign.runs import Ended, RunLoop, keep_sealed, kept_runs
from archsearch.errors import ArchsearchError, InputError, StoreError
from archsearch.execution import executors
from archsearch.execution.base import Executor
from archsearch.records import Evaluation, EvaluationRequest, unseal
from archsearch.space import CampaignFile

CALIBRATIONS: Final = "calibrations"
JOURNAL: Final = "runs.jsonl"
CALIBRATION: Final = "calibration.json"


def folder_of(plan: CalibrationPlan, results: Path) -> Path:
    """Where a calibration is kept: where one of its key is, whatever its space was called.

    Args:
        plan: Of the calibration.
        results: The folder of all results; need not exist.
    """
    root = results / CALIBRATIONS
    found = sorted(root.glob(f"*-{plan.key}"))
    return found[0] if found else root / f"{plan.file.name}-{plan.key}"


# what is kept


def read_runs(plan: CalibrationPlan, folder: Path) -> list[CalibrationRun]:
    """The last of each run that is kept; those of other seeds than the plan's, too.

    Raises:
        StoreError: A line is damaged, or of another calibration.
    """
    path = folder / JOURNAL
    runs: dict[Place, CalibrationRun] = {}
    for number, run in enumerate(kept_runs(path, CalibrationRun), 1):
        design = plan.designs.get(run.name)
        if run.key != plan.key or design is None or run.digest != design.digest:
            raise StoreError(
                f"{path}:{number}: is a run of another calibration; remove the line to have it run"
                " again"
            )
        runs[run.place] = run
    return list(runs.values())


def keep(folder: Path, calibration: Calibration) -> None:
    """Writes what the runs say: the old file or the new one exists, never half of one.

    Raises:
        StoreError: It cannot be written.
    """
    keep_sealed(folder / CALIBRATION, calibration)


def read_calibration(folder: Path) -> Calibration | None:
    """What is kept of a calibration that was completed; None if there is none.

    Raises:
        StoreError: It is damaged.
    """
    path = folder / CALIBRATION
    try:
        text = path.read_text()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{path}: cannot be read ({error})") from None
    return unseal(Calibration, text, str(path))


def calibrate_command(file: Path) -> str:
    """What calibrates a space, or continues to."""
    return f"archsearch calibrate {shlex.quote(str(file))}"


def caution(file: CampaignFile, path: Path, roots: Iterable[Path]) -> str | None:
    """What who begins a campaign ought to know of its calibration; None if all is well.

    Args:
        file: The campaign file.
        path: Where it is.
        roots: Folders of results in which a calibration may be kept.
    """
    plan, command = plan_of(file), calibrate_command(path)
    for root in roots:
        try:
            found = read_calibration(folder_of(plan, root))
        except ArchsearchError as error:
            return f"{error.problems[0]}; make it again with '{command}'"
        if found is None:
            continue
        if found.discriminates:
            return None
        why = "; ".join(f.proposal for f in against(found.findings) if f.proposal)
        return (
            f"by its calibration this space does not tell designs apart"
            f"{f' ({why})' if why else ''}; see '{command}'"
        )
    return f"never calibrated; '{command}' says whether cells and budget tell designs apart"


# the loop


def calibrate(
    plan: CalibrationPlan,
    folder: Path,
    how: LaunchOptions,
    observer: Observer,
    stop: Stop,
    *,
    on_started: Callable[[], None] = lambda: None,
) -> Ending:
    """Makes the runs that are missing, and keeps what they say once none is.

    Args:
        plan: What is to be run.
        folder: Made if need be.
        how: Executor and its options.
        observer: Is told what happens.
        stop: How the user ends it.
        on_started: Called when the executor runs: Ray sets signal handlers, ours come after.

    Raises:
        CampaignHeldError: Another process is at work there.
        ClusterError: The executor cannot be started or is gone.
        InputError: The folder cannot be made.
        StoreError: The folder is damaged or not writable.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be made ({error.strerror}); choose another folder with --results"
        ) from None
    with CampaignLock(folder):
        if any(missing(plan, read_runs(plan, folder))):
            with executors.get(how.executor)(how.options) as executor:
                on_started()
                worker = worker_of(how, executor.slots)
                ending = Calibrator(plan, folder, executor, observer, stop, worker).run()
        else:
            ending = Ending(EndKind.FINISHED, "all runs were made before")
        if ending.kind is EndKind.FINISHED:
            keep(folder, conclude(plan, read_runs(plan, folder), workers=how.options.workers))
        return ending


class Calibrator(RunLoop[Place, CalibrationRun]):
    """Makes the runs that are missing; the caller holds the folder's lock.

    Args:
        plan: What is to be run.
        folder: Exists.
        executor: Carries out requests.
        observer: Is told what happens.
        stop: How the user ends it.
        worker: What a worker may use.
    """

    work = "calibration"

    def __init__(
        self,
        plan: CalibrationPlan,
        folder: Path,
        executor: Executor,
        observer: Observer,
        stop: Stop,
        worker: WorkerSettings,
    ) -> None:
        wanted = set(plan.places)
        runs = {run.place: run for run in read_runs(plan, folder) if run.place in wanted}
        super().__init__(folder / JOURNAL, executor, observer, stop, runs)
        self._plan = plan
        self._worker = worker
        self._waiting = deque(missing(plan, runs.values()))

    def run(self) -> Ending:
        """Trains until nothing is missing, or the user ends it.

        Raises:
            StoreError: A run cannot be kept, or the folder is gone.
            ClusterError: The executor is gone.
        """
        if not self._train():
            return Ending(EndKind.CANCELLED, "cancelled by the user")
        left = len(list(missing(self._plan, self._runs.values())))
        if self._stop.draining and left:
            return Ending(EndKind.DRAINED, "stopped by the user")
        if left:
            return Ending(EndKind.ABORTED, f"{left} of {len(self._plan.places)} runs failed")
        return Ending(EndKind.FINISHED, f"{len(self._plan.places)} runs done")

    def _next(self) -> Place | None:
        return self._waiting.popleft() if self._waiting else None

    def _request(self, place: Place) -> EvaluationRequest:
        return self._plan.request(place, self._worker)

    def _run_of(self, place: Place, digest: str, ended: Ended) -> CalibrationRun:
        return CalibrationRun(
            key=self._plan.key,
            name=place.name,
            digest=digest,
            learning_rate=place.learning_rate,
            seed=place.seed,
            **ended,
        )

    def _words(self, result: Evaluation) -> str:
        worst = min((cell.accuracy for cell in result.test), default=0.0)
        return (
            f"{result.outcome.value} at step {result.step}, accuracy {score_of(result):.3f},"
            f" worst cell {worst:.3f}, {result.seconds:.0f} s"
        )

    def _num_planned(self) -> int:
        return len(self._plan.places)

    def _eta_seconds(self) -> float | None:
        waiting = 0 if self._stop.draining else len(self._waiting)
        left = waiting + len(self._flights)
        return left * self._elapsed_seconds / self._made if self._made else None

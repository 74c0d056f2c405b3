"""Carries an explanation out and keeps it beside the campaign, whose study is only read.

<campaign>/explain/
    runs.jsonl         every run that ended, one sealed line each, synced before the next begins
    explanation.json   what they say
    lock               of the process that is at work
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from archsearch.campaign.dispatch import WorkerSettings
from archsearch.campaign.estimates import score_of
from archsearch.campaign.explanation.conclude import conclude
from archsearch.campaign.explanation.plan import Evidence, ExplainPlan
from archsearch.campaign.explanation.records import EditRun, Explanation, Importance, Place
from archsearch.campaign.launch import LaunchOptions, worker_of
from archsearch.campaign.lock import CampaignLock
from archsearch.campaign.policy import MAX_CONSECUTIVE_FAILURES
from archsearch.campaign.progress import Ending, EndKind, Observer, Stop
from archsearch.campaign.reading import Reading
from archsearch.campaign.runs import Ended, RunLoop, keep_sealed, kept_runs
from archsearch.errors import InputError, StoreError
from archsearch.execution import executors
from archsearch.execution.base import Executor
from archsearch.records import Evaluation, EvaluationRequest
from archsearch.storage import read_importances

FOLDER: Final = "explain"
JOURNAL: Final = "runs.jsonl"
EXPLANATION: Final = "explanation.json"


def folder_of(reading: Reading) -> Path:
    """Where a campaign's explanation is kept."""
    return reading.campaign.directory / FOLDER


def read_runs(plan: ExplainPlan, folder: Path) -> list[EditRun]:
    """The last of each run that is kept; of designs that are edits no more, too.

    Raises:
        StoreError: A line is damaged, or of another campaign file.
    """
    path = folder / JOURNAL
    runs = {}
    for number, run in enumerate(kept_runs(path, EditRun), 1):
        if run.key != plan.key:
            raise StoreError(f"{path}:{number}: is of another campaign; remove the file")
        runs[run.place] = run
    return list(runs.values())


def explanation_of(reading: Reading, plan: ExplainPlan) -> Explanation:
    """What is known so far, from what is kept.

    Raises:
        StoreError: The study or the journal is damaged.
    """
    campaign = reading.campaign
    trained = {r.number for r in reading.records if r.reference is None and r.outcome.was_trained}
    settings = campaign.settings
    shares = read_importances(campaign.storage_url, settings.study, trained, settings.seed)
    importances = [
        Importance(name=name, share=s.share, interval=(s.low, s.high)) for name, s in shares.items()
    ]
    designs = plan.designs
    runs = [
        run
        for run in read_runs(plan, folder_of(reading))
        if run.digest in designs and run.seed < plan.seeds
    ]
    return conclude(reading, plan, runs, importances)


def seeds_of(reading: Reading) -> int:
    """How many seeds an explanation has begun; 0 if there is none.

    Raises:
        StoreError: The journal is damaged.
    """
    runs = kept_runs(folder_of(reading) / JOURNAL, EditRun)
    return max((run.seed + 1 for run in runs), default=0)


def explain(
    reading: Reading,
    plan: ExplainPlan,
    how: LaunchOptions,
    observer: Observer,
    stop: Stop,
    *,
    on_started: Callable[[], None] = lambda: None,
) -> tuple[Ending, Explanation]:
    """Trains members and edits until none is missing or the time is over, and keeps the outcome.

    Args:
        reading: The campaign's.
        plan: What is to be trained.
        how: Executor and its options.
        observer: Is told what happens.
        stop: How the user ends it.
        on_started: Called when the executor runs: Ray sets signal handlers, ours come after.

    Raises:
        CampaignHeldError: Another process explains this campaign.
        ClusterError: The executor cannot be started or is gone.
        InputError: The folder cannot be made.
        StoreError: The folder is damaged or not writable.
    """
    folder = folder_of(reading)
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror})") from None
    with CampaignLock(folder):
        done = [run for run in read_runs(plan, folder) if run.result is not None]
        if not any(Evidence(plan, done).missing()):
            ending = Ending(EndKind.FINISHED, "all runs were made before")
        else:
            with executors.get(how.executor)(how.options) as executor:
                on_started()
                worker = worker_of(how, executor.slots)
                ending = Explainer(plan, folder, executor, observer, stop, worker).run()
        found = explanation_of(reading, plan)
        # a look at fewer seeds says less than what is kept
        if plan.seeds >= seeds_of(reading) or not (folder / EXPLANATION).exists():
            keep_sealed(folder / EXPLANATION, found)
        return ending, found


class Explainer(RunLoop[Place, EditRun]):
    """Makes the runs that are missing; the caller holds the folder's lock.

    Args:
        plan: What is to be trained.
        folder: Exists.
        executor: Carries out requests.
        observer: Is told what happens.
        stop: How the user ends it.
        worker: What a worker may use.
    """

    work = "explanation"

    def __init__(
        self,
        plan: ExplainPlan,
        folder: Path,
        executor: Executor,
        observer: Observer,
        stop: Stop,
        worker: WorkerSettings,
    ) -> None:
        # what failed before is tried again
        runs = [run for run in read_runs(plan, folder) if run.result is not None]
        super().__init__(
            folder / JOURNAL, executor, observer, stop, {run.place: run for run in runs}
        )
        self._plan = plan
        self._worker = worker

    def run(self) -> Ending:
        """Trains until nothing is missing, the time is over, or the user ends it.

        Raises:
            StoreError: A run cannot be kept, or the folder is gone.
            ClusterError: The executor is gone.
        """
        if not self._train():
            return Ending(EndKind.CANCELLED, "cancelled by the user")
        left = len(self._missing())
        if left and self._stop.draining:
            return Ending(EndKind.DRAINED, "stopped by the user")
        failed = [run for run in self._runs.values() if run.result is None]
        if failed:
            why = f"{len(failed)} runs failed, such as by {failed[0].problem}"
            return Ending(EndKind.ABORTED, why)
        if left:
            return Ending(
                EndKind.FINISHED, f"{self._plan.minutes:g} minutes spent; {left} runs left"
            )
        return Ending(EndKind.FINISHED, "every edit was trained")

    def _missing(self) -> list[Place]:
        return list(Evidence(self._plan, self._runs.values()).missing())

    def _next(self) -> Place | None:
        if self._elapsed_seconds >= 60 * self._plan.minutes:
            return None
        last = list(self._runs.values())[-MAX_CONSECUTIVE_FAILURES:]
        if len(last) == MAX_CONSECUTIVE_FAILURES and all(run.result is None for run in last):
            return None
        flying = set(self._flights.subjects)
        return next((place for place in self._missing() if place not in flying), None)

    def _request(self, place: Place) -> EvaluationRequest:
        return self._plan.request(place, self._worker)

    def _run_of(self, place: Place, digest: str, ended: Ended) -> EditRun:
        return EditRun(
            key=self._plan.key,
            digest=digest,
            learning_rate=place.learning_rate,
            seed=place.seed,
            **ended,
        )

    def _name(self, place: Place) -> str:
        design = self._plan.designs[place.digest]
        return f"{design.text}, rate {place.learning_rate:g}, seed {place.seed + 1}"

    def _words(self, result: Evaluation) -> str:
        return f"accuracy {score_of(result):.3f}, {result.seconds:.0f} s"

    def _num_planned(self) -> int:
        return len(self._runs) + len(self._missing())

    def _eta_seconds(self) -> float | None:
        spent = self._elapsed_seconds
        # what is left of the time, or of the work
        left = 60 * self._plan.minutes - spent
        if self._made:
            left = min(left, len(self._missing()) * spent / self._made)
        return max(0.0, left)

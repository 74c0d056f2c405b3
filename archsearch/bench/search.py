"""How soon search methods find the front of a recorded space, and what their decisions cost.

What a campaign has found by a time is the hypervolume of the designs that it has finished by then,
each with its score in the table: the mean over the recorded seeds at the rate that the campaign
scored it at. So a lucky seed is no find.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple

from archsearch import journal
from archsearch.bench._processes import Lost, run_each
from archsearch.bench.simulation import Method, Told, met_seed, simulate
from archsearch.bench.table import RUNS, SPACE, Table, load_table
from archsearch.errors import StoreError
from archsearch.objectives import OBJECTIVES, capped_accuracy
from archsearch.pareto import hypervolume, non_dominated
from archsearch.records import RunOutcome, TrialOutcome, TrialRecord, VerdictKind
from archsearch.space import CampaignFile, load

REACHED: Final = 0.95
"""Share of the table's hypervolume that counts as having found its front."""

METHODS: Final = (
    Method("random", "all", "none"),
    Method("random", "drawn", "none"),
    Method("tpe", "all", "none"),
    Method("nsga2", "all", "none"),
    Method("random", "race", "none"),
    Method("random", "race", "asha"),
    Method("random"),
    Method("tpe"),
    Method("nsga2"),
    Method("structural"),
    Method("surrogate"),
    Method("surrogate", "all", "none"),
    Method("portfolio"),
)
"""``gp`` is left out: a campaign of it takes ten times TPE's time."""

BASELINES: Final = (METHODS[0], METHODS[2])
"""Random search and Optuna's TPE, every rate of every design to its end."""

_DECIDING: Final = ("campaign", "samplers", "storage", "bench/simulation.py", "bench/search.py")
"""Sources that results depend on, besides the table."""


@dataclass(frozen=True)
class Truth:
    """What a table knows of its space.

    Attributes:
        table: Complete.
    """

    table: Table
    _scores: dict[tuple[str, int], float] = field(default_factory=dict, repr=False)

    def score(self, key: str, rate: int) -> float:
        """Capped test accuracy of a design at a rate, mean over the seeds."""
        if (key, rate) not in self._scores:
            runs = [self.table.run(key, rate, s) for s in range(self.table.card.seeds)]
            tested = [capped_accuracy(r.accuracy) if r.accuracy else 0.0 for r in runs]
            self._scores[key, rate] = sum(tested) / len(tested)
        return self._scores[key, rate]

    def loss(self, score: float, flops: float) -> tuple[float, float]:
        """A point to be minimised."""
        return OBJECTIVES["accuracy"].loss(score), OBJECTIVES["flops"].loss(flops)

    @cached_property
    def members(self) -> frozenset[str]:
        """Keys of the designs on the table's front."""
        return frozenset(member.key for member in self.table.card.front)

    @cached_property
    def bound(self) -> tuple[float, float]:
        """The hypervolume's reference point: convolutions only, at the highest price there is."""
        dearest = max(design.price.flops for design in self.table.designs)
        return self.loss(self.table.card.convolutions_only or 0.0, dearest)

    @cached_property
    def hypervolume(self) -> float:
        """Of the table's front: each design at the rate that is best by validation."""
        points = [self.loss(m.score, m.flops) for m in self.table.card.front]
        return hypervolume(points, self.bound)


class Outcome(NamedTuple):
    """One simulated campaign.

    Attributes:
        seconds: Until the share ``REACHED`` of the table's hypervolume; None if never.
        curve: (seconds, share of the table's hypervolume) after each trial that added to it.
        evaluated: Trials until the end.
        stopped: Trials that ended without a score because all of their runs were stopped.
        wrongful: Of those, the ones that would be on the front of what the campaign found.
        members: Trials whose designs are on the table's front.
        members_stopped: Of those, the ones that were stopped.
        saved: Share of the seconds that full runs at all rates would have taken.
        saved_by_stops: Share of the seconds that the same races without stops would have taken.
        busy: Share of the workers' time.
        driver_seconds: Processor time of driver and sampler, per evaluated trial.
    """

    method: Method
    workers: int
    seed: int
    seconds: float | None
    curve: tuple[tuple[float, float], ...]
    evaluated: int
    stopped: int
    wrongful: int
    members: int
    members_stopped: int
    saved: float
    saved_by_stops: float
    busy: float
    driver_seconds: float


class _Finder:
    """Adds up what a campaign has found."""

    def __init__(self, truth: Truth, n_max: int, until: float) -> None:
        self._truth = truth
        self._n_max = n_max
        self._until = until
        self._points: list[tuple[float, float]] = []
        self.curve: list[tuple[float, float]] = []

    def __call__(self, told: Told) -> bool:
        record = told.record
        if record.outcome.was_trained and record.scored is not None:
            assert record.price is not None
            rate = self._truth.table.card.rates.index(record.scored.learning_rate)
            score = self._truth.score(record.campaign_key, rate)
            self._points.append(self._truth.loss(score, record.price.flops))
            mask = non_dominated(self._points, keep_duplicates=False)
            self._points = [p for p, on in zip(self._points, mask, strict=True) if on]
            share = hypervolume(self._points, self._truth.bound) / self._truth.hypervolume
            if not self.curve or share > self.curve[-1][1]:
                self.curve.append((told.seconds, share))
        return bool(self.curve) and self.curve[-1][1] >= self._until

    def reached(self, share: float) -> float | None:
        """Seconds until that share was found."""
        return next((seconds for seconds, found in self.curve if found >= share), None)


def run(
    truth: Truth,
    file: CampaignFile,
    method: Method,
    *,
    workers: int,
    seed: int,
    until: float = REACHED,
) -> Outcome:
    """Simulates one campaign.

    Args:
        truth: Of the space's table.
        file: The space.
        method: How to search.
        workers: Virtual ones.
        seed: Of the campaign.
        until: Share of the table's hypervolume at which to end.
    """
    finder = _Finder(truth, file.task.longest_test_length, until)
    found = simulate(truth.table, file, method, seed=seed, workers=workers, enough=finder)
    records = [told.record for told in found.told]
    stopped = [r for r in records if r.outcome is TrialOutcome.STOPPED]
    saved, saved_by_stops = _savings(truth.table, records, seed)
    return Outcome(
        method=method,
        workers=workers,
        seed=seed,
        seconds=finder.reached(REACHED),
        curve=tuple(finder.curve),
        evaluated=len(records),
        stopped=len(stopped),
        wrongful=_wrongful(truth, records, stopped),
        members=sum(r.campaign_key in truth.members for r in records),
        members_stopped=sum(r.campaign_key in truth.members for r in stopped),
        saved=saved,
        saved_by_stops=saved_by_stops,
        busy=found.busy,
        driver_seconds=found.driver_seconds / max(1, len(records)),
    )


def _wrongful(truth: Truth, records: Sequence[TrialRecord], stopped: Sequence[TrialRecord]) -> int:
    """Stopped trials that would be on the front that the campaign found without them."""
    trained = [r for r in records if r.outcome.was_trained]
    points = [_point(truth, r) for r in trained]
    count = 0
    for record in stopped:
        mine = _point(truth, record)
        count += not any(p[0] <= mine[0] and p[1] <= mine[1] for p in points) and (
            mine[0] < truth.bound[0]
        )
    return count


def _point(truth: Truth, record: TrialRecord) -> tuple[float, float]:
    """A trial by its true score, at the rate that it was, or would have been, scored at."""
    assert record.price is not None
    rates = truth.table.card.rates
    if record.scored_run is not None and record.scored is not None:
        going = [record.scored]
    else:
        against = record.verdicts
        going = [
            e
            for run, e in record.runs.items()
            if run in against and against[run].kind is VerdictKind.STOPPED
        ]
    scores = [truth.score(record.campaign_key, rates.index(e.learning_rate)) for e in going]
    return truth.loss(max(scores, default=0.0), record.price.flops)


def _savings(table: Table, records: Iterable[TrialRecord], campaign: int) -> tuple[float, float]:
    """What was not spent, as a share of what would have been.

    Returns:
        Against every rate of every trial to its end, or success; and against the races alone, the
        runs that were stopped going on to theirs.
    """
    spent = full = stopped = 0.0
    for record in records:
        seed = met_seed(table, campaign, record.campaign_key)
        runs = [table.run(record.campaign_key, r, seed) for r in range(len(table.card.rates))]
        spent += sum(e.seconds for e in record.evaluations)
        full += sum(run.cpu_seconds for run in runs)
        for number, verdict in record.verdicts.items():
            last = record.runs[number]
            if verdict.kind is VerdictKind.STOPPED and last.outcome is RunOutcome.PAUSED:
                run = runs[table.card.rates.index(last.learning_rate)]
                stopped += run.cpu_seconds * (1 - last.step / run.step)
    if not spent:
        return 0.0, 0.0
    return 1 - spent / full, stopped / (spent + stopped)


class Task(NamedTuple):
    """A campaign to be simulated, as it goes to a process."""

    directory: str
    method: Method
    workers: int
    seed: int


def carry_out(task: Task) -> Outcome:
    """Reads the table and simulates."""
    directory = Path(task.directory)
    truth = Truth(load_table(directory))
    return run(truth, load(directory / SPACE), task.method, workers=task.workers, seed=task.seed)


def study(
    directory: Path,
    methods: Sequence[Method],
    out: Path,
    *,
    workers: Sequence[int],
    seeds: int,
    processes: int = 1,
) -> Iterator[Outcome | Lost]:
    """Simulates what a file does not hold yet, appends each result to it, and yields it.

    Args:
        directory: Of a complete table.
        methods: To compare.
        out: JSON lines, of this table only.
        workers: Numbers of virtual ones.
        seeds: Campaigns of a method.
        processes: Campaigns simulated at a time.

    Raises:
        StoreError: The table or the file cannot be used, or its results are of other code.
    """
    table = load_table(directory)
    name, code = _name(table), _code()
    rows = _rows(out, name)
    done = {(o.method, o.workers, o.seed) for _, o in rows}
    wanted = [
        Task(str(directory), method, count, seed)
        for seed in range(seeds)
        for count in workers
        for method in methods
        if (method, count, seed) not in done
    ]
    if wanted and any(of != code for of, _ in rows):
        raise StoreError(
            f"{out}: results of another version of the search are not continued; give another file"
        )
    journal.prepare(out)
    for _task, outcome in run_each(
        carry_out, wanted, preload="archsearch.bench.search", count=processes
    ):
        if isinstance(outcome, Outcome):
            row = outcome._asdict()
            line = {"table": name, "code": code, **row, "method": outcome.method._asdict()}
            journal.append(out, line)
        yield outcome


def read(path: Path, table: Table) -> list[Outcome]:
    """The results of a file; none if there is no file.

    Raises:
        StoreError: A line is damaged, or of another table.
    """
    return [outcome for _, outcome in _rows(path, _name(table))]


def _rows(path: Path, name: str) -> list[tuple[str, Outcome]]:
    """The version of the code that each result is of, and the result."""
    found = []
    for number, (of, code, outcome) in enumerate(journal.read(path, _parsed), 1):
        if of != name:
            raise StoreError(f"{path}:{number}: a result of another table; give another file")
        found.append((code, outcome))
    return found


def _name(table: Table) -> str:
    """Tells tables apart by what was recorded."""
    return f"{table.card.name} {table.card.files[RUNS][:16]}"


def _code() -> str:
    """Tells versions of what decides apart: campaigns of two of them are not to be compared."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for name in _DECIDING:
        found = package / name
        for path in sorted(found.rglob("*.py")) if found.is_dir() else [found]:
            digest.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _parsed(data: dict[str, Any]) -> tuple[str, str, Outcome]:
    method = Method(**data.pop("method"))
    name, code = str(data.pop("table")), str(data.pop("code"))
    curve = tuple((float(s), float(f)) for s, f in data.pop("curve"))
    return name, code, Outcome(method=method, curve=curve, **data)

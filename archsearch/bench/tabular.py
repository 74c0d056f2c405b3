"""Records a small space completely: what ``table`` ships, run by run, over days if need be.

Every assignment of the space is walked; each design that may be trained and differs from the others
gets one run for each rate and seed, to its full budget or success. Results are kept line by line in
a journal; a run that is in it is not repeated. Designs come in a random order that is always the
same, all runs of one together, so that an unfinished recording is a fair sample of the space.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from archsearch import journal
from archsearch.bench._evaluations import FAILED
from archsearch.bench._processes import TRAINING, Lost, run_each
from archsearch.bench._table_front import convolutions_only, front_of, standings
from archsearch.bench._table_plan import SEEDS, Plan, plan_of
from archsearch.bench._table_text import card_text
from archsearch.bench._table_worker import Answer, Task, carry_out
from archsearch.bench.table import (
    CARD_TEXT,
    Card,
    RunKey,
    TableDesign,
    TableRun,
    write_table,
)
from archsearch.errors import StoreError
from archsearch.records import (
    CurvePoint,
    EvaluationRequest,
    Failure,
    FailureKind,
    RunOutcome,
    RunSeed,
)

__all__ = ["JOURNAL", "SEEDS", "Plan", "RunRow", "pack", "plan_of", "read", "record"]

JOURNAL: Final = "runs.jsonl"


class RunRow(NamedTuple):
    """One run, as a line of the journal.

    Attributes:
        key: The design's campaign key.
        rate: Index of the learning rate.
        seed: Index of the seed.
        protocol: Of the plan that it belongs to.
        accuracy: By test cell; empty when the run failed or diverged.
        curve: (step, training loss, accuracies, log-probabilities) of each validation.
        cpu_seconds: Of the run's process.
        versions: Of what the result may depend on.
    """

    key: str
    digest: str
    rate: int
    learning_rate: float
    seed: int
    protocol: str
    outcome: str
    step: int
    accuracy: tuple[float, ...]
    log_probability: tuple[float, ...]
    curve: tuple[tuple[int, float, tuple[float, ...], tuple[float, ...]], ...]
    cpu_seconds: float
    seconds: float
    train_flops: float
    versions: dict[str, str]
    detail: str = ""

    @property
    def place(self) -> RunKey:
        """Where it stands in the table."""
        return self.key, self.rate, self.seed


def record(
    plan: Plan, directory: Path, *, workers: int = 1, limit: int | None = None
) -> Iterator[RunRow]:
    """Runs what the journal does not hold yet, appends each result to it, and yields it.

    A run that failed (not: that did not learn, or diverged) is taken up again.

    Args:
        plan: Of this folder.
        directory: The table's folder.
        workers: Processes, one thread each.
        limit: The most runs to make now.

    Raises:
        StoreError: The journal cannot be read or written, or is of another protocol.
    """
    done = {row.place for row in read(plan, directory) if row.outcome != FAILED}
    wanted = [task for task in _tasks(plan) if task[0] not in done][:limit]
    path = directory / JOURNAL
    journal.prepare(path)
    for task, answer in run_each(carry_out, wanted, preload=TRAINING, count=workers):
        row = _row(plan, task, answer)
        journal.append(path, row._asdict())
        yield row


def read(plan: Plan, directory: Path) -> list[RunRow]:
    """The rows of a folder's journal, the last of each run; none if there is no journal.

    Raises:
        StoreError: A line is damaged, of another protocol or of a design that is not in the plan.
    """
    path = directory / JOURNAL
    known = {design.key for design in plan.designs}
    rows = {}
    for number, row in enumerate(journal.read(path, _parsed), 1):
        if row.protocol != plan.protocol or row.key not in known:
            same = row.protocol == plan.protocol
            what = "a design that is not in the space" if same else "another protocol"
            raise StoreError(f"{path}:{number}: is a run of {what}; give the space another folder")
        rows[row.place] = row
    return list(rows.values())


def _tasks(plan: Plan) -> Iterator[Task]:
    for design in plan.designs:
        for seed in range(SEEDS):
            for rate in range(len(plan.rates)):
                yield (design.key, rate, seed), _request(plan, design, rate, seed)


def _request(plan: Plan, design: TableDesign, rate: int, seed: int) -> EvaluationRequest:
    training = plan.file.training.model_copy(update={"learning_rate": plan.rates[rate]})
    return EvaluationRequest(
        architecture=design.architecture,
        task=plan.task,
        training=training,
        seed=RunSeed.of_design(plan.file.search.seed, design.key, seed),
        to_step=training.steps,
    )


def _row(plan: Plan, task: Task, answer: Answer | Lost) -> RunRow:
    (key, rate, seed), request = task
    if isinstance(answer, Lost):
        answer = Answer(Failure(kind=FailureKind.CRASHED, message=answer.reason), 0.0, {})
    known: dict[str, Any] = {
        "key": key,
        "digest": request.architecture.digest,
        "rate": rate,
        "learning_rate": plan.rates[rate],
        "seed": seed,
        "protocol": plan.protocol,
        "cpu_seconds": round(answer.cpu_seconds, 4),
        "versions": answer.versions,
    }
    result = answer.result
    if isinstance(result, Failure):
        return RunRow(
            **known, outcome=FAILED, step=0, accuracy=(), log_probability=(), curve=(),
            seconds=0.0, train_flops=0.0, detail=result.message,
        )  # fmt: skip
    return RunRow(
        **known,
        outcome=result.outcome.value,
        step=result.step,
        accuracy=tuple(cell.accuracy for cell in result.test),
        log_probability=_rounded(cell.log_probability for cell in result.test),
        curve=tuple(
            (p.step, round(p.train_loss, 6), p.accuracy, _rounded(p.log_probability))
            for p in result.curve
        ),
        seconds=round(result.seconds, 4),
        train_flops=result.train_flops,
        detail=result.detail,
    )


def _rounded(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(round(value, 6) for value in values)


def _parsed(data: dict[str, Any]) -> RunRow:
    curve = tuple((int(s), float(x), tuple(a), tuple(p)) for s, x, a, p in data["curve"])
    tuples = {name: tuple(data[name]) for name in ("accuracy", "log_probability")}
    row = RunRow(**{**data, **tuples, "curve": curve})
    hash(row.place)  # that it has one
    return row


def runs_of(rows: Iterable[RunRow]) -> dict[RunKey, TableRun]:
    """The runs of a journal as those of a table; those that failed are left out."""
    return {
        row.place: TableRun(
            outcome=RunOutcome(row.outcome),
            step=row.step,
            curve=tuple(
                CurvePoint(step=s, train_loss=x, accuracy=a, log_probability=p)
                for s, x, a, p in row.curve
            ),
            accuracy=row.accuracy,
            log_probability=row.log_probability,
            cpu_seconds=row.cpu_seconds,
            seconds=row.seconds,
            train_flops=row.train_flops,
        )
        for row in rows
        if row.outcome != FAILED
    }


def failures(rows: Iterable[RunRow]) -> int:
    """How many runs our code or the machine broke."""
    return sum(row.outcome == FAILED for row in rows)


def pack(plan: Plan, directory: Path) -> Card:
    """Writes the table from what the journal holds, complete or not.

    Raises:
        StoreError: The journal cannot be read, or a file cannot be written.
    """
    rows = read(plan, directory)
    card = write_table(directory, card_of(plan, rows), plan.designs, runs_of(rows))
    try:
        (directory / CARD_TEXT).write_text(card_text(card))
    except OSError as error:
        path = directory / CARD_TEXT
        raise StoreError(f"{path}: cannot be written ({error.strerror})") from None
    return card


def card_of(plan: Plan, rows: Sequence[RunRow]) -> Card:
    """What is known so far, without checksums.

    Args:
        plan: What is to be recorded.
        rows: Of the journal; those of runs that failed are left out.
    """
    file = plan.file
    rows = [row for row in rows if row.outcome != FAILED]
    versions = Counter(tuple(sorted(row.versions.items())) for row in rows)
    standing = standings(plan.designs, runs_of(rows), plan.rates)
    floor = convolutions_only(standing)
    return Card(
        name=file.name,
        title=file.title,
        task=plan.task,
        priced_at=file.task.longest_test_length,
        training=file.training,
        rates=plan.rates,
        seeds=SEEDS,
        assignments=plan.assignments,
        refused=plan.refused,
        designs=len(plan.designs),
        runs=len(rows),
        outcomes=dict(sorted(Counter(row.outcome for row in rows).items())),
        cpu_seconds=round(sum(row.cpu_seconds for row in rows), 1),
        seconds=round(sum(row.seconds for row in rows), 1),
        versions=tuple((dict(names), count) for names, count in versions.most_common()),
        convolutions_only=floor,
        front=front_of(standing, floor),
    )

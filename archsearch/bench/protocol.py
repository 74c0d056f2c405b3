"""Does a cheaper protocol of training judge designs as a dearer one does?

Designs are trained under several protocols and seeds. Of each protocol: what its verdicts cost, and
how its ranking of the designs agrees with that of a reference protocol, and with itself from seed
to seed. Results are kept line by line in a file; a run that is in it is not repeated.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from archsearch import journal
from archsearch.architecture import Architecture
from archsearch.bench._evaluations import FAILED, evaluate_each, result_of
from archsearch.canonical import canonicalise, readable
from archsearch.errors import InputError
from archsearch.objectives import capped_accuracy
from archsearch.protocol import SOLVED_ACCURACY, TrainingConfig
from archsearch.records import Evaluation, EvaluationRequest, Failure, RunOutcome, RunSeed
from archsearch.space import RandomSuggest
from archsearch.space.schema import CampaignFile
from archsearch.tasks.mqar import MQARConfig

TIE = 0.02
"""Accuracies that are no further apart than this are tied."""

_DRAWS_IN_VAIN = 1000


class Subject(NamedTuple):
    """One run."""

    architecture: Architecture
    protocol: str
    training: TrainingConfig
    seed: int


class ProtocolRow(NamedTuple):
    """One run's result.

    Attributes:
        digest: Of the design.
        protocol: Its name in the study.
        training: The settings behind that name.
        task: Vocabulary, fillers and cells.
        step: Where the run ended: at the budget, or when it had passed every validation cell.
        accuracy: By test cell; empty when the run failed or diverged.
        tokens: Trained on until the end.
        curve: (step, worst and mean accuracy of the validation cells), validation by validation.
    """

    design: str
    digest: str
    architecture: dict[str, Any]
    protocol: str
    training: dict[str, Any]
    task: dict[str, Any]
    seed: int
    outcome: str
    step: int
    accuracy: tuple[float, ...]
    tokens: int
    seconds: float
    curve: tuple[tuple[int, float, float], ...]
    versions: dict[str, str]
    detail: str = ""

    @property
    def key(self) -> tuple[str, str, int]:
        """What tells one run of the study from another."""
        return self.digest, self.protocol, self.seed

    @property
    def score(self) -> float:
        """The mean over the cells, each up to the success threshold, as a campaign scores."""
        return capped_accuracy(self.accuracy) if self.accuracy else 0.0

    @property
    def solved(self) -> bool:
        """Whether every test cell is solved."""
        return bool(self.accuracy) and min(self.accuracy) >= SOLVED_ACCURACY


class Agreement(NamedTuple):
    """One protocol beside the reference, on the designs that both were tried on.

    Taus are Kendall's tau-b, None where one of the rankings ties everything or none is left. Equal
    seeds start from equal weights and draw equal data as far as batches are equal: rankings that
    share no seed are the harder test.

    Attributes:
        designs: How many.
        runs: Of this protocol.
        solved: Of those, how many solved every cell.
        tokens: Of a run until it ended, solved or not; mean of the designs' means.
        seconds: Likewise, other work on the machine included.
        tau: Between the two rankings, scores averaged over the seeds.
        cross_tau: Between the ranking by one seed here and by another seed there, mean of all such
            pairs; of seeds that every design was tried with.
        own_tau: Likewise between this protocol's rankings by two seeds.
        missed: Designs that the reference solves (by most seeds) and this does not.
    """

    protocol: str
    designs: int
    runs: int
    solved: int
    tokens: float
    seconds: float
    tau: float | None
    cross_tau: float | None
    own_tau: float | None
    missed: tuple[str, ...]


def drawn(
    file: CampaignFile, count: int, seed: int, exclude: Iterable[str] = ()
) -> list[Architecture]:
    """Different designs of a space at random, constraints ignored.

    Args:
        file: Has the space.
        count: How many; fewer if a thousand draws in a row find no other.
        seed: Of the draws.
        exclude: Digests of designs not to take.
    """
    suggest = RandomSuggest(np.random.default_rng(np.random.SeedSequence(seed)))
    found: dict[str, Architecture] = {}
    known, misses = set(exclude), 0
    while len(found) < count and misses < _DRAWS_IN_VAIN:
        design = canonicalise(file.space.sample(suggest))
        misses = misses + 1 if design.digest in known else 0
        if not misses:
            known.add(design.digest)
            found[design.digest] = design
    return list(found.values())


def study(
    designs: Sequence[Architecture],
    protocols: Mapping[str, TrainingConfig],
    task: MQARConfig,
    path: Path,
    *,
    seeds: int = 1,
    workers: int = 1,
) -> Iterator[ProtocolRow]:
    """Runs what the file does not hold yet, appends each result to it, and yields it.

    Args:
        designs: What is judged.
        protocols: By name.
        task: The same for all.
        path: JSON lines; made if it is not there.
        seeds: Runs of each design under each protocol.
        workers: Processes, one thread each.

    Raises:
        InputError: The file holds runs of a protocol of that name with other settings.
        StoreError: The file cannot be read or written.
    """
    known = read(path)
    check_same(known, protocols, task, path)
    done = {row.key for row in known if row.outcome != FAILED}
    wanted = [
        Subject(design, name, training, seed)
        for seed in range(seeds)
        for name, training in protocols.items()
        for design in designs
        if (design.digest, name, seed) not in done
    ]
    journal.prepare(path)
    requests = ((subject, _request(subject, task)) for subject in wanted)
    for subject, result in evaluate_each(requests, workers=workers):
        row = _row(subject, task, result)
        journal.append(path, row._asdict())
        yield row


def check_same(
    rows: Iterable[ProtocolRow],
    protocols: Mapping[str, TrainingConfig],
    task: MQARConfig,
    path: Path,
) -> None:
    """Sees to it that one name means one thing.

    Raises:
        InputError: A row has another task, or a protocol's name with other settings.
    """
    for row in rows:
        training = protocols.get(row.protocol)
        same = training is None or row.training == training.model_dump(mode="json")
        if not same or row.task != task.model_dump(mode="json"):
            what = "another task" if same else f"other settings for '{row.protocol}'"
            raise InputError(f"{path}: holds runs with {what}; give another file")


def read(path: Path) -> list[ProtocolRow]:
    """The rows of a file, the last of each run, in the order in which they were written.

    Raises:
        StoreError: A line is damaged.
    """
    rows = journal.read(path, _parsed)
    return list({row.key: row for row in rows}.values())


def agreements(rows: Sequence[ProtocolRow], reference: str) -> list[Agreement]:
    """Each protocol of the rows beside the reference, the reference included."""
    by_protocol: dict[str, list[ProtocolRow]] = {}
    for row in rows:
        if row.outcome != FAILED:
            by_protocol.setdefault(row.protocol, []).append(row)
    long_run = by_protocol.get(reference, [])
    return [_agreement(name, found, long_run) for name, found in by_protocol.items()]


def by_design(rows: Iterable[ProtocolRow]) -> dict[str, list[ProtocolRow]]:
    """The runs of each design, by digest; without those that the machine broke."""
    found: dict[str, list[ProtocolRow]] = {}
    for row in rows:
        if row.outcome != FAILED:
            found.setdefault(row.digest, []).append(row)
    return found


def score_ranges(rows: Iterable[ProtocolRow]) -> dict[str, tuple[float, float, float]]:
    """Of each design, by digest: mean, least and greatest score over the seeds of these rows."""
    scores = {digest: [row.score for row in runs] for digest, runs in by_design(rows).items()}
    return {d: (statistics.mean(found), min(found), max(found)) for d, found in scores.items()}


def mean_curve(rows: Iterable[ProtocolRow]) -> list[tuple[int, float]]:
    """(tokens, validation accuracy, mean over cells, seeds and designs) at each validation.

    A run that has ended keeps its last accuracy; one that diverged has none.
    """
    designs = by_design(rows)
    curves = {row.key: _by_tokens(row) for runs in designs.values() for row in runs}
    marks = sorted({tokens for curve in curves.values() for tokens, _ in curve})

    def at(mark: int) -> float:
        return _mean_of_designs(designs, lambda row: _at(curves[row.key], mark))

    return [(mark, at(mark)) for mark in marks]


def _by_tokens(row: ProtocolRow) -> list[tuple[int, float]]:
    if row.outcome == RunOutcome.DIVERGED.value:
        return []
    return [(step * row.training["batch_tokens"], mean) for step, _, mean in row.curve]


def _at(curve: Sequence[tuple[int, float]], mark: int) -> float:
    return max((found for found in curve if found[0] <= mark), default=(0, 0.0))[1]


def _agreement(name: str, rows: list[ProtocolRow], reference: list[ProtocolRow]) -> Agreement:
    theirs = by_design(reference)
    mine = {digest: runs for digest, runs in by_design(rows).items() if digest in theirs}
    runs = [row for found in mine.values() for row in found]
    here, there = _by_seed(runs, list(mine)), _by_seed(reference, list(mine))
    scores, their_scores = score_ranges(runs), score_ranges(reference)
    return Agreement(
        protocol=name,
        designs=len(mine),
        runs=len(runs),
        solved=sum(row.solved for row in runs),
        tokens=_mean_of_designs(mine, lambda row: row.tokens),
        seconds=_mean_of_designs(mine, lambda row: row.seconds),
        tau=kendall_tau([scores[d][0] for d in mine], [their_scores[d][0] for d in mine]),
        cross_tau=_mean_tau((here[i], there[j]) for i in here for j in there if i != j),
        own_tau=_mean_tau(itertools.combinations(here.values(), 2)),
        missed=tuple(
            found[0].design
            for digest, found in mine.items()
            if _mostly_solved(theirs[digest]) and not _mostly_solved(found)
        ),
    )


def _mean_of_designs(
    designs: Mapping[str, Sequence[ProtocolRow]], value: Callable[[ProtocolRow], float]
) -> float:
    means = [statistics.mean(map(value, runs)) for runs in designs.values()]
    return statistics.mean(means) if means else 0.0


def _mean_tau(pairs: Iterable[tuple[Sequence[float], Sequence[float]]]) -> float | None:
    taus = [tau for a, b in pairs if (tau := kendall_tau(a, b)) is not None]
    return statistics.mean(taus) if taus else None


def kendall_tau(a: Sequence[float], b: Sequence[float], tie: float = TIE) -> float | None:
    """Kendall's tau-b; scores no further apart than ``tie`` count as equal.

    None where one side ties every pair.
    """
    agreement = untied_a = untied_b = 0
    for (x, p), (y, q) in itertools.combinations(zip(a, b, strict=True), 2):
        first, second = _sign(x - y, tie), _sign(p - q, tie)
        agreement += first * second
        untied_a += abs(first)
        untied_b += abs(second)
    scale = (untied_a * untied_b) ** 0.5
    return agreement / scale if scale else None


def _sign(difference: float, tie: float) -> int:
    # 0.52 - 0.50 is a tie in any binary rounding
    return 0 if abs(difference) <= tie + 1e-9 else 1 if difference > 0 else -1


def _mostly_solved(runs: Sequence[ProtocolRow]) -> bool:
    return 2 * sum(row.solved for row in runs) > len(runs)


def _by_seed(rows: Iterable[ProtocolRow], designs: Sequence[str]) -> dict[int, list[float]]:
    """Scores of the designs, in their order, by each seed that all of them were tried with."""
    found: dict[int, dict[str, float]] = {}
    for row in rows:
        found.setdefault(row.seed, {})[row.digest] = row.score
    return {
        seed: [scores[digest] for digest in designs]
        for seed, scores in found.items()
        if scores.keys() >= set(designs)
    }


def _request(subject: Subject, task: MQARConfig) -> EvaluationRequest:
    return EvaluationRequest(
        architecture=subject.architecture,
        task=task,
        training=subject.training,
        seed=RunSeed(campaign=subject.seed),
        to_step=subject.training.steps,
    )


def _row(subject: Subject, task: MQARConfig, answer: Evaluation | Failure) -> ProtocolRow:
    known: dict[str, Any] = {
        "design": readable(subject.architecture),
        "digest": subject.architecture.digest,
        "architecture": subject.architecture.model_dump(mode="json"),
        "protocol": subject.protocol,
        "training": subject.training.model_dump(mode="json"),
        "task": task.model_dump(mode="json"),
        "seed": subject.seed,
    }
    curve = () if isinstance(answer, Failure) else answer.curve
    result = result_of(answer)
    return ProtocolRow(
        **known,
        **result,
        tokens=result["step"] * subject.training.batch_tokens,
        curve=tuple(
            (point.step, min(point.accuracy), statistics.mean(point.accuracy)) for point in curve
        ),
    )


def _parsed(data: dict[str, Any]) -> ProtocolRow:
    curve = tuple((int(s), float(w), float(m)) for s, w, m in data["curve"])
    return ProtocolRow(**{**data, "accuracy": tuple(data["accuracy"]), "curve": curve})

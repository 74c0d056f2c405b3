"""Does a cheaper protocol of training judge designs as a dearer one does?

Designs are trained under several protocols and seeds. Of each protocol: what its verdicts cost, and
how its ranking of the designs agrees with that of a reference protocol, and with itself from seed
to seed. Results are kept line by line in a file; a run that is in it is not repeated.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from archsearch.architecture import Architecture
from archsearch.bench import _journal
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
        cells: Those tested.
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
    cells: tuple[str, ...]
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
    _journal.prepare(path)
    requests = ((subject, _request(subject, task)) for subject in wanted)
    for subject, result in evaluate_each(requests, workers=workers):
        row = _row(subject, task, result)
        _journal.append(path, row._asdict())
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
    rows = _journal.read(path, _parsed)
    return list({row.key: row for row in rows}.values())


def agreements(rows: Sequence[ProtocolRow], reference: str) -> list[Agreement]:
    """Each protocol of the rows beside the reference, the reference included."""
    by_protocol: dict[str, list[ProtocolRow]] = {}
    for row in rows:
        if row.outcome != FAILED:
            by_protocol.setdefault(row.protocol, []).append(row)
    long_run = by_protocol.get(reference, [])
    return [_agreement(name, found, long_run) for name, found in by_protocol.items()]


def score_ranges(rows: Iterable[ProtocolRow]) -> dict[str, tuple[float, float, float]]:
    """Of each design, by digest: mean, least and greatest score over the seeds of these rows."""
    scores: dict[str, list[float]] = {}
    for row in rows:
        if row.outcome != FAILED:
            scores.setdefault(row.digest, []).append(row.score)
    return {d: (statistics.mean(found), min(found), max(found)) for d, found in scores.items()}


def mean_curve(rows: Iterable[ProtocolRow]) -> list[tuple[int, float]]:
    """(tokens, validation accuracy, mean over cells, seeds and designs) at each validation.

    A run that has ended keeps its last accuracy; one that diverged has none.
    """
    diverged = RunOutcome.DIVERGED.value
    runs = [
        (
            row.digest,
            []
            if row.outcome == diverged
            else [(step * row.training["batch_tokens"], mean) for step, _, mean in row.curve],
        )
        for row in rows
        if row.outcome != FAILED
    ]
    marks = sorted({tokens for _, run in runs for tokens, _ in run})
    return [(mark, _mean_of_designs([(d, _at(run, mark)) for d, run in runs])) for mark in marks]


def _at(run: Sequence[tuple[int, float]], mark: int) -> float:
    return max((found for found in run if found[0] <= mark), default=(0, 0.0))[1]


def _agreement(name: str, rows: list[ProtocolRow], reference: list[ProtocolRow]) -> Agreement:
    mine, theirs = score_ranges(rows), score_ranges(reference)
    common = [digest for digest in mine if digest in theirs]
    rows = [row for row in rows if row.digest in theirs]
    here, there = _by_seed(rows, common), _by_seed(reference, common)
    names = {row.digest: row.design for row in rows}
    often_here, often_there = _mostly_solved(rows), _mostly_solved(reference)
    return Agreement(
        protocol=name,
        designs=len(common),
        runs=len(rows),
        solved=sum(row.solved for row in rows),
        tokens=_mean_of_designs([(row.digest, row.tokens) for row in rows]),
        seconds=_mean_of_designs([(row.digest, row.seconds) for row in rows]),
        tau=kendall_tau([mine[d][0] for d in common], [theirs[d][0] for d in common]),
        cross_tau=_mean_tau((here[i], there[j]) for i in here for j in there if i != j),
        own_tau=_mean_tau(itertools.combinations(here.values(), 2)),
        missed=tuple(names[d] for d in common if d in often_there and d not in often_here),
    )


def _mean_of_designs(values: Iterable[tuple[str, float]]) -> float:
    found: dict[str, list[float]] = {}
    for digest, value in values:
        found.setdefault(digest, []).append(value)
    return statistics.mean(map(statistics.mean, found.values())) if found else 0.0


def _mean_tau(pairs: Iterable[tuple[Mapping[str, float], Mapping[str, float]]]) -> float | None:
    taus = [tau for a, b in pairs if (tau := _tau_of(a, b)) is not None]
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


def _mostly_solved(rows: Iterable[ProtocolRow]) -> set[str]:
    solved: dict[str, list[bool]] = {}
    for row in rows:
        solved.setdefault(row.digest, []).append(row.solved)
    return {digest for digest, found in solved.items() if 2 * sum(found) > len(found)}


def _by_seed(rows: Iterable[ProtocolRow], designs: Sequence[str]) -> dict[int, dict[str, float]]:
    """Scores by seed, of the seeds that all of the designs were tried with."""
    found: dict[int, dict[str, float]] = {}
    for row in rows:
        found.setdefault(row.seed, {})[row.digest] = row.score
    return {seed: scores for seed, scores in found.items() if scores.keys() >= set(designs)}


def _tau_of(a: Mapping[str, float], b: Mapping[str, float]) -> float | None:
    common = [digest for digest in a if digest in b]
    return kendall_tau([a[d] for d in common], [b[d] for d in common])


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
        "cells": tuple(str(cell) for cell in task.test_cells),
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
    lists = {key: tuple(data[key]) for key in ("cells", "accuracy")}
    curve = tuple((int(s), float(w), float(m)) for s, w, m in data["curve"])
    return ProtocolRow(**{**data, **lists, "curve": curve})

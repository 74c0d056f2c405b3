"""What is to be trained to explain a front, in which order: a pure function of what is known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from statistics import fmean
from typing import Final, NamedTuple

from archsearch.architecture import Architecture
from archsearch.campaign.dispatch import WorkerSettings
from archsearch.campaign.estimates import score_of
from archsearch.campaign.explanation.edits import Edit, edits
from archsearch.campaign.explanation.records import EditRun, Place
from archsearch.campaign.race import last_validation
from archsearch.campaign.reading import Reading
from archsearch.campaign.runs import whole_run
from archsearch.costs import Price
from archsearch.errors import InputError
from archsearch.records import Evaluation, EvaluationRequest
from archsearch.space import CampaignFile

DEFAULT_SEEDS: Final = 3
DEFAULT_MINUTES: Final = 30.0

FALL: Final = 0.05
"""What an edit may lose at its member's rate before the others are tried, too: it may want one."""


class Subject(NamedTuple):
    """A member of the front and what is changed about it.

    Attributes:
        number: The trial's.
        learning_rate: At which it was scored.
    """

    number: int
    architecture: Architecture
    price: Price
    learning_rate: float
    edits: tuple[Edit, ...]


class _Owner(NamedTuple):
    """A member that a design is an edit of, and the rate at which the member was scored."""

    digest: str
    learning_rate: float


class _Design(NamedTuple):
    """Something to train: a member or an edit; of several, if their edits come to the same.

    Attributes:
        rates: Its own if it is a member, else those of its members.
        owners: The members that it is an edit of; none for a member, which no rate has to save.
    """

    text: str
    architecture: Architecture
    rates: tuple[float, ...]
    owners: tuple[_Owner, ...] = ()


class ExplainPlan(NamedTuple):
    """What is to be trained.

    Attributes:
        file: The campaign's.
        seed: Of all random streams.
        subjects: The knee first, then the most accurate.
        seeds: Of each design.
        minutes: After which no run is begun any more.
    """

    file: CampaignFile
    seed: int
    subjects: tuple[Subject, ...]
    seeds: int = DEFAULT_SEEDS
    minutes: float = DEFAULT_MINUTES

    @property
    def key(self) -> str:
        """Of all that the runs depend on beside design, rate and seed."""
        return self.file.digest

    @property
    def designs(self) -> dict[str, _Design]:
        """By digest, each member before its edits."""
        members = {
            s.architecture.digest: _Design(f"trial {s.number}", s.architecture, (s.learning_rate,))
            for s in self.subjects
        }
        found: dict[str, _Design] = {}
        for s in self.subjects:
            owner = _Owner(s.architecture.digest, s.learning_rate)
            found.setdefault(owner.digest, members[owner.digest])
            for edit in s.edits:
                text = f"trial {s.number}, {edit.text}"
                known = members.get(edit.digest) or found.get(edit.digest)
                if known is None:
                    known = _Design(text, edit.architecture, ())
                if edit.digest not in members:
                    rates = dict.fromkeys((*known.rates, owner.learning_rate))
                    known = known._replace(rates=tuple(rates), owners=(*known.owners, owner))
                found[edit.digest] = known
        return found

    def request(self, place: Place, worker: WorkerSettings) -> EvaluationRequest:
        """The run's request."""
        design = self.designs[place.digest].architecture
        return whole_run(self.file, design, place.learning_rate, (self.seed, place.seed), worker)


def plan_of(
    reading: Reading, *, seeds: int = DEFAULT_SEEDS, minutes: float = DEFAULT_MINUTES
) -> ExplainPlan:
    """What explains a campaign's front.

    Raises:
        InputError: The front is empty.
    """
    campaign, front = reading.campaign, reading.front
    if not front.members:
        raise InputError(f"{campaign.directory}: the front is empty; there is nothing to explain")
    records = {record.number: record for record in reading.records}
    # a short budget explains the first of them
    members = sorted(front.members, key=lambda m: (m.number != front.knee, -m.accuracy, m.cost))
    subjects = []
    for member in members:
        record = records[member.number]
        assert record.architecture is not None
        assert record.price is not None
        assert record.scored is not None
        found = edits(campaign.file, record.architecture)
        rate = record.scored.learning_rate
        subjects.append(
            Subject(record.number, record.architecture, record.price, rate, tuple(found))
        )
    return ExplainPlan(campaign.file, campaign.settings.seed, tuple(subjects), seeds, minutes)


class Evidence:
    """The runs of a plan, by design.

    Args:
        plan: What is to be trained.
        runs: Those that have ended, in any order; of a run that was repeated the last counts.
    """

    def __init__(self, plan: ExplainPlan, runs: Iterable[EditRun]) -> None:
        self._plan = plan
        self._designs = plan.designs
        self._runs = {run.place: run for run in runs}

    def result(self, digest: str, rate: float, seed: int) -> Evaluation | None:
        """What a run says; None if there is none, or it failed."""
        run = self._runs.get(Place(digest, rate, seed))
        return None if run is None else run.result

    def rates(self, digest: str) -> tuple[float, ...] | None:
        """The rates at which its first seed is trained, its own first; None if not known yet.

        All of the space if it falls far behind a member that it is an edit of.
        """
        design, others = self._designs[digest], self._others(digest)
        if not others:
            return design.rates
        if any(Place(digest, rate, 0) in self._runs for rate in others):
            return (*design.rates, *others)
        places = [Place(digest, rate, 0) for rate in design.rates]
        places += [Place(*owner, 0) for owner in design.owners]
        if any(place not in self._runs for place in places):
            return None
        mine = [score_of(e) for rate in design.rates if (e := self.result(digest, rate, 0))]
        members = [score for owner in design.owners for score in self._known(*owner)]
        if not mine or not members or max(mine) >= max(members) - FALL:
            return design.rates
        return (*design.rates, *others)

    def _others(self, digest: str) -> list[float]:
        """Rates at which an edit is trained besides if it falls; a member keeps its own."""
        design = self._designs[digest]
        rates = self._plan.file.search.learning_rates if design.owners else ()
        return [rate for rate in rates if rate not in design.rates]

    def _known(self, digest: str, rate: float) -> tuple[float, ...]:
        """A member's first score, and the mean of all that there are: one of them may be luck."""
        seeds = (self.result(digest, rate, seed) for seed in range(self._plan.seeds))
        found = [score_of(evaluation) for evaluation in seeds if evaluation is not None]
        return (found[0], fmean(found)) if found else ()

    def best_rate(self, digest: str) -> float | None:
        """Of those tried with the first seed, by validation; None before all of them were."""
        rates = self.rates(digest)
        if rates is None or any(Place(digest, rate, 0) not in self._runs for rate in rates):
            return None
        tried = [r for r in rates if self.result(digest, r, 0) is not None]
        return max(tried, key=lambda r: self._merit(digest, r), default=rates[0])

    def scores(self, digest: str) -> tuple[float, ...]:
        """Of the seeds at the best rate; what failed is left out.

        The first seed chooses where there are several rates: it would be too good. It is left out
        as soon as there is another, also where it did not fall and no other rate was tried: kept
        for its luck alone, it would flatter those edits.
        """
        rate = self.best_rate(digest)
        if rate is None:
            return ()
        seeds = [self.result(digest, rate, seed) for seed in range(self._plan.seeds)]
        scores = tuple(score_of(evaluation) for evaluation in seeds if evaluation is not None)
        several = len(self._designs[digest].rates) > 1 or bool(self._others(digest))
        chose = several and seeds[0] is not None
        return scores[1:] if chose and len(scores) > 1 else scores

    def missing(self) -> Iterator[Place]:
        """What is to be trained next, as far as it is known: member by member, seed by seed.

        A budget that ends early has then judged some members rather than none.
        """
        asked: set[Place] = set()
        for subject in self._plan.subjects:
            digests = [subject.architecture.digest, *(edit.digest for edit in subject.edits)]
            for place in self._missing_of(digests):
                if place not in asked:
                    asked.add(place)
                    yield place

    def _missing_of(self, digests: Sequence[str]) -> Iterator[Place]:
        for digest in digests:
            for rate in self.rates(digest) or self._designs[digest].rates:
                yield from self._unless_there(digest, rate, 0)
        for seed in range(1, self._plan.seeds):
            for digest in digests:
                best = self.best_rate(digest)
                if best is not None and self.result(digest, best, 0) is not None:
                    yield from self._unless_there(digest, best, seed)

    def _unless_there(self, digest: str, rate: float, seed: int) -> Iterator[Place]:
        place = Place(digest, rate, seed)
        if place not in self._runs:
            yield place

    def _merit(self, digest: str, rate: float) -> tuple[float, float]:
        evaluation = self.result(digest, rate, 0)
        assert evaluation is not None
        return last_validation(evaluation, self._plan.file.task.guess_nats)

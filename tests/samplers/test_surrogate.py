"""What the model says, what it promises, and that a search which listens to it finds more."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState, create_trial

from archsearch import pareto
from archsearch.architecture import Architecture, Block, Component, Scalar
from archsearch.campaign.feasibility import violations
from archsearch.mixers import specs
from archsearch.samplers import structural, surrogate
from archsearch.samplers._features import features, matrix
from archsearch.samplers._process import LENGTHS, NOISES, Kernel, likeliest, posterior
from archsearch.samplers.base import Prospect, TrialSuggest
from archsearch.samplers.surrogate import expected_gains
from archsearch.space import CampaignFile, CompletedSuggest, load
from tests.conftest import ROOT
from tests.samplers.helpers import SPACES, new_study

HYBRID = load(next(path for path in SPACES if path.stem == "conv_attention_hybrid"))
SMALL = load(ROOT / "results" / "tabular" / "placed" / "space.yaml")


def correlation(a: np.ndarray, b: np.ndarray, length: float) -> float:
    r = np.sqrt(3) * np.sqrt(((a - b) ** 2).sum()) / length
    return float((1 + r) * np.exp(-r))


def dense(x: np.ndarray, y: np.ndarray, length: float) -> np.ndarray:
    return np.array([[correlation(a, b, length) for b in y] for a in x])


@pytest.mark.parametrize("count", [1, 2, 30])
def test_the_likeliest_kernel_is_that_of_the_dense_formula(count: int) -> None:
    rng = np.random.default_rng(count)
    x, y = rng.normal(size=(count, 5)) * 4, rng.normal(size=count)
    found = likeliest(x, y)
    best = -np.inf
    for length in LENGTHS:
        for noise in NOISES:
            covariance = dense(x, x, length) + noise**2 * np.eye(count)
            inverse = np.linalg.inv(covariance)
            mean = (inverse @ y).sum() / inverse.sum()
            variance = max((y - mean) @ inverse @ (y - mean) / count, 1e-4)
            likelihood = -(count * np.log(variance) + np.linalg.slogdet(covariance)[1]) / 2
            if (length, noise) == found[:2]:
                assert found[2:] == pytest.approx((mean, variance), abs=1e-9)
                mine = likelihood
            best = max(best, likelihood)
    assert mine == pytest.approx(best)


def test_what_is_expected_is_the_conditional_normal() -> None:
    rng = np.random.default_rng(0)
    x, y, at = rng.normal(size=(20, 3)), rng.normal(size=20), rng.normal(size=(7, 3))
    kernel = Kernel(length=3.0, noise=0.2, mean=0.3, variance=2.0)
    mean, deviation = posterior(kernel, x, y, at)
    inverse = np.linalg.inv(2.0 * (dense(x, x, 3.0) + 0.04 * np.eye(20)))
    across = 2.0 * dense(at, x, 3.0)
    assert mean == pytest.approx(0.3 + across @ inverse @ (y - 0.3))
    assert deviation**2 == pytest.approx(2.0 - np.diag(across @ inverse @ across.T))


points = st.tuples(st.integers(0, 6), st.integers(0, 6))


@given(st.lists(points, min_size=1, max_size=8), st.lists(points, min_size=1, max_size=5))
def test_a_sure_gain_is_what_the_hypervolume_grows_by(
    known: list[tuple[int, int]], new: list[tuple[int, int]]
) -> None:
    losses, cost = np.array(new, dtype=float).T
    old = np.array(known, dtype=float)
    found = expected_gains(losses, np.zeros(len(new)), cost, old)
    reference = [old[:, 0].max(), max(old[:, 1].max(), cost.max())]
    before = pareto.hypervolume(old, reference)
    grown = [pareto.hypervolume([*known, point], reference) - before for point in new]
    assert found == pytest.approx(grown, abs=1e-6)


def test_an_unsure_gain_is_its_mean_over_the_normal_distribution() -> None:
    rng = np.random.default_rng(1)
    known = rng.random((6, 2))
    mean, deviation, cost = rng.random(4), rng.random(4) * 0.3, rng.random(4)
    found = expected_gains(mean, deviation, cost, known)
    reference = [known[:, 0].max(), max(known[:, 1].max(), cost.max())]
    before = pareto.hypervolume(known, reference)
    for i in range(4):
        drawn = mean[i] + deviation[i] * rng.normal(size=4000)
        grown = [pareto.hypervolume([*known, (d, cost[i])], reference) - before for d in drawn]
        assert found[i] == pytest.approx(np.mean(grown), abs=4 * np.std(grown) / 60 + 1e-9)


@pytest.mark.parametrize("name", specs.names())
def test_every_mixer_has_features(name: str) -> None:
    component = Component(name=name, options=specs.get(name)().model_dump())
    plain = Component(name="short_conv", options={"kernel_size": 3})
    if specs.get(name).fits("sequence"):
        one, other = Block(sequence=component), Block(sequence=plain)
    else:
        one, other = Block(sequence=plain, channel=component), Block(sequence=plain)
    first = features(Architecture(d_model=64, blocks=(one, other)))
    turned = features(Architecture(d_model=64, blocks=(other, one)))
    without = features(Architecture(d_model=64, blocks=(other, other)))
    rows = matrix([first, turned, without])
    assert np.isfinite(rows).all()
    if not specs.get(name).skipped and name != "short_conv":
        distances = np.linalg.norm(rows[:, None] - rows, axis=2)
        # where it stands says less than that it is there
        assert 0 < distances[0, 1] < distances[0, 2]


def test_only_what_is_named_counts() -> None:
    assert matrix([{"a": 1.0}, {"b": 2.0}]).tolist() == [[1.0, 0.0], [0.0, 2.0]]


class Designs:
    """A space, its prices, and what has been proposed."""

    def __init__(self, file: CampaignFile = HYBRID) -> None:
        self._file = file
        self.owner: dict[str, int] = {}
        self.stopped: set[str] = set()

    def look(
        self, number: int, answers: Mapping[str, Scalar], generator: np.random.Generator
    ) -> Prospect | None:
        suggest = CompletedSuggest(answers, generator)
        design, price, excess = violations(self._file, self._file.space.sample(suggest))
        if design is None or price is None:
            return None
        return Prospect(
            params=suggest.answers,
            design=design,
            key=design.digest,
            is_new=max(excess.values(), default=0) <= 0
            and self.owner.get(design.digest, number) >= number,
            was_stopped=design.digest in self.stopped,
            cost=float(np.log10(price.flops)),
        )


def accuracy_of(design: Architecture) -> float:
    """Attention helps, late attention more, and width; a smooth world."""
    share = [0.25 + 0.1 * i for i, b in enumerate(design.blocks) if "attention" in str(b.sequence)]
    return min(0.995, sum(share) + design.d_model / 400)


def played(
    sampler: str, count: int, seed: int, file: CampaignFile = HYBRID
) -> tuple[optuna.Study, Designs, list[bool]]:
    create = {"surrogate": surrogate.create, "structural": structural.create}[sampler]
    made, known = new_study(), Designs(file)
    new = []
    while len(known.owner) < count:
        trial = made.ask()
        look = partial(known.look, trial.number)
        drawn = file.space.sample(TrialSuggest(trial, made, create, seed, look))
        design, price, excess = violations(file, drawn)
        assert file.space.contains(drawn)
        for name, value in excess.items():
            trial.set_constraint(name, value)
        fresh = design is not None and design.digest not in known.owner
        new.append(fresh and max(excess.values(), default=0) <= 0)
        if not fresh or design is None or price is None:
            made.tell(trial, state=TrialState.FAIL)
            continue
        known.owner[design.digest] = trial.number
        made.tell(trial, [accuracy_of(design), float(np.log10(price.flops))])
    return made, known, new


def found(made: optuna.Study) -> float:
    told = [
        [-t.values[0], t.values[1]]
        for t in made.trials
        if t.state is TrialState.COMPLETE and max(t.constraints.values()) <= 0
    ]
    return pareto.hypervolume(told, [0.0, 9.0])


def test_it_finds_more_than_evolution_alone() -> None:
    modelled, evolved = (
        [found(played(sampler, 40, seed)[0]) for seed in range(5)]
        for sampler in ("surrogate", "structural")
    )
    assert np.median(modelled) > np.median(evolved)


def test_it_proposes_what_is_new_and_may_be_trained() -> None:
    _, _, new = played("surrogate", 120, 0, SMALL)
    # a tenth of all is drawn at random
    assert np.mean(new[surrogate.RANDOM_TRIALS :]) > 0.93


def draw(made: optuna.Study, known: Designs, number: int) -> list[dict[str, Any]]:
    """Under several seeds; what is drawn at random is left out."""
    running = create_trial(state=TrialState.RUNNING)
    running.number = number
    drawn = []
    for seed in range(5):
        sampler = surrogate.create(seed, partial(known.look, number))
        space = sampler.infer_relative_search_space(made, running)
        drawn.append(sampler.sample_relative(made, running, space))
    return [params for params in drawn if params]


def test_later_trials_do_not_matter() -> None:
    made, known, _ = played("surrogate", 30, 2)
    number = len(made.trials) - 6
    drawn = draw(made, known, number)
    assert drawn
    before = new_study()
    before.add_trials(made.trials[:number])
    known.owner = {key: n for key, n in known.owner.items() if n < number}
    assert draw(before, known, number) == drawn


@pytest.mark.parametrize(("under_way", "share"), [(0, 1), (64, 1), (128, 1 / 2), (2000, 1 / 8)])
def test_the_more_is_under_way_the_quicker_is_an_ask(under_way: int, share: float) -> None:
    made, known, _ = played("surrogate", 20, 3)
    for _ in range(under_way):
        made.ask()
    number, looks = len(made.trials), 0

    def look(*asked: Any) -> Prospect | None:
        nonlocal looks
        looks += 1
        return known.look(number, *asked)

    running = create_trial(state=TrialState.RUNNING)
    running.number = number
    sampler = surrogate.create(5, look)
    space = sampler.infer_relative_search_space(made, running)
    assert sampler.sample_relative(made, running, space)
    told = sum(t.state is TrialState.COMPLETE for t in made.trials)
    # what is known is built too
    prospects = share * (surrogate.BRED + surrogate.DRAWN)
    minded = min(under_way, surrogate.UNFINISHED)
    assert prospects < looks - minded <= prospects + told


def test_without_a_look_it_is_structural() -> None:
    made, _, _ = played("structural", 30, 2)
    running = create_trial(state=TrialState.RUNNING)
    running.number = 1000
    samplers = surrogate.create(5), structural.create(5)
    space = samplers[0].infer_relative_search_space(made, running)
    drawn = [sampler.sample_relative(made, running, space) for sampler in samplers]
    assert drawn[0] == drawn[1] != {}


def gains(made: optuna.Study, known: Designs) -> tuple[list[Prospect], np.ndarray]:
    """Of designs with attention, by what is known."""
    number = len(made.trials)
    rng = np.random.default_rng(0)
    looks = [known.look(number, {}, rng) for _ in range(100)]
    new = [p for p in looks if p is not None and p.is_new]
    model = surrogate._Known(
        surrogate.seen(made), number, {}, partial(known.look, number), (), surrogate.MODELLED
    )
    return new, model.gains(new)


def test_a_stopped_trial_is_a_lower_bound_and_a_running_one_is_expected() -> None:
    made, known, _ = played("structural", 30, 4)
    new, before = gains(made, known)
    best = new[int(np.argmax(before))]

    def with_it(state: TrialState, values: list[float] | None, *, stopped: bool) -> float:
        copied, more = new_study(), Designs()
        copied.add_trials(made.trials)
        again = known.look(0, best.params, np.random.default_rng(0))
        assert again is not None
        trial = made.ask()
        HYBRID.space.sample(
            TrialSuggest(trial, made, lambda seed, look=None: Fixed(best.params), 0)
        )
        frozen = create_trial(
            state=state,
            values=values,
            params=trial.params,
            distributions=trial.distributions,
        )
        made.tell(trial, state=TrialState.FAIL)
        copied.add_trial(frozen)
        more.owner = dict(known.owner)
        more.stopped = {best.key} if stopped else set()
        others, after = gains(copied, more)
        mine = [i for i, p in enumerate(others) if p.key == best.key]
        return float(after[mine[0]])

    complete = TrialState.COMPLETE
    told = [with_it(complete, [a, best.cost], stopped=False) for a in (0.0, 0.3)]
    ended = [with_it(complete, [a, best.cost], stopped=True) for a in (0.0, 0.3)]
    running = with_it(TrialState.RUNNING, None, stopped=False)
    assert told[0] != told[1]
    # how far it had come says nothing, that it was stopped does: it would not have been a gain
    assert ended[0] == ended[1] < before.max()
    # nor is there another one in what is under way
    assert running < before.max()


class Fixed(optuna.samplers.RandomSampler):
    """Answers as told."""

    def __init__(self, params: Mapping[str, Scalar]) -> None:
        super().__init__(seed=0)
        self._params = params

    def sample_independent(self, study: Any, trial: Any, name: str, *args: Any) -> Any:
        return self._params[name]


def test_without_a_finished_trial_what_is_new_is_proposed() -> None:
    made, known, _ = played("structural", 20, 1)
    known.stopped = set(known.owner)
    assert draw(made, known, len(made.trials))


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_answers_are_completed(path: Path) -> None:
    space = load(path).space
    for seed in range(20):
        whole = CompletedSuggest({}, np.random.default_rng(seed))
        design = space.sample(whole)
        again = CompletedSuggest(whole.answers, np.random.default_rng(seed + 1))
        assert space.sample(again) == design
        assert again.answers == whole.answers
        name = sorted(whole.answers)[seed % len(whole.answers)]
        less = {k: v for k, v in whole.answers.items() if k != name}
        other = CompletedSuggest({**less, "unasked": 1}, np.random.default_rng(seed + 2))
        space.sample(other)
        assert all(other.answers[k] == v for k, v in less.items() if k in other.answers)
        assert "unasked" not in other.answers


def test_answers_that_are_not_allowed_are_drawn() -> None:
    wrong = {"a": "z", "b": 12, "c": 0.5, "d": 3.0, "e": "x"}
    suggest = CompletedSuggest(wrong, np.random.default_rng(0))
    assert suggest.categorical("a", ["x", "y"]) in ("x", "y")
    assert 1 <= suggest.integer("b", 1, 9, step=2) <= 9
    assert isinstance(suggest.integer("c", 1, 9), int)
    assert 0 <= suggest.floating("d", 0.0, 1.0) <= 1
    assert 0 <= suggest.floating("e", 0.0, 1.0) <= 1
    assert set(suggest.answers) == set(wrong)

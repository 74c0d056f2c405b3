"""Mutants of the front: near a parent, within the space, never known, never of the infeasible."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from archsearch import pareto
from archsearch.architecture import Architecture
from archsearch.samplers import structural
from archsearch.samplers._seen import losses_of
from archsearch.samplers.structural import CELLS, FOREMOST, NEAR_FRONT, RANDOM_TRIALS, near_front
from archsearch.space import load, loads
from archsearch.space.sample import RandomSuggest
from tests.samplers.helpers import SPACES, add, new_study, play, suggest

HYBRID = next(path for path in SPACES if path.stem == "conv_attention_hybrid")
DIRECTIONS = (StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE)
FLAGS = {f"flag{i}": CategoricalDistribution((False, True)) for i in range(10)}


def flags(up: int) -> dict[str, bool]:
    return {name: i < up for i, name in enumerate(FLAGS)}


def proposal(made: optuna.Study, seed: int) -> dict[str, Any]:
    """What would be drawn jointly, for one campaign's seed after another, in place of one trial."""
    sampler = structural.create(seed)
    trial = create_trial(state=TrialState.RUNNING)
    trial.number = 10_000
    space = sampler.infer_relative_search_space(made, trial)
    return sampler.sample_relative(made, trial, space)


def bred(made: optuna.Study, seeds: int = 200) -> list[dict[str, Any]]:
    found = [params for seed in range(seeds) if (params := proposal(made, seed))]
    # about a tenth is drawn at random, which is: not jointly
    assert 0.8 * seeds < len(found) < seeds
    return found


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
@pytest.mark.parametrize("sampler", ["structural", "portfolio"])
def test_proposals_lie_within_the_space(path: Path, sampler: str) -> None:
    space = load(path).space
    joint = 0

    def tell(design: Architecture, trial: optuna.Trial) -> list[float]:
        nonlocal joint
        assert space.contains(design)
        drawn = trial.relative_params.keys() & trial.params.keys()
        joint += bool(drawn)
        # Optuna draws anew, in silence, what does not fit a distribution
        assert {k: trial.relative_params[k] for k in drawn} == {k: trial.params[k] for k in drawn}
        return [float(len(design.blocks)), float(sum(map(len, map(str, trial.params.values()))))]

    play(space.sample, sampler, 40, tell=tell)
    # a tenth of them is random in any case, and so is most of a small space that is used up
    assert joint > 12 or space.size() < 100


def difference(params: Mapping[str, Any], parent: Mapping[str, Any]) -> int:
    """How many answers are not the parent's."""
    return sum(name not in parent or parent[name] != value for name, value in params.items())


def share_near_a_parent(sampler: str) -> float:
    space = load(HYBRID).space
    near = []

    def tell(design: Architecture, trial: optuna.Trial) -> list[float]:
        if trial.number >= RANDOM_TRIALS:
            earlier = [t for t in made.get_trials(deepcopy=False) if t.number < trial.number]
            parents, _ = near_front(losses_of(DIRECTIONS, earlier), earlier)
            near.append(min(difference(trial.params, parent.params) for parent in parents) <= 3)
        long = sum(block.sequence.name == "base_conv" for block in design.blocks)
        return [float(design.d_model + long), float(len(design.blocks))]

    made = play(space.sample, "random", 0)
    play(space.sample, sampler, 100, tell=tell, made=made)
    return float(np.mean(near))


def test_proposals_are_mutants_of_the_front() -> None:
    assert share_near_a_parent("random") < 0.4
    assert share_near_a_parent("structural") > 0.65


def test_an_infeasible_trial_is_no_parent_however_good() -> None:
    made = new_study()
    for _ in range(RANDOM_TRIALS):
        add(made, flags(0), [0.1, 8.0], FLAGS, constraints={"growth < 2": -0.5, "valid": 0.0})
    for constraints in ({"growth < 2": 1e-9}, {"valid": 1.0}, {"a": -1.0, "b": 2.0}):
        add(made, flags(10), [0.9, 6.0], FLAGS, constraints=constraints)
    for state in (TrialState.FAIL, TrialState.RUNNING):
        add(made, flags(10), None, FLAGS, state=state)
    add(made, flags(10), [float("inf"), 6.0], FLAGS)
    assert max(sum(params.values()) for params in bred(made)) < 8
    parents, ranks = near_front(losses_of(DIRECTIONS, made.trials), made.trials)
    assert [trial.number for trial in parents] == list(range(RANDOM_TRIALS))
    assert not ranks.any()


def test_without_a_feasible_trial_all_is_random() -> None:
    made = new_study()
    assert proposal(made, 0) == {}
    for _ in range(RANDOM_TRIALS):
        add(made, flags(3), [0.1, 8.0], FLAGS, constraints={"valid": 1.0})
    assert not any(proposal(made, seed) for seed in range(20))


@pytest.mark.parametrize("count", [1, 10, 100, 1000])
def test_parents_are_whole_fronts_of_the_foremost_feasible(count: int) -> None:
    rng = np.random.default_rng(count)
    values, excess = rng.random((count, 2)), rng.random(count) - 0.7
    trials = [
        create_trial(values=row.tolist(), constraints={"a": -1.0, "b": over})
        for row, over in zip(values, excess.tolist(), strict=True)
    ]
    parents, found = near_front(losses_of(DIRECTIONS, trials), trials)

    feasible = np.flatnonzero(excess <= 0)
    losses = values[feasible] * [-1, 1]
    ranks = pareto.ranks(losses)
    foremost = ranks <= np.sort(ranks)[min(FOREMOST, len(ranks)) - 1]
    feasible, losses = feasible[foremost], losses[foremost]
    spread = np.ptp(losses, axis=0)
    grid = ((losses - losses.min(axis=0)) / np.where(spread, spread, 1) * CELLS).round()
    ranks = pareto.ranks(grid)
    near = ranks <= found.max()
    assert [trials[i] for i in feasible[near]] == parents
    assert (ranks[near] == found).all()
    # enough of them, and not one front more than it takes
    assert near.sum() >= min(NEAR_FRONT, len(feasible))
    assert (ranks < found.max()).sum() < NEAR_FRONT


def test_noise_in_accuracy_makes_no_front() -> None:
    noisy = [create_trial(values=[0.010 + 0.0004 * i, 6.0 + i / 10]) for i in range(20)]
    solved = create_trial(values=[0.995, 8.0])
    trials = [*noisy, solved]
    parents, ranks = near_front(losses_of(DIRECTIONS, trials), trials)
    assert [parents[i] for i in np.flatnonzero(ranks == 0)] == [noisy[0], solved]


@pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.FAIL, TrialState.RUNNING])
def test_what_is_known_is_not_proposed_again(state: TrialState) -> None:
    made = new_study()
    for _ in range(RANDOM_TRIALS):
        add(made, flags(0), [0.1, 8.0], FLAGS)
    once = [{**flags(0), name: True} for name in FLAGS]
    assert sum(params in once for params in bred(made)) > 50
    for params in once[1:]:
        values = [0.0, 9.0] if state is TrialState.COMPLETE else None
        add(made, params, values, FLAGS, state=state)
    after = bred(made)
    assert all(params not in once[1:] for params in after)
    assert any(params == once[0] for params in after)


def test_an_exhausted_neighbourhood_is_left_at_random() -> None:
    made = new_study()
    few = dict(list(FLAGS.items())[:2])
    for up in range(RANDOM_TRIALS):
        add(made, {"flag0": bool(up % 2), "flag1": bool(up % 4 > 1)}, [0.1, 8.0], few)
    assert not any(proposal(made, seed) for seed in range(20))


def test_a_known_design_is_known_by_what_it_was_asked() -> None:
    """A child also holds what it will not be asked: options of mixers that it no longer has."""
    space: dict[str, Any] = {
        "layer0.sequence": CategoricalDistribution(("gla", "tnl", "mamba")),
        "layer0.tnl.num_heads": CategoricalDistribution((1, 2)),
    }
    made = new_study()
    for heads in (1, 2) * 8:
        add(made, {"layer0.sequence": "tnl", "layer0.tnl.num_heads": heads}, [0.5, 8.0], space)
    add(made, {"layer0.sequence": "gla"}, [0.0, 9.0], space)
    assert {params["layer0.sequence"] for params in bred(made)} == {"mamba"}


def test_neither_later_trials_nor_the_order_of_names_matter() -> None:
    space = load(HYBRID).space
    made = play(space.sample, "random", 40)
    turned = new_study()
    for trial in made.trials:
        turned.add_trial(
            create_trial(
                values=trial.values,
                params=dict(reversed(trial.params.items())),
                distributions=dict(reversed(trial.distributions.items())),
            )
        )
    sampler = structural.create(7)
    drawn = []
    for study in (made, turned):
        asked = study.ask()
        running = study.trials[asked.number]
        for _ in range(2):
            relative = sampler.infer_relative_search_space(study, running)
            drawn.append(sampler.sample_relative(study, running, relative))
            play(space.sample, "random", 5, made=study)
    assert drawn[0]
    assert all(params == drawn[0] for params in drawn)


def test_a_half_drawn_trial_is_finished_as_it_would_have_been() -> None:
    space = load(HYBRID).space
    history = play(space.sample, "structural", 40)

    def begun() -> tuple[optuna.Study, optuna.Trial]:
        made = new_study()
        made.add_trials(history.trials)
        return made, made.ask()

    made, trial = begun()
    whole = space.sample(suggest(made, trial, "structural"))
    assert trial.relative_params
    asked = list(trial.params.items())
    for kept in range(len(asked)):
        again, half = begun()
        suggest(again, half, "structural")
        for name, value in asked[:kept]:
            distribution = trial.distributions[name]
            stored = distribution.to_internal_repr(value)
            again._storage.set_trial_param(half._trial_id, name, stored, distribution)
        adopted = optuna.Trial(again, half._trial_id)
        assert len(adopted.params) == kept
        assert space.sample(suggest(again, adopted, "structural")) == whole
        assert adopted.params == trial.params


def test_what_was_read_as_it_came_is_as_what_is_read_at_once() -> None:
    """Trials end in another order than they begin, and some never do."""
    space = load(HYBRID).space
    rng = np.random.default_rng(3)
    made = new_study()
    sampler = structural.create(5)
    under_way: list[optuna.Trial] = []
    joint = 0
    for _ in range(120):
        trial = made.ask()
        running = made.get_trials(deepcopy=False)[trial.number]
        found = [sampler.infer_relative_search_space(made, running)]
        found.append(sampler.sample_relative(made, running, found[0]))
        copied = new_study()
        copied.add_trials(made.trials)
        assert found[0] == sampler.infer_relative_search_space(copied, running)
        assert found[1] == sampler.sample_relative(copied, running, found[0])
        joint += bool(found[1])
        design = space.sample(suggest(made, trial, "structural"))
        trial.set_constraint("valid", float(rng.random() - 0.8))
        under_way.append(trial)
        while len(under_way) > 4:
            ended = under_way.pop(int(rng.integers(len(under_way))))
            if rng.random() < 0.2:
                made.tell(ended, state=TrialState.FAIL)
            else:
                made.tell(ended, [rng.random(), float(design.d_model)])
    assert joint > 60


TOY = """\
name: toy
task: {name: mqar, vocab_size: 64, cells: [{length: 8, pairs: 2}]}
space:
  d_model: {choice: [16, 32, 64]}
  depth: {choice: [2, 3, 4]}
  layers:
    base:
      sequence:
        choice:
          - {mixer: short_conv, kernel_size: {range: [2, 5]}}
          - {mixer: base_conv, kernel_size: {choice: [3, long]}}
          - hyena
          - rwkv4
    placement:
      sequence:
        choice:
          - attention
          - {mixer: sliding_window, window: {choice: [4, 8, 16, 32, sqrt, N/8]}}
          - {mixer: learned_selection, cap: {choice: [16, 32, 64]}}
          - {mixer: based, feature_dim: {choice: [8, 16]}}
          - delta_net
      rule: positions
search: {trials: 1}
"""


def is_optimum(design: Architecture) -> bool:
    return toy_values(design) == [1.0, 3.0]


def toy_values(design: Architecture) -> list[float]:
    """Accurate: a short convolution first, a window of 16 last. Cheap: narrow, and two layers."""
    first, last = design.blocks[0].sequence, design.blocks[-1].sequence
    accuracy = 0.1
    if first.name == "short_conv":
        accuracy += 0.2
    if last.name == "sliding_window":
        accuracy += 0.7 if last.options["window"] == 16 else 0.3
    return [round(accuracy, 9), design.d_model / 16 + len(design.blocks)]


def drawn_until_found(seed: int, most: int) -> int:
    space, suggested = loads(TOY).space, RandomSuggest(np.random.default_rng(seed))
    return next((i for i in range(most) if is_optimum(space.sample(suggested))), most)


def bred_until_found(seed: int, most: int) -> int:
    space, made = loads(TOY).space, new_study()
    found: list[int] = []

    def tell(design: Architecture, trial: optuna.Trial) -> list[float]:
        if is_optimum(design):
            found.append(trial.number)
        return toy_values(design)

    while not found and len(made.get_trials(deepcopy=False)) < most:
        play(space.sample, "structural", 1, seed=seed, tell=tell, made=made)
    return found[0] if found else most


def test_it_finds_a_designed_optimum_before_chance_does() -> None:
    drawn = [drawn_until_found(seed, 300) for seed in range(10)]
    evolved = [bred_until_found(seed, 300) for seed in range(10)]
    assert np.median(evolved) < 0.6 * np.median(drawn)

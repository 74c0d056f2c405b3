"""Optuna's Gaussian processes: what they are shown, how far they reach, who does the rest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from archsearch.samplers import gp, structural, tpe
from archsearch.space import load
from tests.samplers.helpers import SPACES, add, new_study, play, suggest

QUICK = load(next(path for path in SPACES if path.stem == "quickstart")).space
SPACE = {
    "width": IntDistribution(1, 64, log=True),
    "kind": CategoricalDistribution(("a", "b")),
    "a.size": IntDistribution(0, 7),
}


def history(count: int = 14) -> optuna.Study:
    """Narrow ones of kind b are the accurate ones; the widest cannot be built."""
    made = new_study()
    for i in range(count):
        params = {"width": 1 + (i * 17) % 64, "kind": "ab"[i % 2]}
        if params["kind"] == "a":
            params["a.size"] = i % 8
        accuracy = 0.9 - params["width"] / 100 if params["kind"] == "b" else 0.1
        constraints = {"growth < 2": -0.5, "params <= 2e6": params["width"] / 50 - 1}
        values = [accuracy, 6 + params["width"] / 64]
        if params["width"] > 60:
            constraints, values = {"valid": 1.0}, [0.0, 15.0]
        add(made, params, values, SPACE, constraints=constraints)
    return made


def asked(made: optuna.Study) -> optuna.trial.FrozenTrial:
    number = made.ask().number
    return made.trials[number]


def joint(made: optuna.Study, sampler: Any) -> dict[str, Any]:
    running = asked(made)
    space = sampler.infer_relative_search_space(made, running)
    drawn: dict[str, Any] = sampler.sample_relative(made, running, space)
    return drawn


def test_neither_torch_nor_scipy_is_imported_with_it() -> None:
    code = (
        "import sys, archsearch.samplers.gp as gp; gp.ReachingGPSampler(0);"
        "print(sorted({'torch', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_only_what_all_trials_share_is_modelled() -> None:
    made = history()
    running = asked(made)
    space = gp.ReachingGPSampler(0).infer_relative_search_space(made, running)
    assert list(space) == ["kind", "width"]


def test_what_is_modelled_has_one_constraint_and_possible_values() -> None:
    made = history(64)
    tidied = gp._tidied(made.trials)
    assert {tuple(trial.constraints) for trial in tidied} == {("worst",)}
    for trial, original in zip(tidied, made.trials, strict=True):
        assert trial.params == original.params
        feasible = all(excess <= 0 for excess in original.constraints.values())
        assert (trial.constraints["worst"] <= 0) is feasible
        assert trial.constraints["worst"] <= 1
        if feasible:
            assert trial.values == original.values
    assert {trial.values[1] for trial in made.trials} > {15.0}
    assert max(trial.values[1] for trial in tidied) < 7


def test_a_campaign_without_constraints_is_modelled_without() -> None:
    free = [create_trial(values=[0.5, 7.0]), create_trial(values=[0.6, 8.0])]
    assert not any(trial.constraints for trial in gp._tidied(free))
    broken = create_trial(values=[0.0, 15.0], constraints={"valid": 1.0})
    assert [t.constraints["worst"] for t in gp._tidied([*free, broken])] == [-1.0, -1.0, 1.0]


def test_it_proposes_what_the_trials_speak_for() -> None:
    drawn = [joint(history(40), gp.create(seed)) for seed in range(3)]
    assert all(params.keys() == {"kind", "width"} for params in drawn)
    assert [params["kind"] for params in drawn].count("b") >= 2
    assert all(params["width"] <= 40 for params in drawn)


def test_equal_histories_and_seeds_give_equal_proposals_with_some_running() -> None:
    drawn = []
    for _ in range(2):
        made = history()
        add(made, {"width": 3, "kind": "b"}, None, SPACE, state=TrialState.RUNNING)
        before = [(t.state, t.params, t.system_attrs) for t in made.trials]
        drawn.append(joint(made, gp.create(5)))
        # what is modelled is a copy: the campaign's study is only read
        assert [(t.state, t.params, t.system_attrs) for t in made.trials[:-1]] == before
        assert not made.trials[-1].system_attrs
    assert drawn[0] == drawn[1] != {}


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_proposals_lie_within_the_space(path: Path) -> None:
    space = load(path).space

    def tell(design: Any, trial: optuna.Trial) -> list[float]:
        assert space.contains(design)
        assert bool(trial.relative_params) is (trial.number >= 10)
        return [float(len(design.blocks)), float(design.d_model)]

    made = play(space.sample, "random", 10, tell=lambda d, _: [float(len(d.blocks)), d.d_model])
    play(space.sample, "gp", 2, tell=tell, made=made)


def test_conditional_parameters_are_tpes() -> None:
    made = history()
    running = asked(made)
    for seed in range(5):
        drawn = [
            sampler.sample_independent(made, running, "a.size", SPACE["a.size"])
            for sampler in (gp.ReachingGPSampler(seed), tpe.create(seed))
        ]
        assert drawn[0] == drawn[1]


def test_beyond_its_reach_it_is_structural(monkeypatch: pytest.MonkeyPatch) -> None:
    made = play(QUICK.sample, "random", 40)
    monkeypatch.setattr(gp, "REACH", 39)
    for seed in range(5):
        drawn = []
        for sampler in (gp.create, structural.create):
            again = new_study()
            again.add_trials(made.trials)
            trial = again.ask()
            QUICK.sample(suggest(again, trial, sampler, seed))
            drawn.append((trial.relative_params, trial.params))
        assert drawn[0] == drawn[1]

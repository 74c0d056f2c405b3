"""What a trial draws depends on its number and on what was told, never on who asks."""

from __future__ import annotations

import optuna
import pytest

from archsearch.samplers import samplers
from archsearch.samplers.base import TrialSuggest, draw_seed

every_sampler = pytest.mark.parametrize("name", samplers.names())


def study() -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(directions=["maximize", "minimize"])


def draw(made: optuna.Study, trial: optuna.Trial, name: str, *, seed: int = 1) -> dict[str, object]:
    suggest = TrialSuggest(trial, made, samplers.get(name), seed)
    suggest.categorical("a", ["x", "y", True, 3])
    if suggest.integer("b", 1, 9, step=2) > 3:
        suggest.integer("c", 1, 1000, log=True)
    suggest.floating("d", 0.1, 10.0, log=True)
    suggest.floating("e", 0.0, 1.0, step=0.25)
    return dict(trial.params)


def told(name: str, count: int, seed: int = 1) -> tuple[optuna.Study, list[dict[str, object]]]:
    made = study()
    made.sampler = samplers.get(name)(draw_seed(seed, 0, "told"))
    drawn = []
    for number in range(count):
        trial = made.ask()
        # a Gaussian process takes a second for what a history is drawn in altogether
        drawn_by = "random" if name == "gp" and number < count - 2 else name
        drawn.append(draw(made, trial, drawn_by, seed=seed))
        made.tell(trial, [float(drawn[-1]["d"]), float(drawn[-1]["b"])])  # type: ignore[arg-type]
    return made, drawn


@every_sampler
def test_two_equal_histories_draw_alike_and_other_seeds_do_not(name: str) -> None:
    _, one = told(name, 30)
    _, same = told(name, 30)
    _, other = told(name, 30, seed=2)
    assert one == same
    assert one != other
    assert len({str(d) for d in one}) > 20


@every_sampler
@pytest.mark.parametrize("kept", range(6))
def test_a_trial_with_some_of_its_parameters_draws_the_rest_alike(name: str, kept: int) -> None:
    made, _ = told(name, 29)
    whole = draw(made, made.ask(), name)
    again, _ = told(name, 29)
    trial = again.ask()
    suggest = TrialSuggest(trial, again, samplers.get(name), 1)
    steps = [
        lambda: suggest.categorical("a", ["x", "y", True, 3]),
        lambda: suggest.integer("b", 1, 9, step=2),
        lambda: suggest.integer("c", 1, 1000, log=True) if trial.params["b"] > 3 else 0,
        lambda: suggest.floating("d", 0.1, 10.0, log=True),
        lambda: suggest.floating("e", 0.0, 1.0, step=0.25),
    ]
    for step in steps[:kept]:
        step()
    adopted = optuna.Trial(again, trial._trial_id)
    assert draw(again, adopted, name) == whole


@every_sampler
def test_a_restart_does_not_repeat_what_was_drawn(name: str) -> None:
    """A seeded sampler made anew would draw its first proposals again."""
    made, drawn = told(name, 5)
    for _ in range(5):
        drawn.append(draw(made, made.ask(), name))
    assert len({str(d) for d in drawn}) == 10


def test_seeds_of_draws_differ_by_each_part() -> None:
    seeds = {draw_seed(c, n, p) for c in (0, 1, 11) for n in (0, 1, 11) for p in ("", "1", "a")}
    assert len(seeds) == 27
    assert all(0 <= s < 2**32 for s in seeds)
    # part of every result: a change would draw other designs in old campaigns
    assert draw_seed(0, 0, "a") == 2848605546


def test_tpe_learns_jointly_and_minds_its_running_trials() -> None:
    sampler = samplers.get("tpe")(0)
    assert sampler._multivariate  # type: ignore[attr-defined]
    assert sampler._group  # type: ignore[attr-defined]
    assert sampler._constant_liar  # type: ignore[attr-defined]

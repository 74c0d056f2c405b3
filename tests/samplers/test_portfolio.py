"""Whose turn it is follows from the trial's number, and that member alone draws."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from optuna.samplers import RandomSampler

from archsearch.samplers import portfolio, random, structural, tpe
from archsearch.samplers.base import SamplerFactory
from archsearch.space import load
from tests.samplers.helpers import SPACES, new_study, play, suggest

SPACE = load(next(path for path in SPACES if path.stem == "quickstart")).space


def test_half_are_bred_a_quarter_modelled_a_quarter_drawn() -> None:
    assert [portfolio.TURNS.count(m.create) for m in (structural, tpe, random)] == [2, 1, 1]
    late = [portfolio.turn_of(portfolio.MODELLED + k) for k in range(len(portfolio.TURNS))]
    assert [late.count(m.create) for m in (structural, tpe, random)] == [3, 0, 1]
    assert portfolio.turn_of(portfolio.MODELLED - 3) is tpe.create


@pytest.mark.parametrize("number", range(40, 40 + 2 * len(portfolio.TURNS)))
def test_a_trial_is_drawn_by_the_member_whose_turn_it_is(number: int) -> None:
    drawn = []
    history = play(SPACE.sample, "random", number)
    for sampler in ("portfolio", portfolio.TURNS[number % len(portfolio.TURNS)]):
        made = new_study()
        made.add_trials(history.trials)
        trial = made.ask()
        SPACE.sample(suggest(made, trial, sampler))
        drawn.append(trial.params)
    assert drawn[0] == drawn[1]


class Noting(RandomSampler):
    """Notes which of its methods were called for which trial."""

    notes: list[tuple[int, str, int]]

    def __init__(self, member: int, seed: int) -> None:
        super().__init__(seed=seed)
        self.member = member

    def _note(self, method: str, number: int) -> None:
        Noting.notes.append((self.member, method, number))

    def before_trial(self, study: optuna.Study, trial: Any) -> None:
        self._note("before", trial.number)

    def infer_relative_search_space(self, study: optuna.Study, trial: Any) -> dict[str, Any]:
        self._note("infer", trial.number)
        return {}

    def sample_relative(self, study: optuna.Study, trial: Any, search_space: Any) -> dict[str, Any]:
        self._note("relative", trial.number)
        return {}

    def sample_independent(self, study: optuna.Study, trial: Any, *args: Any) -> Any:
        self._note("independent", trial.number)
        return super().sample_independent(study, trial, *args)

    def after_trial(self, study: optuna.Study, trial: Any, *args: Any) -> None:
        self._note("after", trial.number)


def test_one_member_does_all_of_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    def member(which: int) -> SamplerFactory:
        return lambda seed, look=None: Noting(which, seed)

    monkeypatch.setattr(Noting, "notes", [], raising=False)
    monkeypatch.setattr(portfolio, "TURNS", tuple(map(member, range(3))))
    made = optuna.create_study(directions=["maximize", "minimize"], sampler=portfolio.create(0))
    play(SPACE.sample, "portfolio", 6, made=made)
    assert {(member, number) for member, _, number in Noting.notes} == {
        (number % 3, number) for number in range(6)
    }
    for number in range(6):
        methods = {method for _, method, at in Noting.notes if at == number}
        assert methods == {"before", "infer", "relative", "independent", "after"}

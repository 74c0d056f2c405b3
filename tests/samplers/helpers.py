"""Studies filled by a sampler from a made-up objective: nothing is trained."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from archsearch.architecture import Architecture
from archsearch.samplers import samplers
from archsearch.samplers.base import SamplerFactory, TrialSuggest, draw_seed
from archsearch.space.sample import Suggest
from tests.conftest import ROOT

SPACES = sorted((ROOT / "search_spaces").glob("*.yaml"))

Draw = Callable[[Suggest], Any]
Tell = Callable[[Any, optuna.Trial], list[float] | None]


def new_study() -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    made = optuna.create_study(directions=["maximize", "minimize"])
    made.sampler = samplers.get("random")(draw_seed(0, 0, "told"))
    return made


def suggest(
    made: optuna.Study, trial: optuna.Trial, sampler: str | SamplerFactory, seed: int = 1
) -> TrialSuggest:
    create = samplers.get(sampler) if isinstance(sampler, str) else sampler
    return TrialSuggest(trial, made, create, seed)


def made_up(design: object, trial: optuna.Trial) -> list[float]:
    """Values that depend on the parameters alone."""
    text = repr(sorted(trial.params.items()))
    digest = hashlib.sha256(text.encode()).digest()
    return [digest[0] / 255, 6 + digest[1] / 255]


def play(
    draw: Draw,
    sampler: str | SamplerFactory,
    count: int,
    *,
    seed: int = 1,
    tell: Tell = made_up,
    made: optuna.Study | None = None,
) -> optuna.Study:
    """Asks, draws and tells ``count`` trials; a trial that ``tell`` gives no values has failed."""
    made = made or new_study()
    for _ in range(count):
        trial = made.ask()
        values = tell(draw(suggest(made, trial, sampler, seed)), trial)
        if values is None:
            made.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            made.tell(trial, values)
    return made


def add(
    made: optuna.Study,
    params: Mapping[str, Any],
    values: list[float] | None,
    distributions: Mapping[str, optuna.distributions.BaseDistribution],
    **kwargs: Any,
) -> None:
    """Adds a finished trial of the caller's making, failed if it has no values."""
    states = optuna.trial.TrialState
    made.add_trial(
        optuna.trial.create_trial(
            state=kwargs.pop("state", states.COMPLETE if values else states.FAIL),
            values=values,
            params=dict(params),
            distributions={name: distributions[name] for name in params},
            **kwargs,
        )
    )


def changes(trial: FrozenTrial, params: Mapping[str, Any]) -> int:
    """How many of the parameters that both were asked for differ."""
    return sum(trial.params[name] != params[name] for name in trial.params.keys() & params.keys())


def mixers(design: Architecture) -> list[str]:
    return [block.sequence.name for block in design.blocks]

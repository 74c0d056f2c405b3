"""What a campaign file says once it is read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated, Any, Final, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from archsearch.architecture import Architecture
from archsearch.canonical import canonicalise
from archsearch.errors import InputError, suggestion
from archsearch.presets import presets
from archsearch.protocol import TrainingConfig
from archsearch.space.constraints import Constraint
from archsearch.space.domains import Domain, Size, draw_int, product
from archsearch.space.layers import Layers, PresetLayers
from archsearch.space.nodes import UnclearScalarError, resolve
from archsearch.space.sample import FirstSuggest, Suggest
from archsearch.tasks.mqar import MQARConfig

NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
SECOND_OBJECTIVES: Final = ("flops", "flops_executed", "params", "state")
DEFAULT_TRIALS: Final = 50
DEFAULT_CONFIRM_SEEDS: Final = 3
DEFAULT_RATES: Final = (1e-3, 3e-3, 1e-2)

_LATER_SETTINGS: Final = (
    "reference_presets",
    "oracles",
    "rungs",
    "stopping",
    "audit",
    "deterministic",
    "lag",
    "confirm_seeds",
    "confirm_minutes",
)
"""Files were frozen, and digests taken, before these existed: defaults are left out."""


def _check_preset(name: str) -> str:
    if name not in presets:
        hint = suggestion(name, presets)
        raise ValueError(f"must be a preset ({', '.join(presets)}){hint}")
    return name


PresetName = Annotated[str, AfterValidator(_check_preset)]
LearningRate = Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)]
RungShare = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]


class SearchConfig(BaseModel):
    """How the space is searched.

    Attributes:
        sampler: Who proposes designs.
        trials: Designs to evaluate; null for no limit. 50, or no limit if a time budget is given.
        time_budget_minutes: When to stop asking; null for no limit.
        seed: Of all randomness of the campaign.
        reference_widths: Widths at which reference designs are trained beside the search: those
            that the campaign chooses, or all of the space.
        reference_presets: Presets to train as references too, at the default depth.
        oracles: Whether designs that are told where the answers are may be members of the front.
        learning_rates: Raced against each other by every design, lowest first. One rate is no race;
            ``training.learning_rate`` in a file stands for that.
        rungs: Shares of the steps at which runs pause to be judged; the end is not among them.
        stopping: Which runs are ended at a rung.
        audit: Share of the runs that lost a race or were stopped that is finished all the same, to
            know how often that was wrong.
        deterministic: Whether the study does not depend on which run ends first: trial k is asked
            when exactly the trials 0 to k - ``lag`` are told.
        lag: Trials asked and not yet told, at most, in a deterministic campaign.
        confirm_seeds: Fresh seeds for each design on or near the front and each reference, once the
            search has ended, and up to twice as many while its membership is in doubt; 0 trains
            nothing again.
        confirm_minutes: When to begin no more of them; null for no limit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    sampler: Literal["surrogate", "structural", "tpe", "nsga2", "gp", "portfolio", "random"] = (
        "surrogate"
    )
    trials: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    time_budget_minutes: Annotated[float, Field(gt=0, le=1e7, allow_inf_nan=False)] | None = None
    seed: Annotated[int, Field(ge=0, le=2**53)] = 0
    reference_widths: Literal["default", "all"] = "default"
    reference_presets: Annotated[tuple[PresetName, ...], Field(strict=False)] = ()
    oracles: bool = False
    learning_rates: Annotated[
        tuple[LearningRate, ...], Field(strict=False, min_length=1, max_length=9)
    ] = DEFAULT_RATES
    rungs: Annotated[tuple[RungShare, ...], Field(strict=False, max_length=20)] = (0.125, 0.25, 0.5)
    stopping: Literal["front", "asha", "none"] = "front"
    audit: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.1
    deterministic: bool = False
    lag: Annotated[int, Field(ge=1, le=10_000)] = 8
    confirm_seeds: Annotated[int, Field(ge=0, le=100)] = DEFAULT_CONFIRM_SEEDS
    confirm_minutes: Annotated[float, Field(gt=0, le=1e7, allow_inf_nan=False)] | None = None

    @field_validator("learning_rates", "rungs")
    @classmethod
    def _rise(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if any(b <= a for a, b in pairwise(values)):
            raise ValueError(f"got {', '.join(f'{v:g}' for v in values)}; must rise, each once")
        return values

    @model_validator(mode="before")
    @classmethod
    def _fill_budget(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and "trials" not in data:
            unlimited = data.get("time_budget_minutes") is not None
            return {**data, "trials": None if unlimited else DEFAULT_TRIALS}
        return data

    @model_validator(mode="after")
    def _has_budget(self) -> Self:
        if self.trials is None and self.time_budget_minutes is None:
            raise ValueError("no budget; give 'trials', 'time_budget_minutes' or both")
        if self.deterministic and self.time_budget_minutes is not None:
            raise ValueError(
                "'deterministic' with 'time_budget_minutes': what a time allows differs from run to"
                " run; give 'trials' alone"
            )
        return self


@dataclass(frozen=True)
class Space:
    """A set of designs: a domain for every part.

    Attributes:
        d_model: Widths.
        position: Position encodings; a preset has its own.
        norm: Norms; a preset has its own.
        layers: Depth and mixers.
    """

    d_model: Domain
    position: Domain
    norm: Domain
    layers: Layers

    def sample(self, suggest: Suggest) -> Architecture:
        """A design as asked for: not canonical, and not sure to be buildable.

        Each parameter is asked for once, under a name that always has the same distribution.
        """
        d_model = draw_int(self.d_model, "d_model", suggest)
        if isinstance(self.layers, PresetLayers):
            return self.layers.design(d_model, suggest)
        position: Any = self.position.draw("position", suggest)
        norm: Any = self.norm.draw("norm", suggest)
        return Architecture(
            d_model=d_model, position=position, norm=norm, blocks=self.layers.draw(suggest)
        )

    def default(self) -> Architecture:
        """The first choice or lowest value of everything."""
        return self.sample(FirstSuggest())

    def size(self) -> Size:
        """The exact number of assignments of parameters; inf if one of them is continuous.

        Several assignments may describe the same design.
        """
        return product(
            (self.d_model.size(), self.position.size(), self.norm.size(), self.layers.size())
        )

    def contains(self, architecture: Architecture) -> bool:
        """Whether some assignment gives this design, as written or in canonical form."""
        if isinstance(self.layers, PresetLayers):
            return self.d_model.contains(architecture.d_model) and self.layers.contains(
                architecture
            )
        return (
            self.d_model.contains(architecture.d_model)
            and self.norm.contains(architecture.norm)
            and self._has_position(architecture)
            and self.layers.contains(architecture.blocks)
        )

    def _has_position(self, architecture: Architecture) -> bool:
        if self.position.contains(architecture.position):
            return True
        if architecture.position == "learned":
            return False
        # 'rotary' and 'none' are the same where no mixer turns its queries and keys
        other = "rotary" if architecture.position == "none" else "none"
        rotary = architecture.model_copy(update={"position": "rotary"})
        try:
            idle = canonicalise(rotary).position == "none"
        except InputError:
            return False
        return idle and self.position.contains(other)

    def plain(self) -> dict[str, Any]:
        """As in a campaign file."""
        if isinstance(self.layers, PresetLayers):
            return {"d_model": self.d_model.plain(), **self.layers.plain()}
        return {
            "d_model": self.d_model.plain(),
            "position": self.position.plain(),
            "norm": self.norm.plain(),
            **self.layers.plain(),
        }


@dataclass(frozen=True)
class CampaignFile:
    """A checked campaign file; equal when they mean the same, whatever their text.

    Attributes:
        name: Of the campaign and its folder.
        title: Free text.
        task: What designs are trained and tested on.
        space: Which designs there are.
        training: How each is trained.
        objectives: ``accuracy``, the price to pay for it, and perhaps ``learnability``.
        constraints: What a design must satisfy to be trained at all.
        search: Sampler, budget and seed.
        text: The file itself, comments included, to be frozen with the results.
    """

    name: str
    title: str
    task: MQARConfig
    space: Space
    training: TrainingConfig
    objectives: tuple[str, ...]
    constraints: tuple[Constraint, ...]
    search: SearchConfig
    text: str = field(default="", compare=False, repr=False)

    def plain(self) -> dict[str, Any]:
        """As in a campaign file, every default written out."""
        return {
            "name": self.name,
            "title": self.title,
            "task": self.task.model_dump(mode="json"),
            "space": self.space.plain(),
            "training": self._plain_training(),
            "objectives": list(self.objectives),
            "constraints": [str(constraint) for constraint in self.constraints],
            "search": self._plain_search(),
        }

    @property
    def is_race(self) -> bool:
        """Whether designs are trained at several learning rates."""
        return len(self.search.learning_rates) > 1

    def _plain_training(self) -> dict[str, Any]:
        data = self.training.model_dump(mode="json")
        if self.is_race:
            del data["learning_rate"]
        return data

    def _plain_search(self) -> dict[str, Any]:
        data = self.search.model_dump(mode="json")
        default = SearchConfig().model_dump(mode="json")
        for key in _LATER_SETTINGS:
            if data[key] == default[key]:
                del data[key]
        if not self.is_race:
            del data["learning_rates"]  # the training's rate says the same
        return data

    def dump(self) -> str:
        """YAML that loads as an equal file."""
        text: str = yaml.dump(
            self.plain(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100
        )
        return text

    def canonical_json(self) -> str:
        """What decides the results, as JSON with sorted keys.

        Neither comments, nor the order of keys and constraints, nor the title are in it, nor the
        budgets (``trials``, ``time_budget_minutes``, ``confirm_seeds``, ``confirm_minutes``), which
        may grow when a campaign goes on.
        """
        data = self.plain()
        del data["title"], data["search"]["trials"], data["search"]["time_budget_minutes"]
        for key in ("confirm_seeds", "confirm_minutes"):
            data["search"].pop(key, None)
        data["constraints"] = sorted(data["constraints"])
        return json.dumps(data, sort_keys=True, separators=(",", ":"))

    @property
    def digest(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of the canonical JSON."""
        return hashlib.sha256(self.canonical_json().encode()).hexdigest()[:16]


class _Dumper(yaml.SafeDumper):
    """Quotes every text that our own reader would take for something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    try:
        clear = isinstance(resolve(text), str)
    except UnclearScalarError:
        clear = False
    style = None if clear and text.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _represent_number(dumper: yaml.SafeDumper, number: float) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:float", repr(number))


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(float, _represent_number)

"""What several tests of spaces share: recording and enumerating suggesters, random files."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from hypothesis import strategies as st

from archsearch import space
from archsearch.architecture import Architecture, Scalar
from archsearch.presets import presets
from archsearch.space import CampaignFile, Space, Suggest


class Recording:
    """Passes questions on and keeps each name's distribution and answer."""

    def __init__(self, inner: Suggest, distributions: dict[str, Any]) -> None:
        self.inner = inner
        self.distributions = distributions
        self.answers: dict[str, Scalar] = {}

    def _note(self, name: str, distribution: Any, answer: Any) -> Any:
        assert name not in self.answers, f"{name} was asked for twice"
        assert self.distributions.setdefault(name, distribution) == distribution, name
        self.answers[name] = answer
        return answer

    def categorical(self, name: str, choices: Sequence[Scalar]) -> Scalar:
        assert len(choices) > 1, f"{name} leaves nothing to ask"
        return self._note(name, [repr(c) for c in choices], self.inner.categorical(name, choices))

    def integer(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        assert low < high
        answer = self.inner.integer(name, low, high, step=step, log=log)
        assert isinstance(answer, int)
        assert low <= answer <= high
        assert (answer - low) % step == 0
        return self._note(name, (low, high, step, log), answer)

    def floating(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        assert low < high
        answer = self.inner.floating(name, low, high, step=step, log=log)
        assert low <= answer <= high
        return self._note(name, (low, high, step, log), answer)


class Scripted:
    """Answers by index from a script, and the first option after its end."""

    def __init__(self, script: list[int]) -> None:
        self.script = script
        self.widths: list[int] = []

    def _pick(self, options: Sequence[Any]) -> Any:
        i = len(self.widths)
        self.widths.append(len(options))
        return options[self.script[i] if i < len(self.script) else 0]

    def categorical(self, name: str, choices: Sequence[Scalar]) -> Scalar:
        return self._pick(choices)

    def integer(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        return self._pick(range(low, high + 1, step))

    def floating(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        assert step is not None
        return self._pick([low + i * step for i in range(round((high - low) / step) + 1)])


def enumerate_all(a_space: Space) -> Iterator[tuple[dict[str, Scalar], Architecture]]:
    """Every assignment of a finite space, with its design."""
    script: list[int] | None = []
    while script is not None:
        scripted = Scripted(script)
        recording = Recording(scripted, {})
        yield recording.answers, a_space.sample(recording)
        script = script + [0] * (len(scripted.widths) - len(script))
        while script and script[-1] + 1 == scripted.widths[len(script) - 1]:
            script.pop()
        if not script:
            return
        script[-1] += 1


def campaign(a_space: dict[str, Any], **others: Any) -> CampaignFile:
    """A campaign file with this space; JSON is YAML."""
    data = {
        "name": "test",
        "task": {"name": "mqar", "vocab_size": 128, "cells": [{"length": 16, "pairs": 2}]},
        "space": a_space,
        **others,
    }
    return space.loads(json.dumps(data), "test.yaml")


def subsets(values: list[Any], most: int = 3) -> st.SearchStrategy[Any]:
    """One of the values, or a choice among some."""
    several = st.lists(
        st.sampled_from(values), min_size=1, max_size=most, unique_by=lambda v: repr(v)
    ).map(lambda chosen: {"choice": chosen})
    return st.sampled_from(values) | several


HEADS = subsets([1, 2])
WINDOWS = subsets([4, 16, "sqrt", "N/4", "N/1"])
SEQUENCE = {
    "attention": st.fixed_dictionaries({}, optional={"num_heads": HEADS}),
    "short_conv": st.fixed_dictionaries(
        {}, optional={"kernel_size": subsets([2, 3]) | st.just({"range": [2, 6], "step": 2})}
    ),
    "sliding_window": st.fixed_dictionaries({"window": WINDOWS}, optional={"num_heads": HEADS}),
    "dilated_window": st.fixed_dictionaries({"window": WINDOWS, "dilation": subsets([1, 2])}),
    "learned_selection": st.fixed_dictionaries(
        {},
        optional={
            "cap": WINDOWS,
            "penalty": subsets([1, 0.5]) | st.just({"range": [0.0, 1.0], "step": 0.25}),
        },
    ),
}
CHANNEL = {"none": st.just({}), "mlp": st.just({}), "swiglu": st.just({})}


def mixers(known: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    """A mixer domain as in a file."""
    one = st.one_of(
        [options.map(lambda o, n=name: {"mixer": n, **o}) for name, options in known.items()]
    ) | st.sampled_from(list(known))
    name_of = lambda mixer: mixer if isinstance(mixer, str) else mixer["mixer"]  # noqa: E731
    several = st.lists(one, min_size=1, max_size=2, unique_by=name_of)
    return one | several.map(lambda chosen: {"choice": chosen})


BESIDE = {
    "channel": mixers(CHANNEL),
    "parallel": mixers({**SEQUENCE, "none": st.just({})}),
    "local_conv": subsets([0, 3, 4]),
}
BLOCK = st.fixed_dictionaries({"sequence": mixers(SEQUENCE)}, optional=BESIDE)
RULE = st.one_of(
    st.just("positions"),
    subsets([1, 2, 3]).map(lambda d: {"every": d}),
    subsets([0, 1, 2]).map(lambda d: {"count": d}),
)
RULES = RULE | st.lists(
    RULE, min_size=1, max_size=3, unique_by=lambda r: r if isinstance(r, str) else next(iter(r))
).map(lambda chosen: {"choice": chosen})
PLACED = st.fixed_dictionaries(
    {
        "base": BLOCK,
        "placement": st.fixed_dictionaries(
            {"sequence": mixers(SEQUENCE), "rule": RULES}, optional=BESIDE
        ),
    }
)
_HEAD = {
    "d_model": subsets([8, 16, 32]) | st.just({"range": [8, 32], "log": True}),
}
_EXTRA = {
    "position": subsets(["none", "learned", "rotary"]),
    "norm": subsets(["layernorm", "rmsnorm"]),
}
DEPTH = subsets([2, 3, 4]) | st.just({"range": [2, 3]})
SPACES = st.one_of(
    st.fixed_dictionaries(
        {**_HEAD, "depth": DEPTH, "layers": st.fixed_dictionaries({"each": BLOCK})},
        optional=_EXTRA,
    ),
    st.fixed_dictionaries(
        {
            **_HEAD,
            "layers": st.fixed_dictionaries({"list": st.lists(BLOCK, min_size=1, max_size=3)}),
        },
        optional=_EXTRA,
    ),
    st.fixed_dictionaries({**_HEAD, "depth": DEPTH, "layers": PLACED}, optional=_EXTRA),
    st.fixed_dictionaries(
        {
            **_HEAD,
            "depth": DEPTH,
            "layers": st.fixed_dictionaries({"preset": subsets(list(presets))}),
        }
    ),
)

"""Sampling, size, membership and round trips, over random spaces of every form."""

import dataclasses
import json
import math
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archsearch import space
from archsearch.architecture import Architecture, Block, Component
from archsearch.canonical import canonicalise
from archsearch.errors import InputError
from archsearch.space import FirstSuggest, RandomSuggest
from tests.space.bad_files import GOOD
from tests.space.helpers import SPACES, Recording, campaign, enumerate_all

EXAMPLES = settings(max_examples=60, deadline=None, derandomize=True)


def loaded(a_space: dict[str, Any]) -> space.CampaignFile | None:
    """The campaign; None where the random space is refused for a reason that may occur."""
    try:
        return campaign(a_space)
    except InputError as error:
        if "depth can be" in str(error) or "fits no width" in str(error):
            return None
        raise


@EXAMPLES
@given(SPACES, st.integers(0, 2**32))
def test_samples_are_in_the_space(a_space: dict[str, Any], seed: int) -> None:
    file = loaded(a_space)
    if file is None:
        return
    distributions: dict[str, Any] = {}
    rng = np.random.default_rng(seed)
    for _ in range(10):
        design = file.space.sample(Recording(RandomSuggest(rng), distributions))
        assert file.space.contains(design)
        try:
            canonical = canonicalise(design)
        except InputError:
            continue
        assert file.space.contains(canonical)
    assert file.space.contains(file.space.default())


@EXAMPLES
@given(SPACES)
def test_dump_loads_as_the_same(a_space: dict[str, Any]) -> None:
    file = loaded(a_space)
    if file is None:
        return
    again = space.loads(file.dump())
    assert again == file
    assert again.digest == file.digest
    assert again.dump() == file.dump()


def shuffled(data: Any, rng: random.Random) -> Any:
    if isinstance(data, list):
        return [shuffled(item, rng) for item in data]
    if not isinstance(data, dict):
        return data
    keys = list(data)
    rng.shuffle(keys)
    return {key: shuffled(data[key], rng) for key in keys}


@EXAMPLES
@given(SPACES, st.integers(0, 2**32))
def test_digest_and_draws_do_not_depend_on_key_order(a_space: dict[str, Any], seed: int) -> None:
    file = loaded(a_space)
    if file is None:
        return
    text = json.dumps(shuffled(file.plain(), random.Random(seed)), indent=2)
    other = space.loads("# a comment\n" + text)
    assert other == file
    assert other.digest == file.digest
    draws = [f.space.sample(RandomSuggest(np.random.default_rng(seed))) for f in (file, other)]
    assert draws[0] == draws[1]


@EXAMPLES
@given(SPACES)
def test_size_is_the_number_of_assignments(a_space: dict[str, Any]) -> None:
    a_space["d_model"] = 16
    a_space.pop("norm", None)
    file = loaded(a_space)
    if file is None or file.space.size() > 1500:
        return
    found = [tuple(sorted(map(repr, answers.items()))) for answers, _ in enumerate_all(file.space)]
    assert len(found) == len(set(found)) == file.space.size()


CONV = {"mixer": "short_conv", "kernel_size": {"choice": [3, 5]}}
PLACED = {"sequence": {"mixer": "sliding_window", "window": {"choice": [4, 8, "sqrt"]}}}


@pytest.mark.parametrize(
    ("a_space", "size"),
    [
        ({"d_model": 8, "layers": {"list": [{"sequence": "attention"}]}}, 1),
        (
            {
                "d_model": {"range": [8, 32], "step": 8},
                "layers": {"list": [{"sequence": CONV}] * 3},
            },
            32,
        ),
        ({"d_model": 8, "depth": {"range": [1, 3]}, "layers": {"each": {"sequence": CONV}}}, 14),
        (
            {
                "d_model": 8,
                "depth": 3,
                "layers": {
                    "base": {"sequence": CONV},
                    "placement": {**PLACED, "rule": "positions"},
                },
            },
            5**3,
        ),
        (
            {
                "d_model": 8,
                "depth": 3,
                "layers": {
                    "base": {"sequence": CONV},
                    "placement": {**PLACED, "rule": {"every": {"choice": [1, 2]}}},
                },
            },
            27 + 3 * 2 * 3 + 2 * 3 * 2,
        ),
        (
            {
                "d_model": 8,
                "depth": 3,
                "layers": {
                    "base": {"sequence": CONV},
                    "placement": {**PLACED, "rule": {"count": {"choice": [0, 2]}}},
                },
            },
            8 + 3 * 9 * 2,
        ),
        (
            {
                "d_model": 8,
                "layers": {
                    "list": [
                        {
                            "sequence": {
                                "mixer": "learned_selection",
                                "penalty": {"range": [0.1, 1.0]},
                            }
                        }
                    ]
                },
            },
            math.inf,
        ),
    ],
    ids=["fixed", "list", "each", "positions", "every", "count", "continuous"],
)
def test_size_by_hand(a_space: dict[str, Any], size: float) -> None:
    file = campaign(a_space)
    assert file.space.size() == size
    if size != math.inf:
        designs = {design.canonical_json() for _, design in enumerate_all(file.space)}
        assert len(designs) == size


def test_size_of_a_huge_space_is_exact() -> None:
    each = {"sequence": {"choice": ["attention", "short_conv"]}}
    file = campaign({"d_model": 8, "depth": 512, "layers": {"each": each}})
    assert file.space.size() == 2**512
    each["sequence"]["choice"].append(
        {"mixer": "learned_selection", "penalty": {"range": [0.1, 1]}}
    )  # type: ignore[arg-type]
    file = campaign({"d_model": 8, "depth": 512, "layers": {"each": each}})
    assert file.space.size() == math.inf


def test_fixed_values_are_not_asked_for() -> None:
    file = campaign(
        {
            "d_model": {"choice": [8]},
            "depth": {"range": [2, 2]},
            "layers": {
                "base": {"sequence": {"choice": ["short_conv"]}},
                "placement": {"sequence": "attention", "rule": {"count": 2}},
            },
        }
    )
    assert [answers for answers, _ in enumerate_all(file.space)] == [{}]
    assert str(file.space.default()) == "d8: attention(num_heads=1) > attention(num_heads=1)"


def test_parameter_names() -> None:
    file = space.loads(GOOD)
    names: dict[str, Any] = {}
    for seed in range(300):
        file.space.sample(Recording(RandomSuggest(np.random.default_rng(seed)), names))
    assert names.keys() == {
        "d_model",
        "position",
        "depth",
        "rule",
        "every",
        "offset[every=2]",
        "attention_count",
        "positions[depth=2,count=1]",
        "positions[depth=3,count=1]",
        "positions[depth=3,count=2]",
        *(f"attention_at{i}" for i in range(3)),
        *(f"layer{i}.base.short_conv.kernel_size" for i in range(3)),
        *(f"layer{i}.placed.sequence" for i in range(3)),
        *(f"layer{i}.placed.sliding_window.window" for i in range(3)),
    }
    assert names["positions[depth=3,count=2]"] == ["'0,1'", "'0,2'", "'1,2'"]


def test_contains_compares_canonical_forms() -> None:
    window = {"mixer": "dilated_window", "window": 8, "dilation": {"choice": [1, 2]}}
    block = {"sequence": window}
    file = campaign({"d_model": 8, "position": "rotary", "layers": {"list": [block]}})

    def design(name: str, position: Any = "rotary", **options: Any) -> Architecture:
        mixer = Component(name=name, options=options)
        return Architecture(d_model=8, position=position, blocks=(Block(sequence=mixer),))

    assert file.space.contains(design("dilated_window", window=8, dilation=2))
    assert file.space.contains(design("sliding_window", window=8))
    assert not file.space.contains(design("sliding_window", window=9))
    assert not file.space.contains(design("dilated_window", window=8, dilation=3))
    assert not file.space.contains(design("dilated_window", position="none", window=8, dilation=2))
    assert not file.space.contains(design("attention"))
    assert not file.space.contains(design("no_such_mixer"))


def test_contains_knows_idle_rotary_positions() -> None:
    file = campaign(
        {"d_model": 8, "position": "rotary", "layers": {"list": [{"sequence": "short_conv"}]}}
    )
    design = file.space.default()
    assert design.position == "rotary"
    assert canonicalise(design).position == "none"
    assert file.space.contains(canonicalise(design))
    assert not file.space.contains(design.model_copy(update={"position": "learned"}))


def test_contains_refuses_other_widths_depths_and_norms() -> None:
    file = space.loads(GOOD)
    design = file.space.default()
    assert file.space.contains(design)
    for change in ({"d_model": 33}, {"norm": "rmsnorm"}, {"blocks": design.blocks * 2}):
        assert not file.space.contains(design.model_copy(update=change))


def test_float_ranges() -> None:
    grid = {"mixer": "learned_selection", "penalty": {"range": [0.0, 1.0], "step": 0.25}}
    line = {"mixer": "learned_selection", "penalty": {"range": [0.5, 1.0]}}
    file = campaign({"d_model": 8, "layers": {"list": [{"sequence": m} for m in (grid, line)]}})
    first, second = file.space.layers.blocks  # type: ignore[union-attr]
    domains = [dict(b.sequence.choices[0].options)["penalty"] for b in (first, second)]
    assert list(domains[0].values()) == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert domains[0].contains(0.75)
    assert not domains[0].contains(0.7)
    assert list(domains[1].values()) == [0.5, 1.0]
    for value in (0.4, True, "x"):
        assert not domains[1].contains(value)
    assert space.loads(file.dump()) == file
    drawn = file.space.sample(RandomSuggest(np.random.default_rng(0)))
    assert file.space.contains(drawn)
    assert not file.space.d_model.contains("8")


def test_contains_survives_options_that_cannot_be_built() -> None:
    file = space.loads(GOOD)
    odd = Component(name="short_conv", options={"kernel_size": 1})
    block = Block(sequence=odd)
    design = file.space.default().model_copy(update={"blocks": (block, block)})
    assert not file.space.contains(design)
    assert not file.space.contains(design.model_copy(update={"position": "rotary"}))
    plain = space.loads(GOOD.replace("position: {choice: [none, rotary]}", "position: none"))
    assert not plain.space.contains(design.model_copy(update={"position": "rotary"}))


def test_placement_by_count_bounds_membership() -> None:
    base, placed = {"sequence": "short_conv"}, {"sequence": "attention", "rule": {"count": 1}}
    file = campaign({"d_model": 8, "depth": 3, "layers": {"base": base, "placement": placed}})
    conv, full = (
        Block(sequence=Component(name="short_conv")),
        Block(sequence=Component(name="attention")),
    )
    other = Block(sequence=Component(name="based"))
    for blocks, inside in [
        ((conv, full, conv), True),
        ((conv, conv, conv), False),
        ((full, full, conv), False),
        ((full, other, conv), False),
        ((full, conv), False),
    ]:
        assert file.space.contains(Architecture(d_model=8, blocks=blocks)) == inside


class TestSuggest:
    def test_random_covers_grids_evenly(self) -> None:
        suggest = RandomSuggest(np.random.default_rng(0))
        drawn = [suggest.integer("x", 2, 11, step=3) for _ in range(4000)]
        assert set(drawn) == {2, 5, 8, 11}
        assert all(abs(drawn.count(v) / 4000 - 0.25) < 0.03 for v in (2, 5, 8, 11))
        floats = {round(suggest.floating("y", 0.0, 0.3, step=0.1), 9) for _ in range(200)}
        assert floats == {0.0, 0.1, 0.2, 0.3}

    def test_random_log_is_even_in_ratio(self) -> None:
        suggest = RandomSuggest(np.random.default_rng(0))
        small = sum(suggest.floating("x", 1e-4, 1.0, log=True) < 1e-2 for _ in range(4000))
        assert abs(small / 4000 - 0.5) < 0.03
        whole = [suggest.integer("n", 1, 1024, log=True) for _ in range(4000)]
        assert min(whole) == 1
        assert max(whole) > 900
        assert abs(np.median(whole) - 22) < 5  # sqrt(0.5 * 1024.5) = 22.6

    def test_random_is_reproducible(self) -> None:
        file = space.loads(GOOD)
        one, two = (
            [file.space.sample(RandomSuggest(np.random.default_rng(7))) for _ in range(3)]
            for _ in range(2)
        )
        assert one == two

    def test_first(self) -> None:
        suggest = FirstSuggest()
        assert suggest.categorical("a", (3, 1)) == 3
        assert suggest.integer("b", 2, 9) == 2
        assert suggest.floating("c", 0.5, 1.0, log=True) == 0.5


class TestCampaignFile:
    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("steps: 100", "steps: 101"),
            ("[32, 64]", "[64, 32]"),
            ("growth < 2", "growth < 1.5"),
            ("seed: 0", "seed: 1"),
            ("pairs: 2", "pairs: 3"),
            ("name: demo", "name: demo2"),
        ],
    )
    def test_digest_changes_with_what_matters(self, old: str, new: str) -> None:
        assert space.loads(GOOD.replace(old, new)).digest != space.loads(GOOD).digest

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("title: A demonstration", "title: Another"),
            ("trials: 10", "trials: 20"),
            ("trials: 10", "trials: 10, time_budget_minutes: 5"),
            ("growth < 2, params <= 2e6", "params <= 2000000, growth < 2.0"),
            ("- attention", "- {mixer: attention, num_heads: {choice: [1]}}  # written out"),
            ("norm: layernorm", "norm: {choice: [layernorm]}"),
        ],
    )
    def test_digest_ignores_wording_and_budget(self, old: str, new: str) -> None:
        assert old in GOOD
        assert space.loads(GOOD.replace(old, new)).digest == space.loads(GOOD).digest

    def test_defaults(self) -> None:
        file = campaign({"d_model": 8, "layers": {"list": [{"sequence": "attention"}]}})
        assert file.title == ""
        assert file.objectives == ("accuracy", "flops")
        assert file.constraints == ()
        assert file.training.steps == 2400
        assert (file.search.sampler, file.search.trials, file.search.seed) == ("surrogate", 50, 0)
        assert file.task.test_cells == file.task.cells

    def test_a_time_budget_alone_leaves_trials_open(self) -> None:
        layers = {"list": [{"sequence": "attention"}]}
        file = campaign({"d_model": 8, "layers": layers}, search={"time_budget_minutes": 5})
        assert file.search.trials is None
        assert space.loads(file.dump()) == file

    def test_text_is_kept(self) -> None:
        text = GOOD + "# the end\n"
        assert space.loads(text).text == text

    @settings(max_examples=100, deadline=None, derandomize=True)
    @given(
        st.text(st.characters(exclude_categories=("Cs", "Cc", "Cn", "Z")), max_size=40)
        | st.sampled_from(
            ["1e-3", "no", "~", "", "010", "12:30", "2026-11-01", "0x1", "true", ".inf"]
        )
    )
    def test_any_title_survives(self, title: str) -> None:
        layers = {"list": [{"sequence": "attention"}]}
        file = campaign({"d_model": 8, "layers": layers})
        file = dataclasses.replace(file, title=title)
        assert space.loads(file.dump()) == file

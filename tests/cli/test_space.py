"""``space``: a campaign file looked at before it is run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from archsearch.campaign.feasibility import INVALID, violations
from archsearch.campaign.preview import CONTENDERS, estimate_time, preview, race_length
from archsearch.costs import flops_at
from archsearch.errors import InputError
from archsearch.estimate import trial_seconds
from archsearch.space import json_schema, loads
from archsearch.tasks.mqar import Cell

from .conftest import CAMPAIGN, Ran, window_design

Cli = Callable[..., Ran]

KEYS = {
    "name",
    "title",
    "digest",
    "n_max",
    "size",
    "samples",
    "feasible",
    "distinct",
    "refusals",
    "prices",
    "growth",
    "designs",
    "references",
    "warnings",
    "estimate",
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "campaign.yaml"
    path.write_text(CAMPAIGN)
    return path


def test_space(cli: Cli, file: Path) -> None:
    ran = cli("space", file, "--no-estimate", "--samples", 3)
    assert ran.code == 0
    assert ran.err == ""
    assert "random designs" in ran.out
    assert "growth < 2" in ran.out
    for expected in ("\n1  ", "\n2  ", "\n3  ", "\nattention x2 ", "\nconv only "):
        assert expected in ran.out.replace("\n     1 ", "\n1 ")
    assert "time on this machine" not in ran.out
    assert "at most" not in ran.out


def test_json(cli: Cli, file: Path) -> None:
    data = json.loads(cli("space", file, "--no-estimate", "--json").out)
    assert set(data) == KEYS
    assert data["samples"] == 1000
    assert data["feasible"] + max(r["refused"] for r in data["refusals"]) <= 1000
    assert sum(data["growth"].values()) == data["feasible"]
    assert len(data["designs"]) == 5
    assert [d["price"]["flops"] for d in data["designs"]] == sorted(
        d["price"]["flops"] for d in data["designs"]
    )
    assert data["estimate"] is None


def test_schema_needs_no_file(cli: Cli) -> None:
    assert json.loads(cli("space", "--schema").out) == json_schema()


def test_a_bad_file_is_one_line_a_problem(cli: Cli, file: Path) -> None:
    file.write_text(CAMPAIGN.replace("steps: 100", "stpes: 100").replace("fake", "-fake"))
    ran = cli("space", file)
    assert ran.code == 2
    assert ran.err.count("\n") == 2
    assert all(line.startswith(f"archsearch: error: {file}:") for line in ran.err.splitlines())


def test_nothing_feasible_names_the_tightest_constraint() -> None:
    file = loads(CAMPAIGN.replace("params <= 30000", "params <= 10, flops >= 1"))
    with pytest.raises(InputError, match="no feasible architecture found in 50 samples") as caught:
        preview(file, num_samples=50)
    assert "the tightest constraint is 'params <= 10', violated by 50 of them" in str(caught.value)


def test_designs_that_cannot_be_built_are_said_to_be_so() -> None:
    text = CAMPAIGN.replace("window: {", "num_heads: {choice: [1, 64]}, window: {")
    found = preview(loads(text), num_samples=60)
    (refusal,) = [r for r in found.refusals if r.constraint == INVALID]
    assert 0 < refusal.refused == refusal.refused_alone <= 60 - found.num_feasible


def test_less_than_one_per_cent_feasible_is_a_warning() -> None:
    text = CAMPAIGN.replace("{choice: [32, 64]}", "{range: [2, 800], step: 2}")
    text = text.replace("growth < 2, params <= 30000", "d_model <= 4")
    found = preview(loads(text), num_samples=1000)
    assert 0 < found.num_feasible < 10
    assert found.warnings[0].startswith(f"only {found.num_feasible} of 1,000 random designs")
    assert "'d_model <= 4' refuses most" in found.warnings[0]


def test_a_preview_is_repeatable() -> None:
    assert preview(loads(CAMPAIGN), num_samples=80) == preview(loads(CAMPAIGN), num_samples=80)


def test_an_infinite_space_is_valid_json(cli: Cli, file: Path) -> None:
    file.write_text(
        CAMPAIGN.replace("- attention", "- {mixer: learned_selection, penalty: {range: [0.1, 1]}}")
    )
    data = json.loads(cli("space", file, "--no-estimate", "--json", "--samples", 0).out)
    assert (data["size"], data["designs"]) == (None, [])


def test_violations() -> None:
    file = loads(CAMPAIGN)
    design, price, found = violations(file, window_design(64, 64))
    assert design is not None
    assert price is not None
    assert price.n_max == 256
    assert list(found) == ["growth < 2", "params <= 30000"]
    assert all(value <= 0 for value in found.values())
    _, _, too_wide = violations(file, window_design(64, 65))
    assert too_wide["growth < 2"] > 0
    odd = window_design(32, 4).model_copy(update={"d_model": 0})
    broken = odd.blocks[1].sequence.model_copy(update={"options": {"window": 4, "num_heads": 3}})
    blocks = (odd.blocks[0], odd.blocks[1].model_copy(update={"sequence": broken}))
    unbuildable = window_design(32, 4).model_copy(update={"blocks": blocks})
    assert violations(file, unbuildable) == (None, None, {INVALID: 1.0})


def test_the_time_is_estimated_by_training_a_little() -> None:
    file = loads(CAMPAIGN)
    found = preview(file, num_samples=30)
    times = estimate_time(file, found, workers=2)
    assert 0 < min(times.trials) <= times.trial <= max(times.trials)
    assert times.references == 6
    assert times.campaign is not None
    assert times.campaign == pytest.approx(
        16 * (times.trials[0] + 2 * times.trials[1] + times.trials[2]) / 4 / 2
    )
    run_seconds = times.trial / race_length(file)
    assert times.confirmation == pytest.approx(3 * (6 + CONTENDERS) * run_seconds / 2)
    for changes, longest in (({"confirm_seeds": 0}, 0.0), ({"confirm_minutes": 1e-6}, 6e-5)):
        other = replace(file, search=file.search.model_copy(update=changes))
        assert estimate_time(other, found, workers=2).confirmation == pytest.approx(longest)


def test_a_trial_is_its_steps_validations_and_test(monkeypatch: pytest.MonkeyPatch) -> None:
    file = loads(CAMPAIGN)
    design = window_design(32, 4)

    def measured(*_: object) -> dict[Cell, float]:
        return dict(zip(file.task.cells, (0.1, 0.3), strict=True))

    monkeypatch.setattr("archsearch.estimate.step_seconds", measured)
    # a step of 512 tokens takes 0.1 s at (32,4) and 0.3 s at (64,8); scoring costs a third of it
    validation = (0.1 * 1024 / 4 * 32 + 0.3 * 1024 / 8 * 64) / 512 / 3
    longer = flops_at(design, 256) / 256 / (flops_at(design, 64) / 64)
    test = 0.3 * (4096 / 8 * 64 + 4096 / 16 * 256 * longer) / 512 / 3
    expected = 100 * 0.2 + 2 * validation + test
    assert trial_seconds(design, file.task, file.training) == pytest.approx(expected)

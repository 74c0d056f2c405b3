"""Campaigns side by side: figures worked out by hand, and nothing compared that is not alike."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import archsearch
from archsearch.campaign.comparison import compare
from archsearch.campaign.config import Campaign
from archsearch.campaign.course import course_of
from archsearch.pareto import hypervolume
from archsearch.records import FRESH_RUNS, Confirmation, RunSeed, TrialOutcome, TrialRecord
from archsearch.space import loads
from archsearch.storage import Store

from .conftest import CAMPAIGN, Ran, build, record, reference_records, trial_records, window_design

Cli = Callable[..., Ran]


def made(folder: Path, accuracies: dict[int, float], text: str = CAMPAIGN, **settings: Any) -> Path:
    """A campaign of windows of those widths, all cells alike; prices rise with the window."""
    file = loads(text)
    trials = [
        record(file, number, TrialOutcome.FINISHED, window_design(64, window), (value, value))
        for number, (window, value) in enumerate(accuracies.items())
    ]
    campaign = build(folder, reference_records(file), trials, text=text, **settings)
    campaign.freeze(reference_point=(0.2, 1e8))
    return folder


def readings(*folders: Path) -> list[archsearch.campaign.reading.Reading]:
    return [archsearch.open_campaign(folder) for folder in folders]


def test_fronts_by_hand(tmp_path: Path) -> None:
    a = made(tmp_path / "a", {4: 0.5, 8: 0.7, 16: 0.8})
    b = made(tmp_path / "b", {4: 0.4, 8: 0.7, 16: 0.9})
    found = compare(readings(a, b))
    assert found.is_comparable
    assert found.differences == ()
    # 4: a alone; 8: both; 16: b alone
    assert found.on_union == (2, 2)
    assert found.covered == ((1.0, 2 / 3), (2 / 3, 1.0))
    one, two = (reading.front for reading in readings(a, b))
    together = [*one.members, *two.members]
    bound = [-0.2, 8.0]
    from math import log10

    volumes = [
        hypervolume([(-m.accuracy, log10(m.cost)) for m in members], bound)
        for members in (one.members, two.members, together)
    ]
    assert found.hypervolumes == pytest.approx(volumes[:2])
    assert found.union_hypervolume == pytest.approx(volumes[2])
    assert found.levels is not None
    assert found.attained is not None
    assert found.levels[0] == pytest.approx(one.members[0].cost)
    assert found.levels[-1] == one.members[-1].cost
    assert [row[0] for row in found.attained] == [0.5, 0.4]
    assert [row[-1] for row in found.attained] == [0.8, 0.9]
    shared = {c.design: [r.accuracy for r in c.rows.values()] for c in found.common}
    assert [0.8, 0.9] in shared.values()
    assert len(found.common) == 3 + len([r for r in one.references if r.outcome.was_trained])
    best = [max(r.accuracy for r in c.rows.values()) for c in found.common]
    assert best == sorted(best, reverse=True)


def test_the_weakest_reference_point_bounds_all(tmp_path: Path) -> None:
    a, b = made(tmp_path / "a", {4: 0.5}), made(tmp_path / "b", {4: 0.5})
    before = compare(readings(a, b)).hypervolumes
    Campaign.open(b).freeze(reference_point=(0.1, 1e9))
    after = compare(readings(a, b)).hypervolumes
    assert before is not None
    assert after is not None
    assert after[0] == after[1] > before[0]


def test_scores_under_other_protocols_are_not_compared(cli: Cli, tmp_path: Path) -> None:
    a = made(tmp_path / "a", {4: 0.5})
    b = made(tmp_path / "b", {4: 0.6}, CAMPAIGN.replace("steps: 100", "steps: 200"), seed=9)
    found = compare(readings(a, b))
    assert not found.is_comparable
    assert [(d.name, d.values, d.of_scores) for d in found.differences] == [
        ("training.steps", (100, 200), True),
        ("seed", (readings(a)[0].campaign.settings.seed, 9), False),
    ]
    assert (found.hypervolumes, found.covered, found.attained, found.on_union) == (None,) * 4
    assert found.common  # shown beside one another, as what they are
    ran = cli("compare", a, b)
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert lines[3].startswith("scores under different protocols are not compared")
    assert "training.steps (scores)" in ran.out
    assert "hypervolume" not in ran.out
    assert "trained" in ran.out  # designs in common, without their scores
    assert not re.search(r"0\.[0-9]{3}", ran.out)
    shown = json.loads(cli("compare", a, b, "--json").out)
    assert shown["hypervolumes"] is None
    assert {score for one in shown["common"] for score in one["accuracy"]} == {None}


def test_a_search_that_differs_is_compared_and_said(cli: Cli, tmp_path: Path) -> None:
    a = made(tmp_path / "a", {4: 0.5, 8: 0.7})
    b = made(tmp_path / "b", {4: 0.5, 8: 0.6}, sampler="nsga2")
    c = made(tmp_path / "c", {})
    ran = cli("compare", a, b, c)
    assert (ran.code, ran.err) == (0, "")
    assert "sampler" in ran.out
    assert "(scores)" not in ran.out
    shown = json.loads(cli("compare", a, b, c, "--json").out)
    assert shown["is_comparable"]
    assert shown["on_union"] == [2, 1, 0]
    assert shown["hypervolumes"][2] == 0
    assert shown["attained"][2] == [None] * len(shown["levels"])
    assert shown["covered"][0] == [1.0, 1.0, 0.0]


def test_what_one_of_them_has_none_of_is_said(cli: Cli, tmp_path: Path) -> None:
    a = made(tmp_path / "a", {4: 0.5}, text=CAMPAIGN.replace("seed: 3", "seed: 3, rungs: [0.5]"))
    b = made(tmp_path / "b", {4: 0.5}, text=CAMPAIGN.replace("seed: 3", "seed: 3, rungs: []"))
    assert re.search(r"rungs +0\.5 +none", cli("compare", a, b).out)


def test_a_campaign_with_nothing_trained(cli: Cli, tmp_path: Path, campaign: Path) -> None:
    build(tmp_path / "new")
    ran = cli("compare", campaign, tmp_path / "new")
    assert ran.code == 0
    assert "references are not trained yet" in ran.out
    assert "no design was trained by two of them" in ran.out
    alone = cli("compare", campaign)
    assert alone.code == 2
    assert "give two campaigns or more" in alone.err


def test_trials_of_every_outcome_do_no_harm(tmp_path: Path) -> None:
    file = loads(CAMPAIGN)
    for name in ("a", "b"):
        build(tmp_path / name, reference_records(file), trial_records(file))
        Campaign.open(tmp_path / name).freeze(reference_point=(0.245, 2e7))
    found = compare(readings(tmp_path / "a", tmp_path / "b"))
    assert found.hypervolumes is not None
    assert found.hypervolumes[0] == found.hypervolumes[1] == found.union_hypervolume


def test_a_design_that_is_easier_to_train_stands_on_the_front_of_all(tmp_path: Path) -> None:
    def with_learnability(folder: Path, decades: float) -> archsearch.campaign.reading.Reading:
        reading = archsearch.open_campaign(folder)
        names = ("accuracy", "flops", "learnability")
        campaign = Campaign(
            folder,
            replace(reading.campaign.file, objectives=names),
            reading.campaign.settings.model_copy(update={"reference_point": (0.2, 1e8, 0.0)}),
        )
        records = [r.model_copy(update={"learnability": decades}) for r in reading.records]
        return replace(reading, campaign=campaign, records=records)

    a, b = made(tmp_path / "a", {4: 0.5}), made(tmp_path / "b", {4: 0.6})
    flat = compare(readings(a, b))
    assert (flat.on_union, flat.covered) == ((0, 1), ((1.0, 0.0), (1.0, 1.0)))
    found = compare([with_learnability(a, 1.0), with_learnability(b, 0.5)])
    assert (found.on_union, found.covered) == ((1, 1), ((1.0, 0.0), (0.0, 1.0)))
    assert found.hypervolumes is not None
    assert flat.hypervolumes is not None
    assert found.hypervolumes == pytest.approx(
        (1.0 * flat.hypervolumes[0], 0.5 * flat.hypervolumes[1])
    )


def test_a_course_ends_at_the_fronts_hypervolume(tmp_path: Path) -> None:
    a = made(tmp_path / "a", {4: 0.5, 16: 0.8, 8: 0.7})
    b = made(tmp_path / "b", {4: 0.4, 8: 0.7, 16: 0.9})
    Campaign.open(b).freeze(reference_point=(0.1, 1e9))
    found = compare(readings(a, b))
    for place, reading in enumerate(readings(a, b)):
        course = course_of(reading, found.bound)
        seconds = sum(record.seconds for record in reading.records)
        assert course[-1].hours == pytest.approx(seconds / 3600)
        assert found.hypervolumes is not None
        assert course[-1].hypervolume == pytest.approx(found.hypervolumes[place])
    # by hand: references first, then trials as they ended
    own = course_of(readings(a)[0])
    trained = [r for r in readings(a)[0].records if r.number >= 0]
    assert [point.hypervolume > 0 for point in own] == [False, True, True, True]
    assert [p.hours - own[0].hours for p in own[1:]] == pytest.approx(
        [sum(r.seconds for r in trained[: i + 1]) / 3600 for i in range(3)]
    )
    assert [p.hypervolume for p in own] == sorted(p.hypervolume for p in own)


def test_a_course_takes_references_and_trials_in_the_order_of_their_ends(tmp_path: Path) -> None:
    (reading,) = readings(made(tmp_path / "a", {4: 0.5, 16: 0.8}))
    first, *references = (r for r in reading.records if r.reference is not None)
    trials = [r for r in reading.records if r.reference is None]
    order = [first, trials[0], *references, trials[1]]
    mixed = [r.model_copy(update={"told_order": n}) for n, r in enumerate(order, 1)]
    course = course_of(replace(reading, records=mixed))
    counts = range(1, len(order) + 1)
    seconds = [sum(r.seconds for r in order[:n]) / 3600 for n in counts]
    assert [point.hours for point in course] == pytest.approx(seconds)
    # the first trial was no member yet: who beats convolutions only was not known
    known = [any(r.reference == "conv only" for r in order[:n]) for n in counts]
    assert [point.hypervolume > 0 for point in course] == known
    assert known[1:3] == [False, False]


def test_the_picture(cli: Cli, tmp_path: Path) -> None:
    a, b = made(tmp_path / "a", {4: 0.5, 8: 0.7}), made(tmp_path / "b", {4: 0.6})
    path = tmp_path / "course.svg"
    ran = cli("compare", a, b, "--plot", path)
    assert (ran.code, ran.err) == (0, "")
    assert f"picture: {path}" in ran.out
    drawn = path.read_text("utf-8")
    assert drawn.startswith("<?xml")
    again = tmp_path / "again.svg"
    assert "picture:" not in cli("compare", a, b, "--plot", again, "--json").out
    assert again.read_text("utf-8") == drawn
    swapped = tmp_path / "swapped.svg"
    cli("compare", b, a, "--plot", swapped)
    assert swapped.read_text("utf-8") != drawn


def test_what_cannot_be_compared_is_not_drawn(cli: Cli, tmp_path: Path) -> None:
    a = made(tmp_path / "a", {4: 0.5})
    b = made(tmp_path / "b", {4: 0.6}, CAMPAIGN.replace("steps: 100", "steps: 200"))
    build(tmp_path / "new")
    path = tmp_path / "course.png"
    for other, why in ((b, "protocols differ"), (tmp_path / "new", "references are not trained")):
        ran = cli("compare", a, other, "--plot", path)
        assert ran.code == 2
        assert why in ran.err
        assert not path.exists()
    assert "suffix '.gif'" in cli("compare", a, a, "--plot", tmp_path / "x.gif").err


def test_rates_and_precision_are_of_the_protocol(tmp_path: Path) -> None:
    a = made(tmp_path / "a", {4: 0.5})
    rates = CAMPAIGN.replace("seed: 3}", "seed: 3, learning_rates: [1.0e-3, 1.0e-2]}")
    found = compare(readings(a, made(tmp_path / "b", {4: 0.5}, rates)))
    assert [d.name for d in found.differences if d.of_scores] == ["learning rates"]
    [reading] = readings(a)

    def coarse(record: TrialRecord) -> TrialRecord:
        runs = [e.model_copy(update={"precision": "bfloat16"}) for e in record.evaluations]
        return record.model_copy(update={"evaluations": tuple(runs)})

    found = compare([reading, replace(reading, records=[coarse(r) for r in reading.records])])
    assert [(d.name, d.values, d.of_scores) for d in found.differences] == [
        ("training.precision", ("float32", "bfloat16"), True)
    ]


def test_a_front_that_is_not_confirmed_is_said_beside_one_that_is(cli: Cli, tmp_path: Path) -> None:
    a, b = made(tmp_path / "a", {4: 0.5}), made(tmp_path / "b", {4: 0.6})
    assert "lucky side" not in cli("compare", a, b).out
    [reading] = readings(a)
    scored = next(r for r in reading.records if r.number == 0).evaluations[-1]
    fresh = scored.model_copy(update={"seed": RunSeed(campaign=3, trial=0, run=FRESH_RUNS)})
    opened = reading.campaign
    url, study = opened.storage_url, opened.settings.study
    with closing(Store(url, study, objectives=opened.objectives, create=False)) as store:
        store.add_confirmation(Confirmation(number=0, batch=1, evaluation=fresh), [0.5, 6.0])
    assert "B not confirmed: scores that chose a front lean" in cli("compare", a, b).out

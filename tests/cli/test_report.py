"""The report: its facts follow from the records, and nothing from a file becomes markup."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import archsearch
from archsearch.architecture import Architecture, Block, Component
from archsearch.canonical import canonicalise
from archsearch.records import TrialOutcome
from archsearch.report import page_of
from archsearch.report.facts import MOST_MARKS, facts_of
from archsearch.space import loads

from .conftest import CAMPAIGN, Ran, build, record, reference_records, trial_records

Cli = Callable[..., Ran]
EVIL = '"</script><img src=x onerror=alert(1)><!--'


class Elements(HTMLParser):
    """Names and attributes of all elements, and the texts of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._inside = tag == "script"
        if self._inside:
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.scripts[-1] += data


def embedded(page: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Elements(page).scripts[0])
    return found


def test_facts_are_those_of_the_front(campaign: Path) -> None:
    reading = archsearch.open_campaign(campaign)
    front, facts = reading.front, facts_of(reading)
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert [m["number"] for m in facts["front"]["members"]] == [m.number for m in front.members]
    assert [m["is_knee"] for m in facts["front"]["members"]].count(True) == 1
    trained = [r.number for r in front.references if r.outcome.was_trained]
    assert [r["number"] for r in facts["front"]["references"]] == trained
    assert facts["hypervolume"][-1][1] == pytest.approx(front.hypervolume)
    hours = [point[0] for point in facts["hypervolume"]]
    volumes = [point[1] for point in facts["hypervolume"]]
    assert hours == sorted(hours)
    assert volumes == sorted(volumes)
    spent = facts["spent"]["by_outcome"]
    assert sum(one["trials"] for one in spent.values()) == len(reading.records)
    assert sum(one["seconds"] for one in spent.values()) == pytest.approx(3600 * hours[-1])
    assert facts["spent"]["failures"] == [["error: RuntimeError: shapes do not match", 1]]
    assert facts["spent"]["violations"] == [["growth < 2", 1]]
    for member in front.members:
        details = facts["details"][str(member.number)]
        assert [cell["accuracy"] for cell in details["cells"]] == pytest.approx(
            list(member.cell_accuracy)
        )
        assert all(c["low"] <= c["accuracy"] <= c["high"] for c in details["cells"])
        assert [run["is_scored"] for run in details["runs"]].count(True) == 1
        assert details["growth"] == member.growth
    assert {line["number"] for line in facts["parallel"]} == {
        row.number for row in (*front.members, *front.dominated)
    }


def test_the_page_stands_alone(campaign: Path) -> None:
    page = page_of(archsearch.open_campaign(campaign))
    assert page == page_of(archsearch.open_campaign(campaign))
    elements = Elements(page)
    for name, attributes in elements.found:
        assert name not in ("link", "img", "iframe", "base", "object", "embed")
        assert not {"src", "href"} & attributes.keys()
    assert not re.search(r"url\(|@import|fetch\(|XMLHttp|innerHTML|eval\(", page)
    facts, script = elements.scripts
    assert json.loads(facts)["about"]["name"] == loads(CAMPAIGN).name
    policy = next(a for n, a in elements.found if "http-equiv" in a)["content"]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    )


@pytest.mark.parametrize(
    ("layers", "count", "drawn"), [(12, MOST_MARKS + 100, MOST_MARKS), (160, 1300, None)]
)
def test_the_page_stays_below_6_mb(
    campaign: Path, layers: int, count: int, drawn: int | None
) -> None:
    """With more dominated designs than are drawn, or of so many layers that fewer fit."""
    reading = archsearch.open_campaign(campaign)
    window = Component(name="sliding_window", options={"window": 16, "num_kv_heads": 1})
    deep = canonicalise(Architecture(d_model=64, blocks=(Block(sequence=window),) * layers))
    model = record(loads(CAMPAIGN), 100, TrialOutcome.FINISHED, deep, (0.2, 0.1))
    many = [
        model.model_copy(update={"number": 100 + i, "accuracy": 0.1 + i * 1e-6})
        for i in range(count)
    ]
    crowd = dataclasses.replace(reading, records=[*reading.records, *many])
    page = page_of(crowd)
    assert len(page.encode()) < 6_000_000
    front = embedded(page)["front"]
    assert front["dominated_count"] == len(crowd.front.dominated) > count
    found = [row["accuracy"] for row in front["dominated"]]
    assert len(found) == drawn or (drawn is None and 500 < len(found) < count)
    assert found == sorted((r.accuracy for r in crowd.front.dominated), reverse=True)[: len(found)]


def test_what_stands_in_files_is_text(tmp_path: Path) -> None:
    text = re.sub(r"(?m)^title: .*$", lambda _: f"title: {json.dumps(EVIL)}", CAMPAIGN)
    file = loads(text)
    assert file.title == EVIL
    trials = trial_records(file)
    broken = next(t for t in trials if t.failure is not None)
    assert broken.failure is not None
    failure = broken.failure.model_copy(update={"message": EVIL})
    trials[broken.number] = broken.model_copy(update={"failure": failure})
    made = build(tmp_path / "c; x", reference_records(file), trials, text=text)
    page = page_of(archsearch.open_campaign(made.directory))
    elements = Elements(page)
    assert [name for name, _ in elements.found].count("script") == 2
    assert not any(name == "img" for name, _ in elements.found)
    facts = embedded(page)
    assert facts["about"]["title"] == EVIL
    assert facts["about"]["directory"] == "'c; x'"
    assert facts["spent"]["failures"][0][0] == f"error: {EVIL}"


def test_the_command(cli: Cli, campaign: Path, tmp_path: Path) -> None:
    ran = cli("report", campaign)
    assert (ran.code, ran.out, ran.err) == (0, f"{campaign / 'report.html'}\n", "")
    assert embedded((campaign / "report.html").read_text())["front"]["members"]
    other = tmp_path / "r.htm"
    assert cli("report", campaign, "--out", other).out == f"{other}\n"
    assert other.read_text() == (campaign / "report.html").read_text()
    (tmp_path / "file").write_text("mine")
    for option, name, message in (
        ("--out", "r.pdf", "must end in .html"),
        ("--out", "no/r.html", f"r.html: there is no folder '{tmp_path}/no'; make it first"),
        ("--static", "file", "file: is a file; give a folder"),
    ):
        ran = cli("report", campaign, option, tmp_path / name)
        assert (ran.code, ran.out) == (2, "")
        assert message in ran.err
    assert (tmp_path / "file").read_text() == "mine"


def test_a_campaign_without_trials(cli: Cli, empty_campaign: Path) -> None:
    assert cli("report", empty_campaign).code == 0
    facts = embedded((empty_campaign / "report.html").read_text())
    assert facts["front"]["members"] == []
    assert facts["hypervolume"] == []

"""``confirm``, and what the other commands say of a campaign that was confirmed."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from archsearch.campaign.config import Campaign
from archsearch.campaign.lock import CampaignLock
from archsearch.campaign.progress import Ending, EndKind
from archsearch.campaign.reading import read
from archsearch.cli._picture import Role, picture
from archsearch.cli._session import _closing_words
from archsearch.cli._static import _bars, _draw_capacity
from archsearch.cli.figure import draw_front
from archsearch.cli.status import _facts
from archsearch.exporters import _code
from archsearch.exporters import read as read_design
from archsearch.exporters.base import FreshSeeds
from archsearch.objectives import OBJECTIVES
from archsearch.records import FRESH_RUNS, Confirmation, RunOutcome, RunSeed, TrialOutcome
from archsearch.report.facts import facts_of
from archsearch.storage import Store, read_confirmations
from tests.helpers import Inline, drive, everything, new_campaign, tiny_text

from .conftest import Ran

Cli = Callable[..., Ran]

SEEDS = {
    "trial 0": (0.38, 0.36, 0.40),
    "trial 1": (0.60, 0.75, 0.69),  # the search had said 0.78
    "trial 2": (0.99, 0.991, 0.992),
    "conv only": (0.24, 0.26, 0.25),
}
_ESCAPE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@pytest.fixture
def confirmed(campaign: Path) -> Path:
    """A campaign with three fresh seeds for all that matters, told in any order."""
    opened = Campaign.open(campaign)
    url, study = opened.storage_url, opened.settings.study
    store = Store(
        url, study, objectives=[OBJECTIVES["accuracy"], OBJECTIVES["flops"]], create=False
    )
    for record in store.records():
        name = record.reference or f"trial {record.number}"
        for nth, score in enumerate(SEEDS.get(name, ())):
            assert record.scored is not None
            evaluation = record.scored.model_copy(
                update={
                    "seed": RunSeed(campaign=3, trial=record.number, run=FRESH_RUNS + nth),
                    "test": tuple(
                        cell.model_copy(update={"accuracy": score}) for cell in record.test
                    ),
                }
            )
            one = Confirmation(
                number=record.number, reference=record.reference, batch=1, evaluation=evaluation
            )
            store.add_confirmation(one, [score, 6.0])
    store.set_confirm_seconds(150.0)
    store.close()
    opened.freeze(confirm_seeds=3)
    return campaign


def test_front_shows_interval_probability_seeds_and_status(cli: Cli, confirmed: Path) -> None:
    lines = cli("front", confirmed).out.splitlines()
    assert lines[0].split()[:7] == [
        *("trial", "kind", "accuracy", "status", "95%", "interval", "P(front)")
    ]
    rows = {line.split()[0]: line.split() for line in lines[1:-1]}
    assert rows["0"][2:4] == ["0.380", "confirmed"]
    assert rows["1"][2:4] == ["0.680", "confirmed"]
    low, high = map(float, rows["1"][4].split("-"))
    assert low < 0.6 < 0.75 < high
    assert rows["1"][5] == "1.00"
    assert rows["A"][2:6] == ["0.982", "provisional", "-", "-"]  # no fresh seed of its own
    assert rows["C"][2:4] == ["0.250", "confirmed"]
    assert lines[-1] == "winner's curse: search score minus confirmed score, mean 0.041"


def test_front_says_nothing_of_confirmation_before_there_is_any(cli: Cli, campaign: Path) -> None:
    ran = cli("front", campaign)
    assert ran.code == 0
    assert "P(front)" not in ran.out
    assert "winner" not in ran.out


def test_front_json_carries_it(cli: Cli, confirmed: Path) -> None:
    data = json.loads(cli("front", confirmed, "--json").out)
    [_, lucky, _] = data["members"]
    assert lucky["accuracy"] == pytest.approx(0.68)
    assert lucky["search_accuracy"] == pytest.approx(0.78)
    assert (lucky["seeds"], lucky["confirmed"]) == (3, True)
    assert lucky["p_on_front"] == pytest.approx(1.0, abs=0.005)
    assert lucky["low"] < 0.68 < lucky["high"]
    assert data["winners_curse"] == pytest.approx((0.02 + 0.1 + 0.0025) / 3, abs=1e-3)


@pytest.mark.parametrize("columns", [60, 80, 100, 140, 220])
def test_narrow_terminals_keep_the_status_longest(
    cli: Cli, confirmed: Path, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(columns))
    text = _ESCAPE.sub("", cli("front", confirmed).out)
    assert max(map(len, text.splitlines())) <= columns
    table = text.split("too narrow for")[0]
    assert "confirmed" in table
    assert ("95% interval" in table) == (columns >= 80)
    assert ("(256,16,a=1)" in table) == (columns >= 140)


def test_status_counts_the_confirmed(cli: Cli, confirmed: Path) -> None:
    out = cli("status", confirmed).out
    assert "3 of 3 members confirmed, winner's curse 0.041 (12 fresh seeds in 2 min 30 s)" in out
    assert re.search(r"hypervolume: +0\.\d{4} \(by fresh seeds where there are any\)\n", out)
    facts = json.loads(cli("status", confirmed, "--json").out)
    front = json.loads(cli("front", confirmed, "--json").out)
    best = max(front["members"], key=lambda row: row["accuracy"])
    assert (facts["best_trial"], facts["best_accuracy"]) == (best["number"], best["accuracy"])
    assert best["accuracy"] < best["search_accuracy"]
    # however lucky another was
    reading = read(confirmed)
    first, *others = reading.front.members
    lucky = first.model_copy(update={"search_accuracy": 1.0})
    members = {"members": (lucky, *others)}
    vars(reading)["front"] = reading.front.model_copy(update=members)
    assert _facts(reading, confirmed)["best_trial"] == best["number"] != first.number
    facts = facts["confirmation"]
    assert facts.pop("winners_curse") == pytest.approx(0.041, abs=1e-3)
    assert facts == {
        "members": 3, "confirmed": 3, "seeds": 12, "outstanding": 0, "wall_seconds": 150.0,
    }  # fmt: skip


def test_a_campaign_with_seeds_outstanding_is_not_finished(cli: Cli, confirmed: Path) -> None:
    opened = Campaign.open(confirmed)
    opened.freeze(trials=6)
    store = Store(opened.storage_url, opened.settings.study, objectives=(), create=False)
    [running] = store.running()
    left = next(r for r in store.records() if r.number == running)
    store.tell(left.model_copy(update={"outcome": TrialOutcome.DIVERGED}), [0.0, 6.0])
    store.close()
    facts = json.loads(cli("status", confirmed, "--json").out)
    assert (facts["phase"], facts["ended_because"]) == ("stopped", None)
    assert facts["confirmation"]["outstanding"] > 0  # references without their seeds
    assert facts["resume"] == f"archsearch resume {confirmed}"
    opened.freeze(confirm_minutes=2.5)
    facts = json.loads(cli("status", confirmed, "--json").out)
    assert (facts["phase"], facts["confirmation"]["outstanding"]) == ("finished", 0)
    opened.freeze(confirm_minutes=None, confirm_seeds=0)
    assert json.loads(cli("status", confirmed, "--json").out)["phase"] == "finished"


def test_show_lists_the_fresh_seeds(cli: Cli, confirmed: Path) -> None:
    out = cli("show", confirmed, "1").out
    pairs = dict(line.split(":", 1) for line in out.splitlines() if ": " in line)
    assert pairs["mean of fresh seeds"].strip() == "0.680 of 3 seeds"
    assert pairs["search score"].strip() == "0.780"
    assert pairs["status"].strip() == "confirmed"
    listed = [line.split()[:2] for line in out.splitlines() if re.match(r" *100\d ", line)]
    assert listed == [["1000", "0.600"], ["1001", "0.750"], ["1002", "0.690"]]
    data = json.loads(cli("show", confirmed, "1", "--json").out)
    assert [c["evaluation"]["seed"]["run"] for c in data["confirmations"]] == [1000, 1001, 1002]
    assert "fresh seeds" not in cli("show", confirmed, "3").out


def test_pictures_show_intervals(confirmed: Path) -> None:
    front = read(confirmed).front
    # so uncertain that it leaves the usual frame
    wide = front.members[0].model_copy(update={"low": 0.01})
    front = front.model_copy(update={"members": (wide, *front.members[1:])})
    marks = [mark for line in picture(front, 80) for mark in line]
    assert sum(mark.role is Role.INTERVAL for mark in marks) >= 2
    assert sum(mark.role is Role.MEMBER for mark in marks) == 3
    assert sum(mark.role is Role.REFERENCE for mark in marks) == 5
    figure = Figure(figsize=(7.6, 4.8), dpi=150, layout="constrained")
    draw_front(figure, FigureCanvasAgg(figure), front, "a title")
    bars = [c for c in figure.axes[0].collections if isinstance(c, LineCollection)]
    drawn = {
        (round(float(low), 6), round(float(high), 6))
        for bar in bars
        for (_, low), (_, high) in bar.get_segments()
    }
    rows = [row for row in (*front.members, *front.references) if row.low is not None]
    assert drawn == {(round(row.low or 0, 6), round(row.high or 0, 6)) for row in rows}
    lowest = figure.axes[0].get_ylim()[0]
    assert all((row.low or 0) > lowest for row in rows)


def test_capacity_has_intervals_over_seeds_where_there_are_some(confirmed: Path) -> None:
    reading = read(confirmed)
    facts = facts_of(reading)
    details = facts["details"]
    assert details["1"]["cells_vary_by"] == "seeds"
    for cell in details["1"]["cells"]:
        assert cell["accuracy"] == pytest.approx(0.68)
        assert cell["low"] < 0.6 < 0.75 < cell["high"]
    assert _bars(facts) == "bars: 95 % over seeds"
    alone = details["-1"]
    assert alone["cells_vary_by"] == "queries"
    # Wilson's of 1024 queries
    assert [cell["high"] - cell["low"] < 0.03 for cell in alone["cells"]] == [True, True]
    first = [c for c in reading.confirmations if c.number == 0]
    searched = facts_of(dataclasses.replace(reading, confirmations=first))
    figure = Figure()
    _draw_capacity(figure, searched)
    texts = figure.legends[0].get_texts()
    assert [text.get_text() for text in texts] == ["trial 0", "trial 1*", "trial 2*"]
    assert (
        figure.axes[0]
        .get_xlabel()
        .endswith("(bars: 95 % over seeds; *: 95 % of one seed's queries)")
    )


def test_an_export_says_what_fresh_seeds_came_to(cli: Cli, confirmed: Path) -> None:
    said = json.loads(cli("front", confirmed, "--json").out)["members"]
    row = next(row for row in said if row["number"] == 1)
    out = confirmed / "one.yaml"
    assert cli("export", confirmed, "--trial", "1", "--out", out).code == 0
    file = read_design(out)
    assert file.fresh_seeds == FreshSeeds(
        count=3, accuracy=row["accuracy"], low=row["low"], high=row["high"]
    )
    assert file.accuracy == row["search_accuracy"] > row["accuracy"]
    shown = _code.code_of(file, None)
    assert "Mean recall with fresh seeds (3): 0.680, 95 % interval 0." in shown
    unconfirmed = confirmed / "three.yaml"
    assert cli("export", confirmed, "--trial", "3", "--out", unconfirmed).code == 0
    assert read_design(unconfirmed).fresh_seeds is None
    assert "fresh seeds" not in _code.code_of(read_design(unconfirmed), None)
    large = confirmed / "large.yaml"
    assert cli("scale", out, "--width", "128", "--depth", "4", "--out", large).code == 0
    assert read_design(large).fresh_seeds is None


def test_what_a_session_exports_says_it_too(
    confirmed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reading = read(confirmed)
    of = (reading.campaign, Ending(EndKind.FINISHED, "done"), reading.front, reading.records)
    _closing_words(*of, reading.confirmations, "")
    assert "exported: " in capsys.readouterr().out
    file = read_design(confirmed / "exports" / f"trial-{reading.front.knee}.yaml")
    assert file.fresh_seeds is not None
    assert file.fresh_seeds.count == 3


def test_export_picks_by_the_confirmed_scores(cli: Cli, confirmed: Path) -> None:
    opened = Campaign.open(confirmed)
    by_search = json.loads(cli("front", confirmed, "--json").out)["members"]
    assert by_search[-1]["number"] == 2
    store = Store(opened.storage_url, opened.settings.study, objectives=(), create=False)
    record = next(r for r in store.records() if r.number == 2)
    assert record.scored is not None
    for nth in range(3, 9):
        seed = RunSeed(campaign=3, trial=2, run=FRESH_RUNS + nth)
        diverged = record.scored.model_copy(
            update={"seed": seed, "outcome": RunOutcome.DIVERGED, "test": ()}
        )
        store.add_confirmation(Confirmation(number=2, batch=2, evaluation=diverged), [0.0, 6.0])
    store.close()
    assert cli("export", confirmed, "--pick", "best").out.strip().endswith("trial-1.yaml")


# the command


def test_confirm_trains_and_says_how_it_ended(cli: Cli, tmp_path: Path) -> None:
    campaign = new_campaign(tmp_path / "c", tiny_text("random", 6))
    drive(campaign, Inline())
    campaign.freeze(trials=50)  # nor is the search gone on with
    before = everything(campaign)
    ran = cli("confirm", campaign.directory, "--executor", "serial", "--seeds", "1")
    assert ran.code == 0, ran.err
    assert everything(campaign) == before
    found = read_confirmations(campaign.storage_url, campaign.settings.study)
    assert {c.seed for c in found} == {0} or {c.seed for c in found} == {0, 1}
    assert sum(c.reference is not None for c in found) == 6
    assert len(re.findall(r"confirm (?:trial|reference) [^:]+, seed 1 of 1: 0\.\d{3}", ran.out)) > 6
    assert "finished: " in ran.out
    assert "winner's curse" in ran.out
    # the terms are kept
    assert Campaign.open(campaign.directory).settings.confirm_seeds == 1
    again = cli("confirm", campaign.directory, "--executor", "serial")
    assert again.code == 0
    assert ", seed " not in again.out


def test_confirm_needs_the_lock_and_something_to_confirm(
    cli: Cli, confirmed: Path, empty_campaign: Path, tmp_path: Path
) -> None:
    with CampaignLock(confirmed):
        assert cli("confirm", confirmed, "--executor", "serial").code == 75
    ran = cli("confirm", empty_campaign, "--executor", "serial")
    assert (ran.code, "nothing was trained yet" in ran.err) == (2, True)
    assert cli("confirm", tmp_path / "nowhere").code == 2
    for bad in (["--seeds", "0"], ["--minutes", "0"], ["--seeds", "101"]):
        assert cli("confirm", confirmed, *bad).code == 2
    (confirmed / "study.db").write_bytes(b"no database" * 100)
    assert cli("confirm", confirmed, "--executor", "serial").code == 4


def test_resume_takes_no_fewer_trials_than_are_done(cli: Cli, confirmed: Path) -> None:
    before = everything(Campaign.open(confirmed))
    ran = cli("resume", confirmed, "--executor", "serial", "--trials", "2")
    assert ran.code == 2
    assert ran.err == "archsearch: error: --trials: got 2; 6 are done already: give 6 or more\n"
    assert everything(Campaign.open(confirmed)) == before
    assert Campaign.open(confirmed).settings.trials == 10


def test_resume_confirms_at_the_end(cli: Cli, tmp_path: Path) -> None:
    text = tiny_text("random", 6).replace("confirm_seeds: 0", "confirm_seeds: 1")
    campaign = new_campaign(tmp_path / "c", text)
    drive(campaign, Inline())
    ran = cli("resume", campaign.directory, "--executor", "serial")
    assert ran.code == 0, ran.err
    assert "finished: 6 trials done; confirmation: " in ran.out
    assert read_confirmations(campaign.storage_url, campaign.settings.study)

"""Reading a campaign: tables for people, JSON for programs, not a byte written."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from archsearch.architecture import Block, Component
from archsearch.campaign.lock import CampaignLock
from archsearch.campaign.progress import TrialLog, told_line
from archsearch.records import TrialOutcome
from archsearch.space import loads
from tests.helpers import Silent

from .conftest import CAMPAIGN, Ran, build, record, reference_records, trial_records, window_design

Cli = Callable[..., Ran]

ROW_KEYS = {
    "number",
    "name",
    "is_reference",
    "is_member",
    "oracle_bias",
    "design",
    "digest",
    "outcome",
    "accuracy",
    "search_accuracy",
    "low",
    "high",
    "worst_cell",
    "solved",
    "cells",
    "cell_accuracy",
    "gap_closed",
    "cell_gap_closed",
    "flops",
    "flops_executed",
    "cost",
    "cost_vs_full_attention",
    "growth",
    "subquadratic",
    "params",
    "state_floats",
    "learnability",
    "learning_rate",
    "seeds",
    "p_on_front",
    "confirmed",
    "steps",
    "seconds",
}
FRONT_KEYS = {
    "campaign",
    "n_max",
    "schema_version",
    "objectives",
    "members",
    "references",
    "hypervolume",
    "reference_point",
    "knee",
    "counts",
    "winners_curse",
}
STATUS_KEYS = {
    "name",
    "title",
    "directory",
    "phase",
    "held_by",
    "ended_because",
    "trials_done",
    "trials_target",
    "time_budget_minutes",
    "counts",
    "references_done",
    "references_expected",
    "best_accuracy",
    "best_trial",
    "front_size",
    "hypervolume",
    "training_seconds",
    "wall_seconds",
    "created_at",
    "confirmation",
    "decisions",
    "failures",
    "resume",
}


def _contents(directory: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(directory)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_front_lists_members_cheapest_first_then_references(cli: Cli, campaign: Path) -> None:
    ran = cli("front", campaign)
    assert ran.code == 0
    assert ran.err == ""
    lines = ran.out.splitlines()
    before, after = lines[0].split("(64,8)  (256,16,a=1)")
    assert before.split() == ["trial", "kind", "accuracy", "worst"]
    assert after.split() == [
        *("gap", "FLOPs", "vs", "attn", "growth", "state", "params", "seeds", "design")
    ]
    assert [line.split()[:2] for line in lines[1:]] == [
        ["0", "member"],
        ["1", "knee"],
        ["2", "member"],
        *([letter, "reference"] for letter in "ABCDEF"),
    ]
    assert lines[3].endswith("d64: short_conv > sliding_window(window=sqrt)")
    assert "1.50x  N^1.5" in lines[3]
    assert lines[-1].endswith("(diverged)")
    assert not any("\x1b" in line or "─" in line for line in lines)


def test_front_all_adds_the_dominated(cli: Cli, campaign: Path) -> None:
    kinds = [line.split()[1] for line in cli("front", campaign, "--all").out.splitlines()[1:]]
    assert kinds == ["member", "knee", "member", "dominated", *["reference"] * 6]


def test_front_json(cli: Cli, campaign: Path) -> None:
    ran = cli("front", campaign, "--json")
    data = json.loads(ran.out)
    assert set(data) == FRONT_KEYS
    assert [row["number"] for row in data["members"]] == [0, 1, 2]
    assert all(set(row) == ROW_KEYS for row in (*data["members"], *data["references"]))
    assert data["n_max"] == 256
    assert data["counts"]["failed"] == 1
    with_all = json.loads(cli("front", campaign, "--all", "--json").out)
    assert set(with_all) == FRONT_KEYS | {"dominated"}
    assert [row["number"] for row in with_all["dominated"]] == [3]


def test_front_of_nothing(cli: Cli, empty_campaign: Path) -> None:
    assert cli("front", empty_campaign) == (0, "no completed trial yet\n", "")
    assert json.loads(cli("front", empty_campaign, "--json").out)["members"] == []


def test_front_without_a_design_above_convolutions(cli: Cli, tmp_path: Path) -> None:
    file = loads(CAMPAIGN)
    poor = trial_records(file)[0].model_copy(update={"accuracy": 0.2})
    build(tmp_path / "poor", reference_records(file), [poor])
    ran = cli("front", tmp_path / "poor")
    assert ran.code == 0
    assert ran.out.startswith("no design is 0.05 better than convolutions alone yet (--all")
    assert ran.out.count("reference") == 6


def test_a_design_that_is_told_the_answers_is_no_result(cli: Cli, tmp_path: Path) -> None:
    file = loads(CAMPAIGN)
    told = window_design(32, 4).model_copy(
        update={"blocks": (Block(sequence=Component(name="programmatic_selection")),) * 2}
    )
    trials = [
        record(file, 0, TrialOutcome.SOLVED, told, (0.97, 0.97)),
        record(file, 1, TrialOutcome.FINISHED, window_design(32, 4), (0.2, 0.1)),
    ]
    build(tmp_path / "c", reference_records(file), trials)
    ran = cli("front", tmp_path / "c")
    assert "; 1 told where the answers are: members with 'oracles: true' only)" in ran.out
    facts = json.loads(cli("status", tmp_path / "c", "--json").out)
    assert (facts["best_trial"], facts["best_accuracy"]) == (1, pytest.approx(0.15))
    line = told_line(trials[0])
    assert "solved in validation but not in the test, is told where the answers are)" in line
    assert "solved in" not in told_line(trial_records(file)[2])


def test_duplicates_in_a_row_share_a_line() -> None:
    finished, known = (trial_records(loads(CAMPAIGN))[i] for i in (0, 7))
    observer = Silent()
    log = TrialLog(observer)
    for number, one in enumerate((known, finished, known, known, known, finished, known)):
        log.tell(one.model_copy(update={"number": number}))
    log.event("something else")
    log.tell(known)
    assert observer.events[-1] == "something else"
    log.flush()
    assert [line.split(" (")[0] for line in observer.events] == [
        "trial 0: duplicate",
        "trial 1: finished",
        "trials 2 to 4: 3 duplicates of earlier ones",
        "trial 5: finished",
        "trial 6: duplicate",
        "something else",
        "trial 7: duplicate",
    ]


def test_status(cli: Cli, campaign: Path) -> None:
    ran = cli("status", campaign)
    assert ran.code == 0
    facts = dict(line.split(":", 1) for line in ran.out.splitlines())
    facts = {key: value.strip() for key, value in facts.items()}
    assert facts["phase"] == "stopped"
    assert facts["trials"] == "6 of 10"
    assert facts["references"] == "6 of 6"
    assert facts["best accuracy"] == "0.994 (trial 2)"
    assert facts["failed"] == "1 x error: RuntimeError: shapes do not match"
    assert facts["continue"] == f"archsearch resume {campaign}"
    assert facts["outcomes"] == (
        "1 running, 1 solved, 3 finished, 1 diverged, 1 infeasible, 1 duplicate, 1 failed"
    )


def test_status_json(cli: Cli, campaign: Path, empty_campaign: Path) -> None:
    facts = json.loads(cli("status", campaign, "--json").out)
    assert set(facts) == STATUS_KEYS
    assert facts["phase"] == "stopped"
    assert facts["hypervolume"] > 0
    nothing = json.loads(cli("status", empty_campaign, "--json").out)
    assert set(nothing) == STATUS_KEYS
    assert (nothing["trials_done"], nothing["best_accuracy"]) == (0, None)


def test_status_tells_who_holds_the_campaign(cli: Cli, campaign: Path) -> None:
    with CampaignLock(campaign):
        facts = json.loads(cli("status", campaign, "--json").out)
    assert facts["phase"] == "running"
    assert f"process {os.getpid()} " in facts["held_by"]
    assert facts["resume"] is None


def test_status_of_a_finished_campaign(cli: Cli, tmp_path: Path) -> None:
    file = loads(CAMPAIGN)
    build(
        tmp_path / "done",
        reference_records(file),
        trial_records(file)[:3],
        trials=3,
        confirm_seeds=0,
    )
    facts = json.loads(cli("status", tmp_path / "done", "--json").out)
    assert (facts["phase"], facts["resume"]) == ("finished", None)
    assert facts["ended_because"] == "3 trials done"


def test_show_a_trial(cli: Cli, campaign: Path) -> None:
    out = cli("show", campaign, "2").out
    for expected in (
        "outcome:     solved",
        "    1  sliding_window(num_heads=1, window=sqrt)  none",
        "window     4",
        "form:                         256 N^1.5 + 33024 N + 128 N^0.5",
        "(256,16,a=1)     0.992",
        "step    loss  (32,4)  (64,8)",
        "   16-31   1.000         0.992",
        " 100  0.0600   1.000   0.992",
        "torch 2.13.0",
    ):
        assert expected in out


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (4, "not finite at step 7"),
        (5, "error on node-2: RuntimeError: shapes do not match"),
        (5, "Traceback (most recent call last):"),
        (6, "violated:  growth < 2\n"),
        (7, "duplicate of:  trial 0"),
        (8, "outcome:"),
    ],
)
def test_show_says_why_there_is_no_result(
    cli: Cli, campaign: Path, number: int, expected: str
) -> None:
    ran = cli("show", campaign, number)
    assert ran.code == 0
    assert expected in ran.out


def test_show_a_reference_by_name(cli: Cli, campaign: Path) -> None:
    ran = cli("show", campaign, "conv only")
    assert ran.code == 0
    assert "base_conv(kernel_size=long)" in ran.out
    # by its letter and number in a front's table
    front = json.loads(cli("front", campaign, "--json").out)
    place = [row["name"] for row in front["references"]].index("conv only")
    assert cli("show", campaign, "ABCDEF"[place]).out == ran.out
    assert cli("show", campaign, "--", front["references"][place]["number"]).out == ran.out


def test_show_json_is_the_record(cli: Cli, campaign: Path) -> None:
    data = json.loads(cli("show", campaign, "2", "--json").out)
    assert data["number"] == 2
    assert {"architecture", "params", "price", "evaluations", "outcome", "digest"} <= set(data)


@pytest.mark.parametrize("wanted", ["99", "conv onyl", "x", "1.5", "", "²"])
def test_show_an_unknown_trial(cli: Cli, campaign: Path, wanted: str) -> None:
    ran = cli("show", campaign, wanted)
    assert ran.code == 2
    assert "there are trials 0 to 8, references 'attention x2'" in ran.err
    assert ran.err.count("\n") == 1
    assert ("did you mean 'conv only'?" in ran.err) == (wanted == "conv onyl")


def test_show_before_any_trial(cli: Cli, empty_campaign: Path) -> None:
    assert "there are no trials yet" in cli("show", empty_campaign, "0").err


def test_reading_changes_nothing(cli: Cli, campaign: Path) -> None:
    before = _contents(campaign)
    for arguments in (["front", campaign, "--all"], ["status", campaign], ["show", campaign, "1"]):
        assert cli(*arguments).code == 0
    assert _contents(campaign) == before


def test_a_read_only_copy_is_readable(cli: Cli, campaign: Path) -> None:
    expected = cli("front", campaign).out
    for path in (*campaign.rglob("*"), campaign):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = _contents(campaign)
    try:
        assert cli("front", campaign).out == expected
        assert cli("status", campaign).code == 0
        assert _contents(campaign) == before
    finally:
        campaign.chmod(0o755)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_folder(cli: Cli, campaign: Path) -> None:
    campaign.chmod(0)
    try:
        assert cli("front", campaign).code == 4
    finally:
        campaign.chmod(0o755)


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda d: (d / "study.db").unlink(), 4),
        (lambda d: (d / "study.db").write_bytes(b"no database" * 100), 4),
        (lambda d: (d / "campaign.json").write_text("{"), 4),
        (lambda d: (d / "campaign.json").unlink(), 2),
        (lambda d: (d / "campaign.yaml").unlink(), 4),
        (lambda d: (d / "campaign.yaml").write_text(CAMPAIGN.replace("seed: 3", "seed: 4")), 5),
    ],
)
@pytest.mark.parametrize("command", [["front"], ["status"], ["show", "0"]])
def test_damage_is_one_line(
    cli: Cli, campaign: Path, damage: Callable[[Path], object], code: int, command: list[str]
) -> None:
    damage(campaign)
    ran = cli(command[0], campaign, *command[1:])
    assert ran.code == code
    assert ran.out == ""
    assert ran.err.startswith("archsearch: error: ")
    assert ran.err.count("\n") == 1


def test_a_flipped_digit_of_a_record_is_noticed(cli: Cli, campaign: Path) -> None:
    data = (campaign / "study.db").read_bytes()
    # with the field's name: seconds of Optuna's time stamps, which are in no record, may be 12.5
    text = b'\\"seconds\\": 12.5'
    assert text in data
    (campaign / "study.db").write_bytes(data.replace(text, text.replace(b"12.5", b"12.6"), 1))
    ran = cli("front", campaign)
    assert ran.code == 4
    assert "checksum" in ran.err


def test_odd_folder_names(cli: Cli, campaign: Path, tmp_path: Path) -> None:
    odd = tmp_path / "a b#'ü"
    shutil.copytree(campaign, odd)
    assert cli("front", odd).code == 0
    assert f"archsearch resume '{tmp_path}/a b#'\"'\"'ü'" in cli("status", odd).out

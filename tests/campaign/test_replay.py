"""A campaign's decisions follow from its records; a changed record is found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from archsearch.campaign.config import Campaign
from archsearch.campaign.history import History
from archsearch.campaign.progress import EndKind, Stop
from archsearch.campaign.replay import replay
from archsearch.cli import main
from archsearch.execution.base import Answer
from archsearch.records import Judgement, TrialOutcome, TrialRecord, VerdictKind
from archsearch.storage import read_records
from tests.campaign.test_racing import RACE, Unordered
from tests.helpers import drive, new_campaign


@pytest.fixture(scope="module", params=["tpe", "random", "surrogate"])
def done(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Campaign, list[TrialRecord]]:
    text = RACE.replace("sampler: random", f"sampler: {request.param}")
    if request.param == "tpe":
        text = text.replace("trials: 24", "trials: 14")
    campaign = new_campaign(tmp_path_factory.mktemp("replayed") / request.param, text)
    drive(campaign, Unordered(4, seed=1))
    return campaign, read_records(campaign.storage_url, campaign.settings.study)


def changed(records: list[TrialRecord], number: int, **changes: object) -> list[TrialRecord]:
    return [r.model_copy(update=changes) if r.number == number else r for r in records]


def test_everything_follows_again(done: tuple[Campaign, list[TrialRecord]]) -> None:
    campaign, records = done
    found = replay(campaign, records)
    assert found.first is None
    assert found.proposals == sum(r.reference is None for r in records)
    assert found.judgements == sum(len(r.judgements) for r in records)
    assert found.judgements > 14
    assert found.left == 0


def test_another_proposal_is_found(done: tuple[Campaign, list[TrialRecord]]) -> None:
    campaign, records = done
    victim = next(r for r in records if r.number == 9)
    other = {**victim.params, "d_model": {8: 12, 12: 16, 16: 8}[int(victim.params["d_model"])]}
    found = replay(campaign, changed(records, 9, params=other)).first
    assert found is not None
    assert (found.trial, found.decision) == (9, "proposal")


def test_another_judgement_is_found(done: tuple[Campaign, list[TrialRecord]]) -> None:
    campaign, records = done
    victim = next(
        r
        for r in records
        if r.number >= 0
        and r.judgements
        and any(v.kind is VerdictKind.STOPPED for v in r.judgements[-1].verdicts)
    )
    last = victim.judgements[-1]
    mild = Judgement(step=last.step, known=last.known)
    edited = changed(records, victim.number, judgements=(*victim.judgements[:-1], mild))
    found = replay(campaign, edited).first
    assert found is not None
    assert found.trial == victim.number
    assert found.decision == "judgements"


def test_a_judgement_of_a_reference_is_derived_too(
    done: tuple[Campaign, list[TrialRecord]],
) -> None:
    campaign, records = done
    victim = next(r for r in records if r.reference is not None)
    found = replay(campaign, changed(records, victim.number, accuracy=0.123)).first
    assert found is not None
    assert (found.trial, found.decision) == (victim.number, "accuracy")


def test_another_choice_among_the_runs_is_found(
    done: tuple[Campaign, list[TrialRecord]],
) -> None:
    campaign, records = done
    victim = next(r for r in records if r.number >= 0 and r.outcome is TrialOutcome.FINISHED)
    other = (victim.scored_run or 0) + 1
    found = replay(campaign, changed(records, victim.number, scored_run=other)).first
    assert found is not None
    assert (found.trial, found.decision) == (victim.number, "scored run")


def test_what_was_known_decides(done: tuple[Campaign, list[TrialRecord]]) -> None:
    """A replay that is told nothing draws other designs."""
    campaign, records = done
    ignorant = [r.model_copy(update={"known": 0}) for r in records]
    found = replay(campaign, ignorant).first
    if campaign.settings.sampler == "random":
        # a random draw depends on nothing
        assert found is None
    else:
        assert found is not None
        assert found.decision in ("proposal", "rejection")


def test_a_floor_counts_from_when_it_was_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """References end while trials are judged; a replay knows of none before its time."""
    seen: set[tuple[int, float]] = set()
    until = History.until

    def noting(history: History, known: int, least: float) -> Any:
        seen.add((known, least))
        return until(history, known, least)

    monkeypatch.setattr(History, "until", noting)
    campaign = new_campaign(tmp_path / "c", RACE)
    drive(campaign, Unordered(30, seed=3))
    driven = set(seen)
    assert len({least for _, least in driven}) == 2
    seen.clear()
    records = read_records(campaign.storage_url, campaign.settings.study)
    assert replay(campaign, records).first is None
    assert seen == driven


def test_a_trial_that_is_still_running_ends_the_replay(
    done: tuple[Campaign, list[TrialRecord]],
) -> None:
    campaign, records = done
    cut = [r.model_copy(update={"told_order": None}) if r.number == 5 else r for r in records]
    found = replay(campaign, cut)
    assert found.first is None
    assert found.proposals == 5
    assert found.left == sum(r.reference is None for r in records) - 5


def test_a_deterministic_campaign_has_known_what_it_had_to(tmp_path: Path) -> None:
    text = RACE.replace("trials: 24", "trials: 10, deterministic: true, lag: 3")
    campaign = new_campaign(tmp_path / "c", text)
    drive(campaign, Unordered(2, seed=1))
    records = read_records(campaign.storage_url, campaign.settings.study)
    assert replay(campaign, records).first is None
    late = next(r for r in records if r.number == 8)
    found = replay(campaign, changed(records, 8, known=late.known + 1)).first
    assert found is not None
    assert (found.trial, found.decision) == (8, "told before it")


def test_the_command_says_what_follows_and_what_does_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    campaign = new_campaign(tmp_path / "c", RACE)
    stop = Stop()

    class Cancels(Unordered):
        def poll(self, timeout_seconds: float) -> list[Answer]:
            stop.cancelled = len(self.asked) > 100
            return super().poll(timeout_seconds)

    assert drive(campaign, Cancels(4, seed=1), stop=stop).kind is EndKind.CANCELLED
    records = read_records(campaign.storage_url, campaign.settings.study)
    trials = {r.number: r.told_order for r in records if r.reference is None}
    first = min(number for number, order in trials.items() if order is None)
    assert main(["replay", str(campaign.directory)]) == 0
    counts, rest = capsys.readouterr().out.splitlines()
    assert counts.startswith(f"{first} proposals, ")
    assert counts.endswith(" judgements and 0 confirmations follow again")
    assert rest == (
        f"not followed: {len(trials) - first} more, from trial {first} on, which was never told"
    )
    settings = campaign.directory / "campaign.json"
    settings.write_text(settings.read_text().replace('"seed": 5', '"seed": 6'))
    assert main(["replay", str(campaign.directory)]) == 3
    assert ": trial 0: proposal: recorded {" in capsys.readouterr().err

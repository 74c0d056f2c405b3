"""Designs that are told the answers: trained, shown, and neither members nor looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from archsearch.campaign.front import front_of
from archsearch.campaign.preview import preview
from archsearch.canonical import has_oracle
from archsearch.records import TrialOutcome, TrialRecord
from archsearch.space import loads
from archsearch.storage import read_records
from tests.helpers import drive, new_campaign, study_of

TEXT = """
name: oracles
task: {name: mqar, vocab_size: 64, cells: [{length: 8, pairs: 2}]}
space:
  d_model: {choice: [8, 16]}
  layers:
    list:
      - sequence: {mixer: short_conv, kernel_size: {choice: [2, 3]}}
      - sequence: {choice: [based, programmatic_selection, sliding_window]}
training: {steps: 2, batch_tokens: 64}
search: {sampler: random, trials: 6, seed: 3}
"""


@pytest.mark.parametrize("asked_for", [False, True])
def test_an_oracle_is_told_as_zero_unless_it_is_asked_for(tmp_path: Path, asked_for: bool) -> None:
    text = TEXT.replace("seed: 3", "seed: 3, oracles: true") if asked_for else TEXT
    campaign = new_campaign(tmp_path / "c", text)
    drive(campaign)
    values = {t["number"]: t["values"] for t in study_of(campaign) if t["study"] == "trials"}
    records = read_records(campaign.storage_url, campaign.settings.study)
    trained = [r for r in records if r.reference is None and r.outcome is TrialOutcome.FINISHED]
    oracles = [r for r in trained if _is_oracle(r)]
    assert oracles
    assert len(oracles) < len(trained)
    for record in trained:
        hidden = _is_oracle(record) and not asked_for
        assert record.accuracy > 0
        assert values[record.number][0] == pytest.approx(0.0 if hidden else record.accuracy)
    front = front_of(campaign, records)
    shown = {row.number for row in (*front.members, *front.dominated) if row.oracle_bias}
    assert shown == {r.number for r in oracles}
    if not asked_for:
        assert not any(row.oracle_bias for row in front.members)


def test_a_space_with_an_oracle_says_so() -> None:
    (warning,) = preview(loads(TEXT), num_samples=50).warnings
    assert "told where the answers are" in warning
    assert "oracles: true" in warning
    assert not preview(loads(TEXT.replace("seed: 3", "oracles: true")), num_samples=50).warnings


def _is_oracle(record: TrialRecord) -> bool:
    return record.architecture is not None and has_oracle(record.architecture)

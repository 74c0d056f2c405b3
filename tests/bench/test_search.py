"""Simulated campaigns over a made-up table: the clock, the answers, and what is counted."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from archsearch.bench import search
from archsearch.bench._table_front import front_of, standings
from archsearch.bench.search import BASELINES, Outcome, Truth
from archsearch.bench.search_summary import summarise
from archsearch.bench.simulation import Method, TableWorker, VirtualExecutor, simulate
from archsearch.bench.table import SPACE, Table, TableRun, load_table, write_table
from archsearch.bench.tabular import SEEDS, card_of, plan_of
from archsearch.campaign.race import Move
from archsearch.errors import StoreError
from archsearch.records import CurvePoint, Evaluation, RunOutcome, RunSeed, TrialOutcome
from archsearch.space import CampaignFile, load
from tests.helpers import made_up, request

TEXT = """
name: made-up
task:
  name: mqar
  vocab_size: 128
  fillers: zero
  cells: [{length: 8, pairs: 2}, {length: 16, pairs: 2, power_a: 1}]
  test_cells: [{length: 64, pairs: 2}]
space:
  d_model: {choice: [8, 10, 12]}
  depth: {choice: [1, 2, 3]}
  layers:
    base: {sequence: {mixer: short_conv, kernel_size: 3}}
    placement:
      sequence:
        choice:
          - attention
          - {mixer: sliding_window, window: {choice: [1, 3]}}
          - based
      rule: {count: 1}
training:
  {steps: 160, batch_tokens: 64, eval_every: 10, validation_queries: 8, test_queries: 8}
"""


def share(text: str) -> float:
    return int(hashlib.sha256(text.encode()).hexdigest()[:6], 16) / 16**6


def made(key: str, rate: int, seed: int, flops: float) -> TableRun:
    """Learns steadily, to a score that grows with the price; the middle rate is best."""
    score = min(0.97, (0.3 + 0.1 * np.log10(flops)) * share(key) ** 0.3)
    score = max(0.02, score * (1 - 0.2 * abs(rate - 1)) - 0.02 * share(f"{key}{rate}{seed}"))
    points = tuple(
        CurvePoint(
            step=step,
            train_loss=1.0,
            accuracy=(score * step / 160,) * 2,
            log_probability=(-4 + 4 * score * step / 160,) * 2,
        )
        for step in range(10, 161, 10)
    )
    return TableRun(
        RunOutcome.FINISHED, 160, points, (score, score), (-1.0, -1.0), 3.0 + rate, 4.0, 1e9
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("table")


@pytest.fixture(scope="module")
def made_table(folder: Path) -> tuple[Table, CampaignFile]:
    (folder / SPACE).write_text(TEXT)
    plan = plan_of(folder)
    runs = {
        (d.key, rate, seed): made(d.key, rate, seed, d.price.flops)
        for d in plan.designs
        for rate in range(len(plan.rates))
        for seed in range(SEEDS)
    }
    front = front_of(standings(plan.designs, runs, plan.rates), 0.1)
    card = card_of(plan, ()).model_copy(update={"convolutions_only": 0.1, "front": front})
    write_table(folder, card, plan.designs, runs)
    return load_table(folder), load(folder / SPACE)


def test_time_passes_by_runs_and_by_what_the_driver_needs() -> None:
    executor = VirtualExecutor(lambda r: (made_up(r), float(r.to_step)), workers=2)
    first, second = (executor.submit(request(to_step=n)) for n in (5, 3))
    [answer] = executor.poll(1.0)
    assert answer.ticket == second
    assert 3 <= executor.now() < 3.5
    sum(i * i for i in range(300_000))  # the driver thinks
    assert executor.now() > 3.005
    [answer] = executor.poll(1.0)
    assert answer.ticket == first
    assert 5 <= executor.now() < 5.5
    assert executor.busy_until(100) == pytest.approx(8)
    assert executor.busy_until(2) == pytest.approx(4, abs=0.1)
    assert executor.poll(1.0) == []


def test_rungs_of_a_table_are_those_of_its_run(made_table: tuple[Table, CampaignFile]) -> None:
    table, file = made_table
    design = table.designs[3]
    worker = TableWorker(table, 64)

    def ask(to_step: int, begun: str | None) -> tuple[Evaluation, float]:
        result, seconds = worker(
            request(
                design.architecture,
                to_step=to_step,
                checkpoint=begun,
                task=file.task,
                training={**file.training.model_dump(), "learning_rate": 3e-3},
                seed=RunSeed(campaign=5, trial=2, run=1),
            )
        )
        assert isinstance(result, Evaluation)
        return result, seconds

    paused, first = ask(40, None)
    ended, rest = ask(160, "/nowhere/2/1/40")
    assert (paused.outcome, paused.step, paused.test) == (RunOutcome.PAUSED, 40, ())
    assert [p.step for p in paused.curve] == [10, 20, 30, 40]
    assert (ended.outcome, len(ended.curve)) == (RunOutcome.FINISHED, 16)
    assert first + rest == pytest.approx(4.0)
    assert first == pytest.approx(1.0)
    seeds = {table.run(design.key, 1, s).accuracy[0] for s in range(SEEDS)}
    assert {cell.accuracy for cell in ended.test} <= seeds


@pytest.mark.parametrize(
    "method",
    [
        Method("random", "all", "none"),
        Method("random", "drawn", "none"),
        Method("random", "race", "none"),
        Method("random"),
    ],
)
def test_a_method_sees_the_whole_space_in_its_own_time(
    made_table: tuple[Table, CampaignFile], method: Method
) -> None:
    table, file = made_table
    found = simulate(table, file, method, seed=1, workers=2)
    records = [t.record for t in found.told]
    # random draws may miss one or two of them
    assert 0.9 * len(table.designs) < len(records) <= len(table.designs)
    assert len({r.campaign_key for r in records}) == len(records)
    steps = {e.step for r in records for e in r.evaluations}
    runs = {len(r.runs) for r in records}
    trained = sum(e.seconds for r in records for e in r.evaluations)
    if method.rates == "all":
        assert (steps, runs) == ({160}, {3})
        assert trained == pytest.approx(len(records) * (3 + 4 + 5))
    elif method.rates == "drawn":
        assert (steps, runs) == ({160}, {1})
        assert len({e.learning_rate for r in records for e in r.evaluations}) == 3
    else:
        assert steps == {20, 40, 80, 160}
        assert trained < 0.7 * len(records) * 12
    outcomes = {r.outcome for r in records}
    assert (TrialOutcome.STOPPED in outcomes) == (method.stopping == "front")
    assert found.seconds >= trained / 2
    assert found.busy <= 1
    assert trained == pytest.approx(found.busy * found.seconds * 2)


def test_more_workers_take_less_time(made_table: tuple[Table, CampaignFile]) -> None:
    table, file = made_table
    one, four = (simulate(table, file, Method("random"), seed=1, workers=n).seconds for n in (1, 4))
    assert four < one / 2.5


def test_what_is_found_is_counted_by_the_tables_own_scores(
    made_table: tuple[Table, CampaignFile],
) -> None:
    table, file = made_table
    truth = Truth(table)
    full = search.run(truth, file, Method("random", "all", "none"), workers=2, seed=3, until=2.0)
    # every design at the best of its rates: all there is, but for rates chosen by one seed's luck
    assert full.curve[-1][1] > 0.99
    assert full.stopped == full.wrongful == 0
    assert full.saved == pytest.approx(0)
    assert full.seconds is not None
    raced = search.run(truth, file, Method("random"), workers=2, seed=3, until=2.0)
    assert raced.stopped > 0
    assert raced.saved > 0.5
    assert 0 < raced.saved_by_stops < raced.saved
    assert 0 <= raced.members_stopped < raced.members <= len(truth.members)
    assert full.members == len(truth.members)
    assert (full.members_stopped, full.saved_by_stops) == (0, 0)
    assert raced.seconds is not None
    assert raced.seconds < full.seconds
    shares = [found for _, found in raced.curve]
    assert shares == sorted(shares)
    again = search.run(truth, file, Method("random"), workers=2, seed=3, until=2.0)
    assert [s for _, s in again.curve] == shares


def test_a_summary_says_how_often_a_method_never_came_there(
    made_table: tuple[Table, CampaignFile],
) -> None:
    table, file = made_table
    truth = Truth(table)
    method = Method("random")
    outcomes = [
        search.run(truth, file, m, workers=2, seed=seed, until=0.96)
        for m in (Method("random", "all", "none"), method)
        for seed in range(3)
    ]
    rows = {row.method: row for row in summarise(outcomes)}
    assert BASELINES[0] in rows
    ratio, other = rows[method].against
    assert other is None  # no campaign of it
    assert ratio is not None
    assert ratio.value > 1
    assert ratio.low <= ratio.value
    assert ratio.high is None or ratio.value <= ratio.high
    itself = rows[BASELINES[0]].against[0]
    assert itself is not None
    assert itself.value == 1
    assert rows[method].reached == rows[method].seeds == 3
    lost = [o._replace(seconds=None) for o in outcomes if o.method == method]
    [row] = summarise(lost)
    assert (row.seconds, row.reached, row.against) == (None, 0, (None, None))
    [row] = summarise([*lost[:1], *(o for o in outcomes if o.method == method)])
    assert row.seconds is not None
    assert row.reached == 3


def test_moves_name_their_checkpoints_by_the_step() -> None:
    """What the table's worker relies on to know how far a run had come."""
    assert Move(1, 40, 20, 3e-3).from_step == 20


def test_a_study_goes_on_where_it_was_and_with_the_same_code_only(
    folder: Path,
    made_table: tuple[Table, CampaignFile],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table, _ = made_table
    out, methods = tmp_path / "results.jsonl", [Method("random", "drawn", "none")]

    def study(seeds: int) -> list[Outcome]:
        found = search.study(folder, methods, out, workers=[2], seeds=seeds)
        return [one for one in found if isinstance(one, Outcome)]

    assert len(study(1)) == 1
    [second] = study(2)
    assert second.seed == 1
    assert study(2) == []
    found = search.read(out, table)
    assert [o.seed for o in found] == [0, 1]
    assert found[1] == second
    monkeypatch.setattr(search, "_DECIDING", ("pareto.py",))
    assert study(2) == []  # nothing is added, so nothing is mixed
    assert search.read(out, table) == found
    with pytest.raises(StoreError, match="another version of the search"):
        study(3)

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import archsearch.evaluate
from archsearch.architecture import Architecture
from archsearch.bench import _table_worker, tabular
from archsearch.bench._table_front import convolutions_only, front_of, standings
from archsearch.bench._table_plan import families_of, recorded_task
from archsearch.bench.table import (
    CARD,
    DESIGNS,
    RUNS,
    SPACE,
    Member,
    TableDesign,
    TableRun,
    load_table,
)
from archsearch.bench.tabular import JOURNAL, SEEDS, Plan, RunRow, plan_of
from archsearch.campaign.feasibility import priced, violations
from archsearch.canonical import campaign_key
from archsearch.cli import main
from archsearch.costs import price
from archsearch.errors import InputError, StoreError
from archsearch.records import CurvePoint, Failure, FailureKind, RunOutcome
from archsearch.space import RandomSuggest, load
from tests.conftest import ROOT
from tests.helpers import design, request

TEXT = """
name: tiny
title: A tiny space
task:
  name: mqar
  vocab_size: 128
  fillers: zero
  cells: [{length: 8, pairs: 2}, {length: 16, pairs: 2, power_a: 1}]
  test_cells: [{length: 64, pairs: 2}]
space:
  d_model: {choice: [8, 10]}
  depth: {choice: [1, 2]}
  layers:
    base: {sequence: {mixer: short_conv, kernel_size: 3}}
    placement:
      sequence:
        choice:
          - {mixer: attention, num_heads: {choice: [1, 4]}}
          - {mixer: sliding_window, window: {choice: [1, 3]}}
          - {mixer: dilated_window, window: 3, dilation: 1}
      rule: positions
training:
  {steps: 4, batch_tokens: 64, eval_every: 2, validation_queries: 8, test_queries: 8,
   precision: float32}
constraints: [params <= 700]
"""
"""Heads of ten channels cannot be four, and two attentions of width ten are too many parameters."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / SPACE).write_text(TEXT)
    return tmp_path


def record(folder: Path, **options: Any) -> list[RunRow]:
    return list(tabular.record(plan_of(folder), folder, **options))


def lasting(row: RunRow) -> RunRow:
    return row._replace(cpu_seconds=0.0, seconds=0.0)


def invented(plan: Plan) -> list[RunRow]:
    """A row for every run, with numbers that need rounding; some diverge, some stop early."""
    rng = np.random.default_rng(1)
    rows = []
    runs = itertools.product(plan.designs, enumerate(plan.rates), range(SEEDS))
    for n, (design_, (place, rate), seed) in enumerate(runs):
        outcome = ("finished", "solved", "diverged")[n % 3]
        points = 1 if outcome == "solved" else 2
        curve = tuple((2 * i + 2, float(rng.uniform(0, 9)), *_cells(rng)) for i in range(points))
        tested = _cells(rng) if outcome != "diverged" else ((), ())
        rows.append(
            RunRow(
                design_.key, design_.digest, place, rate, seed, plan.protocol, outcome, 2 * points,
                *tested, curve, float(rng.uniform(1, 9)), float(rng.uniform(1, 9)),
                float(rng.integers(10**9)), {"torch": "2"},
            )
        )  # fmt: skip
    return rows


def _cells(rng: np.random.Generator) -> tuple[tuple[float, ...], tuple[float, ...]]:
    hits = rng.integers(0, 98, 2) / 97
    return tuple(hits.tolist()), tuple(rng.uniform(-9, 0, 2).tolist())


def write(folder: Path, rows: list[RunRow]) -> None:
    lines = [json.dumps(row._asdict()) + "\n" for row in rows]
    (folder / JOURNAL).write_text("".join(lines))


def test_the_plan_has_every_design_that_can_be_proposed_and_trained(folder: Path) -> None:
    plan = plan_of(folder)
    file = plan.file
    known = {d.key for d in plan.designs}
    assert len(known) == len(plan.designs)
    assert plan.assignments == file.space.size()
    assert plan.refused > 0
    generator, met, allowed = np.random.default_rng(0), set(), 0
    for _ in range(3000):
        found, _, violated = violations(file, file.space.sample(RandomSuggest(generator)))
        if found is not None and all(value <= 0 for value in violated.values()):
            allowed += 1
            met.add(campaign_key(found, 64))
    assert met == known
    assert 0 < allowed < 3000
    for row in plan.designs:
        assert row.price == priced(file, row.architecture)
        assert (row.price.n_max, row.digest) == (64, row.architecture.digest)
    # a window of three and a dilated one without a gap are one design
    assert plan.assignments - plan.refused > len(plan.designs)


def test_the_order_of_recording_is_that_of_the_designs_alone(folder: Path) -> None:
    before = [d.key for d in plan_of(folder).designs]
    turned = TEXT.replace("[8, 10]", "[10, 8]").replace("window: {choice: [1, 3]}", "window: 3")
    (folder / SPACE).write_text(turned.replace("window: 3, dil", "window: {choice: [1, 3]}, dil"))
    assert [d.key for d in plan_of(folder).designs] == before
    assert before != sorted(before)


def test_runs_are_tested_on_what_they_are_trained_on(folder: Path) -> None:
    plan = plan_of(folder)
    assert plan.task.test_cells == plan.task.cells == plan.file.task.cells
    # the smallest power of two above 16 tokens
    assert (plan.task.vocab_size, plan.task.fillers) == (32, "zero")
    assert recorded_task(load(ROOT / "search_spaces/quickstart.yaml")).test_cells


def test_a_reach_above_a_quarter_of_the_longest_cell_is_refused(folder: Path) -> None:
    # 5 of 16 tokens; the priced length would allow 16 of 64
    (folder / SPACE).write_text(TEXT.replace("[1, 3]", "[1, 5]"))
    with pytest.raises(InputError, match=r"designs have a constant reach.*\(16 tokens\), such as"):
        plan_of(folder)
    (folder / SPACE).write_text(TEXT.replace("[1, 3]", "[1, 4]"))
    assert plan_of(folder).designs


def test_a_space_without_designs_is_refused(folder: Path) -> None:
    (folder / SPACE).write_text(TEXT.replace("params <= 700", "params <= 1"))
    with pytest.raises(InputError, match="no design of the space may be trained"):
        plan_of(folder)


def test_a_design_is_named_by_what_is_no_convolution() -> None:
    assert families_of(design("short_conv", "gla", "sliding_window")) == (
        "linear attention",
        "sparse attention",
    )
    assert families_of(design("short_conv", "base_conv")) == ("convolution", "gated convolution")


def test_a_recording_goes_on_where_it_was_cut(folder: Path) -> None:
    first = record(folder, limit=3)
    plan = plan_of(folder)
    assert {row.key for row in first} == {plan.designs[0].key}
    assert {(row.learning_rate, row.seed) for row in first} == {
        (rate, 0) for rate in plan_of(folder).rates
    }
    for row in first:
        assert (row.outcome, row.step, len(row.accuracy), len(row.curve)) == ("finished", 4, 2, 2)
        assert row.cpu_seconds > 0
        assert row.train_flops > 0
        assert {"torch", "numpy", "precision", "processor"} <= row.versions.keys()
    path = folder / JOURNAL
    lines = path.read_bytes().splitlines(keepends=True)
    # killed while the third line was written
    path.write_bytes(b"".join(lines[:2]) + lines[2][:-20])
    assert [r.place for r in tabular.read(plan, folder)] == [r.place for r in first[:2]]
    again = record(folder, limit=2)
    assert again[0].place == first[2].place
    # the run is a function of its place
    assert lasting(again[0]) == lasting(first[2])
    assert (again[1].key, again[1].seed) == (plan.designs[0].key, 1)
    assert len(path.read_text().splitlines()) == 4
    assert len({r.place for r in tabular.read(plan, folder)}) == 4


def test_designs_and_seeds_draw_batches_of_their_own(folder: Path) -> None:
    plan = plan_of(folder)
    requests = [request for _, request in tabular._tasks(plan)]
    assert len(requests) == plan.runs
    assert len({r.seed for r in requests}) == len(plan.designs) * SEEDS
    assert {r.seed.campaign for r in requests} == {plan.file.search.seed}
    assert len({r.key for r in requests}) == plan.runs


def test_a_run_that_failed_is_no_result_and_is_taken_up_again(folder: Path) -> None:
    plan = plan_of(folder)
    rows = invented(plan)
    write(folder, [rows[0]._replace(outcome="failed", accuracy=(), curve=()), *rows[1:]])
    found = tabular.read(plan, folder)
    assert tabular.failures(found) == 1
    card = tabular.card_of(plan, found)
    assert (card.runs, card.complete) == (plan.runs - 1, False)
    (again,) = record(folder)
    assert (again.place, again.outcome) == (rows[0].place, "finished")
    assert tabular.card_of(plan, tabular.read(plan, folder)).complete
    assert record(folder) == []


def test_ctrl_c_keeps_what_is_done(folder: Path) -> None:
    (folder / SPACE).write_text(TEXT.replace("steps: 4", "steps: 200"))
    code = "import sys; from archsearch.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "bench", "tabular", str(folder), "--workers", "2"]
    # a group of its own: the signal reaches the workers too, as on a terminal; and as there, it is
    # not ignored, which a shell's background jobs inherit
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    path = folder / JOURNAL
    deadline = time.monotonic() + 120
    while not (path.exists() and path.read_text().count("\n") >= 3):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    kept = tabular.read(plan_of(folder), folder)
    assert len(kept) >= 3
    assert all(row.outcome == "finished" for row in kept)


def test_ctrl_c_is_the_recorders_to_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(request: object) -> Failure:
        os.kill(os.getpid(), signal.SIGINT)
        return Failure(kind=FailureKind.ERROR, message="went on")

    monkeypatch.setattr(archsearch.evaluate, "evaluate", interrupted)
    before = signal.getsignal(signal.SIGINT)
    try:
        answer = _table_worker.carry_out((("a", 0, 0), request()))
    except KeyboardInterrupt:
        pytest.fail("the worker was interrupted")
    finally:
        signal.signal(signal.SIGINT, before)
    assert isinstance(answer.result, Failure)
    assert answer.result.message == "went on"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("steps: 4", "steps: 6"), "is a run of another protocol"),
        (("power_a: 1", "power_a: 2"), "is a run of another protocol"),
        (("{choice: [8, 10]}", "10"), "is a run of a design that is not in the space"),
    ],
)
def test_runs_of_something_else_are_refused(
    folder: Path, change: tuple[str, str], message: str
) -> None:
    write(folder, invented(plan_of(folder)))
    (folder / SPACE).write_text(TEXT.replace(*change))
    plan = plan_of(folder)
    with pytest.raises(StoreError, match=rf"runs\.jsonl:\d+: {message}"):
        tabular.read(plan, folder)
    # a search is no part of a run, but for its rates
    for text, same in (
        ("search: {trials: 9, sampler: nsga2}", True),
        ("search: {learning_rates: [1.0e-3, 3.0e-3]}", False),
    ):
        (folder / SPACE).write_text(TEXT + text)
        if same:
            assert tabular.read(plan_of(folder), folder)
        else:
            with pytest.raises(StoreError, match="another protocol"):
                tabular.read(plan_of(folder), folder)


def test_a_line_that_is_no_run_is_named(folder: Path) -> None:
    plan = plan_of(folder)
    good = json.dumps(invented(plan)[0]._asdict())
    for bad in ("{", '{"key": "a"}', good.replace('"rate": 0', '"rate": []')):
        (folder / JOURNAL).write_text(f"{good}\n{bad}\n")
        with pytest.raises(StoreError, match=r"runs\.jsonl:2: not a result of this study"):
            tabular.read(plan, folder)


def test_a_packed_table_is_what_was_recorded(folder: Path) -> None:
    plan = plan_of(folder)
    rows = invented(plan)
    write(folder, rows)
    card = tabular.pack(plan, folder)
    table = load_table(folder)
    assert table.card == card
    assert card.complete
    assert card.outcomes.keys() == {"finished", "solved", "diverged"}
    assert card.cpu_seconds == pytest.approx(sum(r.cpu_seconds for r in rows), abs=0.1)
    assert table.designs == plan.designs
    for row in rows:
        run = table.run(row.key, row.rate, row.seed)
        assert (run.outcome.value, run.step) == (row.outcome, row.step)
        assert (run.accuracy, run.train_flops) == (row.accuracy, row.train_flops)
        assert run.log_probability == pytest.approx(row.log_probability, abs=6e-5)
        assert run.cpu_seconds == pytest.approx(row.cpu_seconds, rel=1e-6)
        assert run.seconds == pytest.approx(row.seconds, rel=1e-6)
        assert [p.step for p in run.curve] == [step for step, *_ in row.curve]
        for point, (_, loss, hits, answers) in zip(run.curve, row.curve, strict=True):
            assert isinstance(point, CurvePoint)
            assert point.accuracy == hits
            assert point.train_loss == pytest.approx(loss, abs=6e-5)
            assert point.log_probability == pytest.approx(answers, abs=6e-5)
    first = plan.designs[0]
    assert table.design(first.key) == first
    assert first.key in table
    text = (folder / "card.md").read_text()
    assert "complete" in text
    assert "Accuracy is of the test split of these cells" in text
    assert "V = 32" in text


def test_packing_the_same_gives_the_same_bytes(folder: Path) -> None:
    plan = plan_of(folder)
    write(folder, invented(plan))
    sums = []
    for _ in range(2):
        tabular.pack(plan, folder)
        sums.append([hashlib.sha256((folder / n).read_bytes()).digest() for n in (RUNS, CARD)])
    assert sums[0] == sums[1]


def test_what_is_missing_from_a_table_is_said(folder: Path) -> None:
    plan = plan_of(folder)
    rows = invented(plan)
    write(folder, rows[1:])
    assert not tabular.pack(plan, folder).complete
    table = load_table(folder)
    key = plan.designs[0].key
    with pytest.raises(InputError, match=f"no run of {key} with rate=0, seed=0 yet"):
        table.run(key, 0, 0)
    assert table.run(key, 0, 1).step == rows[1].step
    with pytest.raises(InputError, match="no design with the key 'none'"):
        table.run("none", 0, 0)
    for rate, seed in ((-1, 0), (0, -1), (len(plan.rates), 0), (0, SEEDS)):
        with pytest.raises(IndexError):
            table.run(key, rate, seed)
    assert f"incomplete: {plan.runs - 1} of {plan.runs} runs" in (folder / "card.md").read_text()


@pytest.mark.parametrize("name", [CARD, SPACE, DESIGNS, RUNS])
def test_a_changed_file_is_refused_and_named(folder: Path, name: str) -> None:
    plan = plan_of(folder)
    write(folder, invented(plan))
    tabular.pack(plan, folder)
    path = folder / name
    content = path.read_bytes()
    for damaged in (content[:-1], content[:40] + bytes([content[40] ^ 1]) + content[41:], b""):
        path.write_bytes(damaged)
        with pytest.raises(StoreError, match=rf"{name}: "):
            load_table(folder)
    path.unlink()
    with pytest.raises(StoreError, match=rf"{name}: cannot be read"):
        load_table(folder)
    path.write_bytes(content)
    assert load_table(folder).designs


def test_a_table_is_read_without_torch(folder: Path) -> None:
    plan = plan_of(folder)
    write(folder, invented(plan))
    tabular.pack(plan, folder)
    code = (
        "import sys; from pathlib import Path; from archsearch.bench.table import load_table;"
        " t = load_table(Path(sys.argv[1])); t.run(t.designs[0].key, 0, 0);"
        " sys.exit('torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(folder)], check=False, cwd=ROOT)
    assert ran.returncode == 0


def scored(validation: float, test: float, outcome: str = "finished") -> TableRun:
    point = CurvePoint(step=2, train_loss=1.0, accuracy=(validation,), log_probability=(-1.0,))
    tested = (test,) if outcome != "diverged" else ()
    return TableRun(RunOutcome(outcome), 2, (point,), tested, tested, 1.0, 1.0, 1.0)


RATES = (1e-3, 3e-3, 1e-2)


def listed(key: str, architecture: Architecture) -> TableDesign:
    return TableDesign(
        key=key, digest=architecture.digest, design=key, families=families_of(architecture),
        architecture=architecture, price=price(architecture, 64),
    )  # fmt: skip


def test_the_rate_is_chosen_by_validation() -> None:
    one = listed("a", design("attention"))
    runs = {
        ("a", 0, 0): scored(0.9, 0.3), ("a", 0, 1): scored(0.7, 0.5),
        ("a", 1, 0): scored(0.5, 0.9), ("a", 1, 1): scored(0.5, 0.9),
        # a lucky seed alone is no rate, and what diverged has learnt nothing
        ("a", 2, 0): scored(1.0, 1.0),
    }  # fmt: skip
    (found,) = standings([one, listed("b", design("gla"))], runs, RATES)
    assert (found.learning_rate, found.score) == (RATES[0], pytest.approx(0.4))
    runs["a", 2, 1] = scored(0.0, 0.0, "diverged")
    (found,) = standings([one], runs, RATES)
    assert found.learning_rate == RATES[0]
    runs["a", 2, 1] = scored(1.0, 1.0)
    assert standings([one], runs, RATES)[0].score == 0.995


def test_members_beat_convolutions_and_one_another() -> None:
    def member(key: str, flops: int, score: float, family: str = "attention") -> Member:
        return Member(
            key=key, design=key, families=(family,), learning_rate=1e-3, score=score, flops=flops
        )

    conv = member("c", 10, 0.2, "gated convolution")
    good = [member("x", 40, 0.9), member("y", 20, 0.3), member("z", 30, 0.3)]
    everything = [conv, member("low", 5, 0.24), *good]
    assert convolutions_only(everything) == 0.2
    assert convolutions_only(good) is None
    assert [m.key for m in front_of(everything, 0.2)] == ["y", "x"]
    assert [m.key for m in front_of(everything, None)] == ["low", "y", "x"]
    assert front_of([conv], 0.2) == ()


@pytest.mark.parametrize("name", ["placed", "parallel"])
def test_a_shipped_space_can_be_recorded(name: str) -> None:
    folder = ROOT / "results" / "tabular" / name
    plan = plan_of(folder)
    assert len(plan.designs) >= 300
    assert plan.file.task.longest_test_length == 2048
    assert 12 <= -(-plan.file.training.steps // plan.file.training.eval_every) <= 20
    assert len({family for d in plan.designs for family in d.families}) >= 5
    if (folder / CARD).exists():
        recorded = load_table(folder).designs
        differing = [(a, b) for a, b in zip(recorded, plan.designs, strict=True) if a != b]
        # the first length at which these are cheaper than attention was recorded, not the last turn
        assert len(differing) == {"placed": 4, "parallel": 12}[name]
        for before, today in differing:
            first, last = before.price.crossover_length, today.price.crossover_length
            assert last is not None
            assert first is not None
            assert first < last < 128
            price = before.price.model_copy(update={"crossover_length": last})
            assert before.model_copy(update={"price": price}) == today


def test_the_shipped_spaces_have_little_in_common() -> None:
    placed, parallel = (plan_of(ROOT / "results" / "tabular" / n) for n in ("placed", "parallel"))
    assert not {d.key for d in placed.designs} & {d.key for d in parallel.designs}
    assert not set(placed.task.cells) & set(parallel.task.cells)
    assert placed.task.vocab_size != parallel.task.vocab_size
    assert len(placed.rates) == len(parallel.rates) == 3


def test_the_command_records_shows_and_packs(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["bench", "tabular", str(folder)]
    plan = plan_of(folder)
    assert main([*command, "--limit", "1"]) == 0
    shown, told = capsys.readouterr()
    assert re.search(rf"^runs: +1 of {plan.runs}$", shown, re.M)
    assert "seed 0: " in told
    # what is not complete is packed on request only
    assert not (folder / CARD).exists()
    assert main([*command, "--workers", "0", "--pack"]) == 0
    shown, told = capsys.readouterr()
    assert f"table: {folder} ({plan.runs - 1} runs are missing)" in shown
    assert not told
    assert load_table(folder).card.runs == 1

    rows = invented(plan)
    write(folder, rows[1:])
    assert main([*command, "--json"]) == 0
    shown, told = capsys.readouterr()
    found = json.loads(shown)
    assert (found["complete"], found["packed"], found["failed"]) == (True, True, 0)
    assert found["runs"] == plan.runs
    assert len(told.splitlines()) == 1
    assert load_table(folder).card.complete
    assert main([*command, "--workers", "0"]) == 0
    shown, _ = capsys.readouterr()
    members = len(load_table(folder).card.front)
    assert re.search(rf"^front: +{members} members: \d", shown, re.M)
    assert "score" in shown
    # nothing is trained again because the journal is gone
    (folder / JOURNAL).unlink()
    assert main(command) == 0
    again, told = capsys.readouterr()
    assert (again, told) == (shown + f"table: {folder}\n", "")
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"] == plan.runs


def test_a_folder_without_a_space_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "tabular", str(tmp_path)]) == 2
    assert "space.yaml" in capsys.readouterr().err

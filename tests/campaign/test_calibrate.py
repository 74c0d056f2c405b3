"""Calibrations carried out and kept: interrupted anywhere, on any number of workers, damaged."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from archsearch import journal
from archsearch.campaign.calibrate import (
    CALIBRATION,
    JOURNAL,
    Calibrator,
    calibrate,
    caution,
    folder_of,
    keep,
    read_calibration,
    read_runs,
)
from archsearch.campaign.calibration.conclude import conclude
from archsearch.campaign.calibration.plan import CalibrationPlan, plan_of
from archsearch.campaign.calibration.records import CalibrationRun
from archsearch.campaign.dispatch import WorkerSettings
from archsearch.campaign.launch import LaunchOptions
from archsearch.campaign.lock import CampaignLock
from archsearch.campaign.progress import Ending, EndKind, Stop
from archsearch.campaign.runs import keep_run
from archsearch.errors import CampaignHeldError, InputError, StoreError
from archsearch.evaluate import evaluate
from archsearch.execution.base import Answer
from archsearch.records import (
    Evaluation,
    EvaluationRequest,
    Failure,
    FailureKind,
    RunOutcome,
)
from archsearch.space import loads
from tests.campaign import test_calibration as made
from tests.helpers import Inline, Silent, made_up, tiny_text

# three rates, as a file without a rate of its own has them
TEXT = tiny_text().replace("learning_rate: 3e-3,", "")
NUM_RUNS = 4 * 3 * 2

Train = Callable[[EvaluationRequest], Evaluation | Failure]


def plan(seeds: int = 2, text: str = TEXT) -> CalibrationPlan:
    return plan_of(loads(text), seeds=seeds)


def session(
    folder: Path,
    executor: Inline | None = None,
    *,
    seeds: int = 2,
    stop: Stop | None = None,
    observer: Silent | None = None,
) -> Ending:
    """What ``calibrate`` does, without lock and processes."""
    folder.mkdir(parents=True, exist_ok=True)
    worker = WorkerSettings()
    return Calibrator(
        plan(seeds), folder, executor or Inline(), observer or Silent(), stop or Stop(), worker
    ).run()


def lasting(folder: Path, seeds: int = 2) -> list[dict[str, Any]]:
    """Runs without what may differ between two equal calibrations."""
    found = []
    for run in sorted(read_runs(plan(seeds), folder), key=lambda run: run.place):
        body = run.model_dump(mode="json", exclude={"finished_at", "attempts"})
        if body["evaluation"]:
            del body["evaluation"]["seconds"]
        found.append(body)
    return found


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed calibration, with results that were made up."""
    folder = tmp_path_factory.mktemp("calm") / "c"
    assert session(folder) == (EndKind.FINISHED, f"{NUM_RUNS} runs done")
    return folder


def test_all_runs_are_made_in_order_and_kept(tmp_path: Path) -> None:
    executor, observer = Inline(), Silent()
    folder = tmp_path / "c"
    assert session(folder, executor, observer=observer).kind is EndKind.FINISHED
    runs = read_runs(plan(), folder)
    assert [run.place for run in runs] == list(plan().places)
    assert len(executor.asked) == len({request.key for request in executor.asked}) == NUM_RUNS
    for run, request in zip(runs, executor.asked, strict=True):
        assert run.evaluation is not None
        assert run.evaluation.learning_rate == run.learning_rate == request.training.learning_rate
        assert run.digest == request.architecture.digest
        assert run.finished_at
    assert observer.events[0].startswith("attention x2, rate 0.001, seed 1: finished at step 4")
    assert len(observer.events) == NUM_RUNS
    last = observer.snapshots[-1]
    assert (last.phase, last.target_trials, last.counts) == (
        "calibration", NUM_RUNS, {"finished": NUM_RUNS},
    )  # fmt: skip


def test_workers_train_in_earnest_and_any_number_of_them_alike(tmp_path: Path) -> None:
    session(tmp_path / "one", Inline(evaluate))
    executor = Inline(evaluate, slots=3)
    session(tmp_path / "three", executor)
    assert executor.most_in_flight == 3
    assert lasting(tmp_path / "three") == lasting(tmp_path / "one")
    runs = read_runs(plan(), tmp_path / "one")
    assert all(run.result is not None and len(run.result.test) == 2 for run in runs)
    assert len({run.result.test for run in runs if run.result}) > 6


def test_nothing_is_made_twice(calm: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(calm, tmp_path / "c")
    executor = Inline()
    assert session(folder, executor).kind is EndKind.FINISHED
    assert executor.asked == []
    # more seeds add to those there are
    assert session(folder, executor, seeds=3).kind is EndKind.FINISHED
    assert len(executor.asked) == NUM_RUNS // 2
    assert {request.seed.run for request in executor.asked} == {2}
    # fewer leave them
    assert session(folder, Inline(), seeds=1).kind is EndKind.FINISHED
    assert len(read_runs(plan(3), folder)) == NUM_RUNS + NUM_RUNS // 2


@settings(max_examples=50)
@example(cut=1)
@example(cut=-1)
@given(cut=st.integers(0, 100_000))
def test_a_journal_cut_anywhere_goes_on_to_the_same_end(
    calm: Path, tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    whole = (calm / JOURNAL).read_bytes()
    # -1: the first line without its end
    cut = whole.index(b"\n") if cut == -1 else cut % (len(whole) + 1)
    folder = tmp_path_factory.mktemp("cut")
    (folder / JOURNAL).write_bytes(whole[:cut])
    kept = whole[:cut].count(b"\n")
    assert len(read_runs(plan(), folder)) == kept
    executor = Inline()
    assert session(folder, executor).kind is EndKind.FINISHED
    assert len(executor.asked) == NUM_RUNS - kept
    assert lasting(folder) == lasting(calm)
    shutil.rmtree(folder)


@settings(max_examples=60)
@given(data=st.data())
def test_a_changed_byte_is_noticed(
    calm: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    whole = bytearray((calm / JOURNAL).read_bytes())
    at = data.draw(st.integers(0, whole.rfind(b"\n", 0, len(whole) - 1)))
    whole[at] ^= 1 << data.draw(st.integers(0, 6))
    folder = tmp_path_factory.mktemp("bad")
    (folder / JOURNAL).write_bytes(whole)
    try:
        read_runs(plan(), folder)
    except StoreError as error:
        assert JOURNAL in str(error)  # noqa: PT017
    else:
        # white space between the parts of a line says nothing
        assert lasting(folder) == lasting(calm)
    shutil.rmtree(folder)


def test_a_damaged_line_is_named_and_its_run_made_again(calm: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(calm, tmp_path / "c")
    lines = (folder / JOURNAL).read_text().splitlines(keepends=True)
    bad = lines[4].replace('"step": 4', '"step": 3', 1)
    assert bad != lines[4]
    (folder / JOURNAL).write_text("".join([*lines[:4], bad, *lines[5:]]))
    with pytest.raises(StoreError, match=rf"{JOURNAL}:5: .*remove the line") as caught:
        session(folder)
    assert caught.value.exit_code == 4
    (folder / JOURNAL).write_text("".join([*lines[:4], *lines[5:]]))
    executor = Inline()
    assert session(folder, executor).kind is EndKind.FINISHED
    assert [r.architecture.digest for r in executor.asked] == [json.loads(bad)["record"]["digest"]]


def test_runs_of_another_calibration_are_refused(calm: Path, tmp_path: Path) -> None:
    other = plan(text=TEXT.replace("steps: 4", "steps: 6"))
    with pytest.raises(StoreError, match=r":1: is a run of another calibration"):
        read_runs(other, calm)
    run = read_runs(plan(), calm)[0].model_copy(update={"digest": "0" * 16})
    keep_run(tmp_path / JOURNAL, run)
    with pytest.raises(StoreError, match="another calibration"):
        read_runs(plan(), tmp_path)


def test_a_run_is_on_the_disk_before_the_next_one_begins(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    seen = []

    def answer(request: EvaluationRequest) -> Evaluation:
        seen.append((folder / JOURNAL).read_text().count("\n"))
        return made_up(request)

    session(folder, Inline(answer))
    assert seen == list(range(NUM_RUNS))


def test_lines_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.jsonl"
    synced = []
    monkeypatch.setattr(journal.os, "fsync", lambda _: synced.append(path.read_text()))
    journal.prepare(path)
    synced.clear()
    journal.append(path, {"a": 1})
    assert synced == ['{"a": 1}\n']


# failures


def failing(kind: FailureKind, times: int, name: str = "attention") -> Train:
    """Fails so often for one design, that has two such layers, at one rate and seed."""
    left = [times]

    def answer(request: EvaluationRequest) -> Evaluation | Failure:
        mixers = [block.sequence.name for block in request.architecture.blocks]
        if (
            mixers == [name, name]
            and request.training.learning_rate == 1e-3
            and request.seed.run == 0
            and left[0]
        ):
            left[0] -= 1
            return Failure(kind=kind, message="it went")
        return made_up(request)

    return answer


@pytest.mark.parametrize(
    ("kind", "attempts"),
    [(FailureKind.CRASHED, 2), (FailureKind.LOST, 3), (FailureKind.ERROR, 1)],
)
def test_what_fails_is_tried_as_often_as_in_a_campaign(
    tmp_path: Path, kind: FailureKind, attempts: int
) -> None:
    folder, observer = tmp_path / "c", Silent()
    executor = Inline(failing(kind, attempts - 1))
    assert session(folder, executor, observer=observer).kind is EndKind.FINISHED
    assert len(executor.asked) == NUM_RUNS + attempts - 1
    assert sum("trying again" in event for event in observer.events) == attempts - 1
    run = next(r for r in read_runs(plan(), folder) if r.place == plan().places[0])
    assert run.attempts == attempts

    folder = tmp_path / "never"
    executor = Inline(failing(kind, attempts))
    ending = session(folder, executor, observer=observer)
    assert ending == (EndKind.ABORTED, f"1 of {NUM_RUNS} runs failed")
    assert len(executor.asked) == NUM_RUNS + attempts - 1
    assert conclude(plan(), read_runs(plan(), folder)).failures == (
        "attention x2, rate 0.001, seed 1: it went",
    )
    # the next session tries it alone
    executor = Inline()
    assert session(folder, executor).kind is EndKind.FINISHED
    assert len(executor.asked) == 1
    assert conclude(plan(), read_runs(plan(), folder)).complete


def test_a_shortage_of_memory_is_the_machines(tmp_path: Path) -> None:
    def answer(request: EvaluationRequest) -> Evaluation:
        found = made_up(request)
        if request.training.learning_rate == 1e-2:
            return found.model_copy(update={"outcome": RunOutcome.OOM, "test": (), "curve": ()})
        return found

    assert session(tmp_path, Inline(answer)) == (
        EndKind.ABORTED, f"{NUM_RUNS // 3} of {NUM_RUNS} runs failed",
    )  # fmt: skip
    assert "memory" in conclude(plan(), read_runs(plan(), tmp_path)).failures[0]


def test_deadlines_follow_the_longest_run_so_far(tmp_path: Path) -> None:
    executor = Inline(lambda r: made_up(r).model_copy(update={"seconds": 100.0 + r.seed.run}))
    session(tmp_path, executor)
    deadlines = [request.deadline_seconds for request in executor.asked]
    assert deadlines[:2] == [4 * 3600.0, 1000.0]
    assert deadlines[-1] == 1010.0


# ended by the user


def stopping(stop: Stop, after: int, *, cancel: bool = False) -> Train:
    left = [after]

    def answer(request: EvaluationRequest) -> Evaluation:
        left[0] -= 1
        if left[0] == 0:
            stop.draining, stop.cancelled = True, cancel
        return made_up(request)

    return answer


def test_draining_keeps_what_is_under_way_and_begins_no_more(tmp_path: Path) -> None:
    stop, observer = Stop(), Silent()
    ending = session(tmp_path, Inline(stopping(stop, 3), slots=2), stop=stop, observer=observer)
    assert ending == (EndKind.DRAINED, "stopped by the user")
    assert len(read_runs(plan(), tmp_path)) == 4
    assert sum("draining: 1 running" in event for event in observer.events) == 1
    executor = Inline()
    assert session(tmp_path, executor).kind is EndKind.FINISHED
    assert len(executor.asked) == NUM_RUNS - 4


def test_draining_at_the_very_end_is_no_interruption(tmp_path: Path) -> None:
    stop = Stop()
    assert session(tmp_path, Inline(stopping(stop, NUM_RUNS)), stop=stop).kind is EndKind.FINISHED


def test_cancelling_leaves_what_is_under_way(tmp_path: Path) -> None:
    stop = Stop()
    executor = Inline(stopping(stop, 3, cancel=True), slots=2)
    assert session(tmp_path, executor, stop=stop).kind is EndKind.CANCELLED
    assert not executor.waiting
    assert len(read_runs(plan(), tmp_path)) == 3


def test_random_interruptions_leave_no_trace(calm: Path, tmp_path: Path) -> None:
    rng = random.Random(1)
    asked = 0
    for _ in range(40):
        stop = Stop()
        executor = Inline(stopping(stop, rng.randint(1, 4), cancel=rng.random() < 0.5), slots=2)
        ending = session(tmp_path, executor, stop=stop)
        asked += len(executor.asked)
        if ending.kind is EndKind.FINISHED:
            break
    assert ending.kind is EndKind.FINISHED
    assert asked >= NUM_RUNS
    assert lasting(tmp_path) == lasting(calm)


# the folder


def test_a_folder_that_is_removed_ends_it(tmp_path: Path) -> None:
    folder = tmp_path / "c"

    class Removing(Inline):
        def poll(self, timeout_seconds: float) -> list[Answer]:
            shutil.rmtree(folder)
            return []

    with pytest.raises(StoreError, match="was removed under the running calibration"):
        session(folder, Removing())


def test_spaces_of_one_protocol_share_a_folder(tmp_path: Path) -> None:
    first = folder_of(plan(), tmp_path)
    assert first == tmp_path / "calibrations" / f"tiny-{plan().key}"
    other = plan(text=TEXT.replace("name: tiny", "name: other").replace("[2, 3]}", "[3, 4]}"))
    assert folder_of(other, tmp_path).name == f"other-{plan().key}"
    first.mkdir(parents=True)
    assert folder_of(other, tmp_path) == first
    longer = plan(text=TEXT.replace("steps: 4", "steps: 6"))
    assert folder_of(longer, tmp_path) != first


def serial(made: CalibrationPlan, folder: Path) -> Ending:
    return calibrate(made, folder, LaunchOptions("serial"), Silent(), Stop())


def test_a_whole_session_trains_locks_and_concludes(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "c"
    one = plan(1, tiny_text())  # a single rate
    assert serial(one, folder) == (EndKind.FINISHED, "4 runs done")
    kept = read_calibration(folder)
    assert kept is not None
    assert (kept.complete, kept.runs, kept.seeds, kept.key) == (True, 4, 1, one.key)
    assert kept.versions[0]["torch"]
    inode = (folder / CALIBRATION).stat().st_mtime_ns
    with CampaignLock(folder), pytest.raises(CampaignHeldError, match="held by process"):
        serial(one, folder)
    # what was killed after its last run has only to conclude
    (folder / CALIBRATION).unlink()
    assert serial(one, folder) == (EndKind.FINISHED, "all runs were made before")
    assert read_calibration(folder) is not None
    assert (folder / CALIBRATION).stat().st_mtime_ns > inode


def test_a_folder_that_cannot_be_made_or_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="choose another folder with --results"):
        serial(plan(), tmp_path / "file" / "c")
    folder = tmp_path / "c"
    (folder / JOURNAL).mkdir(parents=True)
    with pytest.raises(StoreError, match=JOURNAL):
        serial(plan(), folder)
    (tmp_path / "k" / CALIBRATION).mkdir(parents=True)
    with pytest.raises(StoreError, match=CALIBRATION):
        keep(tmp_path / "k", conclude(plan(), []))


# what 'run' is told


def completed(root: Path, text: str = made.TEXT, **cases: Any) -> Path:
    """A calibration with runs that were made up."""
    wanted = made.plan(text)
    folder = folder_of(wanted, root)
    folder.mkdir(parents=True)
    runs: list[CalibrationRun] = made.runs_of(wanted, made.GOOD | cases)
    for run in runs:
        keep_run(folder / JOURNAL, run)
    keep(folder, conclude(wanted, read_runs(wanted, folder)))
    return folder


def test_caution_until_there_is_a_calibration_that_discriminates(tmp_path: Path) -> None:
    file, path = loads(made.TEXT), Path("a space.yaml")
    told = caution(file, path, [tmp_path])
    assert told == (
        "never calibrated; 'archsearch calibrate 'a space.yaml'' says whether cells and budget"
        " tell designs apart"
    )
    completed(tmp_path)
    assert caution(file, path, [tmp_path]) is None
    assert caution(file, path, [tmp_path / "elsewhere", tmp_path]) is None
    assert caution(file, path, [tmp_path / "elsewhere"]) == told
    shared = made.TEXT.replace("trials: 10, seed: 3", "trials: 20, seed: 4")
    assert caution(loads(shared), path, [tmp_path]) is None
    other = made.TEXT.replace("steps: 100", "steps: 101")
    assert caution(loads(other), path, [tmp_path]) == told


def test_an_unfinished_calibration_is_none(tmp_path: Path) -> None:
    file = loads(made.TEXT)
    (completed(tmp_path) / CALIBRATION).unlink()
    assert "never calibrated" in str(caution(file, Path("x.yaml"), [tmp_path]))


def test_caution_of_a_calibration_that_does_not_discriminate(tmp_path: Path) -> None:
    completed(tmp_path, **{made.CONV_ONLY: made.passing()})
    told = caution(loads(made.TEXT), Path("x.yaml"), [tmp_path])
    assert told is not None
    assert "does not tell designs apart (a denser or longer cell, such as" in told
    assert told.endswith("see 'archsearch calibrate x.yaml'")
    assert "\n" not in told


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff\xfe", b'{"sha256": "0", "record": {}}'])
def test_a_damaged_calibration_is_no_reason_not_to_run(tmp_path: Path, damage: bytes) -> None:
    folder = completed(tmp_path)
    (folder / CALIBRATION).write_bytes(damage)
    told = caution(loads(made.TEXT), Path("x.yaml"), [tmp_path])
    assert told is not None
    assert CALIBRATION in told
    assert told.endswith("make it again with 'archsearch calibrate x.yaml'")

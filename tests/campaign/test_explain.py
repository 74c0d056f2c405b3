"""Explanations: which edits there are, what is trained for them, and what is concluded."""

from __future__ import annotations

import hashlib
import itertools
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest

from archsearch.architecture import Architecture, Block, Component
from archsearch.campaign.dispatch import WorkerSettings
from archsearch.campaign.estimates import wilson
from archsearch.campaign.explain import (
    EXPLANATION,
    JOURNAL,
    Explainer,
    explain,
    explanation_of,
    folder_of,
    read_runs,
    seeds_of,
)
from archsearch.campaign.explanation.conclude import effect_of
from archsearch.campaign.explanation.edits import EditKind, edits
from archsearch.campaign.explanation.motifs import _motifs, motifs
from archsearch.campaign.explanation.plan import Evidence, ExplainPlan, Subject, plan_of
from archsearch.campaign.explanation.records import EditRun, Effect
from archsearch.campaign.feasibility import priced
from archsearch.campaign.launch import LaunchOptions
from archsearch.campaign.lock import CampaignLock
from archsearch.campaign.policy import MAX_CONSECUTIVE_FAILURES
from archsearch.campaign.progress import Ending, EndKind, Stop
from archsearch.campaign.reading import Reading, read
from archsearch.campaign.runs import keep_run
from archsearch.canonical import canonicalise
from archsearch.errors import CampaignHeldError, InputError, StoreError
from archsearch.execution.base import ExecutorOptions
from archsearch.mixers import specs
from archsearch.records import (
    FRESH_RUNS,
    Confirmation,
    Evaluation,
    EvaluationRequest,
    Failure,
    FailureKind,
    RunSeed,
)
from archsearch.space import loads
from archsearch.storage.importance import LEAST_TRIALS, _errors, _shares, read_importances
from tests.helpers import Inline, Silent, design, drive, made_up, new_campaign, tiny_text

FILE = loads(tiny_text())
WINDOW = Component(name="sliding_window", options={"window": 8})
RACE = tiny_text().replace("learning_rate: 3e-3,", "")

Train = Callable[[EvaluationRequest], Evaluation | Failure]


# edits


def texts(architecture: Architecture, kind: EditKind | None = None) -> list[str]:
    return [e.text for e in edits(FILE, architecture) if kind in (None, e.kind)]


def test_the_edits_of_a_small_stack_are_these() -> None:
    found = edits(FILE, design("short_conv", WINDOW, "short_conv"))
    assert [(e.kind.value, e.layer, e.text) for e in found] == [
        ("drop", 1, "without short_conv"),
        ("drop", 2, "without sliding_window(window=8)"),
        ("drop", 3, "without short_conv"),
        ("swap", 2, "sliding_window -> short_conv"),
        ("halve", 2, "sliding_window: window 8 -> 4"),
        ("move", 2, "sliding_window one layer up"),
        ("move", 2, "sliding_window one layer down"),
    ]
    # halves of three taps would be one tap, which is no convolution


def test_an_edit_changes_one_thing_and_is_priced() -> None:
    before = canonicalise(
        Architecture(
            d_model=8,
            blocks=(
                Block(sequence=Component(name="base_conv"), channel=Component(name="swiglu")),
                Block(sequence=Component(name="delta_net"), local_conv=3, parallel=WINDOW),
                Block(sequence=Component(name="based")),
            ),
        )
    )
    found = edits(FILE, before)
    seen = {e.digest for e in found}
    assert len(seen) == len(found)
    assert before.digest not in seen
    price = next(e.price.flops for e in edits(FILE, before) if e.kind is EditKind.MOVE)
    for edit in found:
        changed = edit.architecture
        assert canonicalise(changed) == changed
        assert changed.model_copy(update={"blocks": before.blocks}) == before
        if edit.kind is EditKind.DROP:
            left = [b for i, b in enumerate(before.blocks) if i != edit.layer - 1]
            assert list(changed.blocks) == left
        elif edit.kind is EditKind.MOVE:
            mixers = [sorted(str(b.mixers) for b in d.blocks) for d in (changed, before)]
            assert mixers[0] == mixers[1]
            assert [b.channel for b in changed.blocks] == [b.channel for b in before.blocks]
        else:
            differ = [a != b for a, b in zip(before.blocks, changed.blocks, strict=True)]
            assert differ == [i == edit.layer - 1 for i in range(3)]
        if edit.kind is not EditKind.MOVE:
            assert edit.price.flops < price
    assert {
        "base_conv -> short_conv",
        "without swiglu",
        "without delta_net beside sliding_window",
        "without sliding_window beside delta_net",
        "without its convolution of 3 taps",
        "based: feature_dim 16 -> 8",
    } <= {e.text for e in found}


def test_what_moves_is_the_mixer_that_is_no_convolution() -> None:
    conv, window = Component(name="base_conv"), WINDOW
    before = canonicalise(
        Architecture(
            d_model=8,
            blocks=(
                Block(sequence=Component(name="short_conv"), channel=Component(name="swiglu")),
                Block(sequence=conv, parallel=window, local_conv=3),
            ),
        )
    )
    (move,) = [e for e in edits(FILE, before) if e.kind is EditKind.MOVE]
    assert (move.layer, move.text) == (2, "sliding_window one layer up")
    first, second = move.architecture.blocks
    assert {m.name for m in first.mixers} == {"base_conv", "sliding_window"}
    # channel mixer and local convolution stay where they were
    assert (first.channel.name, first.local_conv) == ("swiglu", 0)
    assert (second.sequence.name, second.local_conv) == ("short_conv", 3)


def test_a_share_of_the_length_is_halved_and_a_root_is_not() -> None:
    def halves(window: str) -> list[str]:
        mixer = Component(name="sliding_window", options={"window": window})
        return texts(design("short_conv", mixer), EditKind.HALVE)

    assert halves("N/8") == ["sliding_window: window N/8 -> N/16"]
    assert halves("sqrt") == []


def test_a_single_layer_is_not_dropped_and_equal_neighbours_do_not_move() -> None:
    assert not texts(design("attention"), EditKind.DROP)
    assert not texts(design("attention", "attention"), EditKind.MOVE)
    # two that change places are one edit
    assert len(texts(design("attention", WINDOW), EditKind.MOVE)) == 1


@pytest.mark.parametrize("name", sorted(n for n in specs.names() if specs.get(n).fits("sequence")))
def test_every_mixer_can_be_swapped_and_its_sizes_halved(name: str) -> None:
    before = design("short_conv", name, d_model=16)
    found = edits(FILE, before)
    if name != "short_conv" and not specs.get(name).skipped:
        assert f"{name} -> short_conv" in [e.text for e in found]
    for edit in found:
        if edit.kind is EditKind.HALVE:
            (changed,) = [
                (a, b)
                for a, b in zip(before.blocks, edit.architecture.blocks, strict=True)
                if a != b
            ]
            differ = {
                key: (changed[0].sequence.options[key], value)
                for key, value in changed[1].sequence.options.items()
                if changed[0].sequence.options[key] != value
            }
            ((old, new),) = differ.values()
            assert int(old) // 2 == new


# what is trained


def score(share_of: Callable[[Architecture, float, int], float]) -> Train:
    """A worker whose score is a function of design, rate and seed."""

    def train(request: EvaluationRequest) -> Evaluation:
        found = made_up(request)
        rate = request.training.learning_rate
        share = share_of(request.architecture, rate, request.seed.run)
        cells = tuple(cell.model_copy(update={"accuracy": share}) for cell in found.test)
        points = tuple(p.model_copy(update={"accuracy": (share,) * 2}) for p in found.curve)
        return found.model_copy(update={"test": cells, "curve": points})

    return train


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign with a front, made-up results."""
    folder = tmp_path_factory.mktemp("searched") / "c"
    assert drive(new_campaign(folder)).kind is EndKind.FINISHED
    return folder


@pytest.fixture
def campaign(searched: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(searched, tmp_path / "c"))


def session(
    plan: ExplainPlan,
    folder: Path,
    train: Train = made_up,
    *,
    stop: Stop | None = None,
    observer: Silent | None = None,
    slots: int = 1,
) -> Ending:
    folder.mkdir(exist_ok=True)
    executor = Inline(train, slots=slots)
    return Explainer(
        plan, folder, executor, observer or Silent(), stop or Stop(), WorkerSettings()
    ).run()


def race_plan(*rates: float) -> ExplainPlan:
    """One member, convolution and window, in a space with several rates."""
    text = RACE.replace("search: {", f"search: {{learning_rates: {list(rates)}, ")
    file = loads(text)
    member = design("short_conv", WINDOW)
    subject = Subject(7, member, priced(file, member), 3e-3, tuple(edits(file, member)))
    return ExplainPlan(file, 0, (subject,), seeds=2)


def test_members_come_before_their_edits_and_the_knee_first(campaign: Path) -> None:
    reading = read(campaign)
    plan = plan_of(reading)
    assert plan.subjects[0].number == reading.front.knee
    assert {s.number for s in plan.subjects} == {m.number for m in reading.front.members}
    order = list(plan.designs)
    for subject in plan.subjects:
        own = order.index(subject.architecture.digest)
        later = [e.digest for e in subject.edits]
        members = {s.architecture.digest for s in plan.subjects}
        first = subject is plan.subjects[0]
        assert not first or all(order.index(d) > own for d in later if d not in members)
    # a member that is another one's edit is trained at its own rate
    for s in plan.subjects:
        assert plan.designs[s.architecture.digest].text == f"trial {s.number}"


def test_an_empty_front_is_refused(tmp_path: Path) -> None:
    new_campaign(tmp_path / "c")
    with pytest.raises(InputError, match="the front is empty"):
        plan_of(read(tmp_path / "c"))


def test_everything_is_trained_once_member_by_member(campaign: Path) -> None:
    plan, folder = plan_of(read(campaign), seeds=2), campaign / "explain"
    observer = Silent()
    ending = session(plan, folder, observer=observer)
    assert ending == (EndKind.FINISHED, "every edit was trained")
    runs = read_runs(plan, folder)
    count = len(plan.designs)
    assert len({run.place for run in runs}) == len(runs) == 2 * count
    assert len({run.evaluation.seed for run in runs if run.evaluation}) == 2 * count
    first = plan.subjects[0]
    own = [first.architecture.digest, *(e.digest for e in first.edits)]
    assert [(r.digest, r.seed) for r in runs[: 2 * len(own)]] == [
        (digest, seed) for seed in range(2) for digest in own
    ]
    assert observer.snapshots[-1].counts == {"finished": 2 * count}
    # and nothing more
    assert session(plan, folder).kind is EndKind.FINISHED
    assert len(read_runs(plan, folder)) == 2 * count
    # a third seed is added to the two
    assert seeds_of(read(campaign)) == 2
    assert session(plan._replace(seeds=3), folder).kind is EndKind.FINISHED
    assert len(read_runs(plan, folder)) == 3 * count
    assert seeds_of(read(campaign)) == 3


def test_a_budget_for_one_member_judges_it(campaign: Path) -> None:
    reading = read(campaign)
    plan, folder = plan_of(reading, seeds=2), folder_of(reading)
    enough = 2 * (1 + len(plan.subjects[0].edits))
    stop, count = Stop(), 0

    def train(request: EvaluationRequest) -> Evaluation:
        nonlocal count
        count += 1
        stop.draining = count == enough
        return made_up(request)

    assert session(plan, folder, train, stop=stop).kind is EndKind.DRAINED
    first, *others = explanation_of(reading, plan).members
    assert Effect.UNKNOWN not in {row.effect for row in first.edits}
    assert Effect.UNKNOWN in {row.effect for member in others for row in member.edits}


def test_rates_are_tried_where_an_edit_fell(tmp_path: Path) -> None:
    plan = race_plan(1e-3, 3e-3, 1e-2)

    def share(architecture: Architecture, rate: float, seed: int) -> float:
        if architecture.blocks[-1].sequence.name == "sliding_window":
            return 0.9
        return {1e-3: 0.1, 3e-3: 0.2, 1e-2: 0.88}[rate]

    session(plan, tmp_path / "e", score(share))
    runs = read_runs(plan, tmp_path / "e")
    evidence = Evidence(plan, runs)
    for digest, shape in plan.designs.items():
        own = [r.learning_rate for r in runs if r.digest == digest and r.seed == 0]
        later = [r.learning_rate for r in runs if r.digest == digest and r.seed == 1]
        fell = shape.architecture.blocks[-1].sequence.name != "sliding_window"
        assert sorted(own) == ([1e-3, 3e-3, 1e-2] if fell else [3e-3])
        # further seeds at the best rate alone; the one that chose it is not averaged
        assert later == ([1e-2] if fell else [3e-3])
        # neither is that of an edit that might have chosen; a member never may
        assert evidence.scores(digest) == (
            (0.9,) * (1 + (not shape.owners)) if not fell else (0.88,)
        )


def test_an_edit_of_two_members_is_trained_at_the_rates_of_both(tmp_path: Path) -> None:
    plan = race_plan(1e-3, 3e-3, 1e-2)
    (first,) = plan.subjects
    wide = design("short_conv", Component(name="sliding_window", options={"window": 4}))
    found = edits(plan.file, wide)
    other = Subject(8, wide, priced(plan.file, wide), 1e-2, tuple(found))
    both = plan._replace(subjects=(first, other))
    shared = {e.digest for e in first.edits} & {e.digest for e in found}
    assert shared
    assert wide.digest in {e.digest for e in first.edits}, "half of the window is the other member"

    def share(architecture: Architecture, rate: float, seed: int) -> float:
        return 0.9 if rate == 1e-2 else 0.88

    session(both, tmp_path / "e", score(share))
    evidence = Evidence(both, read_runs(both, tmp_path / "e"))
    for digest in shared:
        assert evidence.rates(digest) == (3e-3, 1e-2)
        assert evidence.best_rate(digest) == 1e-2
        # the seed that chose between two rates is not averaged
        assert evidence.scores(digest) == (0.9,)
    # a member keeps its own rate, whoever's edit it is
    assert evidence.rates(wide.digest) == (1e-2,)


def test_an_unlucky_seed_of_the_member_does_not_hide_a_fall(tmp_path: Path) -> None:
    """The member's first seed is unlucky, so that nothing seems to fall until there are more."""
    plan = race_plan(1e-3, 3e-3, 1e-2)._replace(seeds=3)

    def share(architecture: Architecture, rate: float, seed: int) -> float:
        if architecture.blocks[-1].sequence.name == "sliding_window":
            return 0.5 if seed == 0 else 0.9
        return 0.5

    session(plan, tmp_path / "e", score(share))
    runs = read_runs(plan, tmp_path / "e")
    swapped = next(e for e in plan.subjects[0].edits if e.kind is EditKind.SWAP)
    assert {r.learning_rate for r in runs if r.digest == swapped.digest} == {1e-3, 3e-3, 1e-2}


@pytest.mark.parametrize("slots", [1, 3])
def test_workers_and_interruptions_change_nothing(tmp_path: Path, slots: int) -> None:
    plan = race_plan(3e-3, 1e-2)
    session(plan, tmp_path / "calm")
    stop, count = Stop(), 0

    def train(request: EvaluationRequest) -> Evaluation:
        nonlocal count, stop
        count += 1
        stop.draining = count % 3 == 0
        return made_up(request)

    for _ in range(40):
        stop = Stop()
        if session(plan, tmp_path / "cut", train, stop=stop, slots=slots).kind is EndKind.FINISHED:
            break

    def results(folder: Path) -> set[tuple[object, ...]]:
        return {(*r.place, r.result and r.result.test) for r in read_runs(plan, folder)}

    assert count == len(read_runs(plan, tmp_path / "calm")) >= 6
    assert results(tmp_path / "cut") == results(tmp_path / "calm")


def test_the_time_ends_it_and_says_what_is_left(campaign: Path) -> None:
    plan = plan_of(read(campaign), seeds=1, minutes=0.0)
    ending = session(plan, campaign / "explain")
    left = len(plan.designs)
    assert ending == (EndKind.FINISHED, f"0 minutes spent; {left} runs left")


def test_a_run_that_failed_is_tried_again_by_the_next_call(campaign: Path) -> None:
    plan, folder = plan_of(read(campaign), seeds=1), campaign / "explain"
    broken = next(reversed(plan.designs))

    def train(request: EvaluationRequest) -> Evaluation | Failure:
        if request.architecture.digest == broken:
            return Failure(kind=FailureKind.ERROR, message="RuntimeError: a bug")
        return made_up(request)

    ending = session(plan, folder, train)
    assert ending == (EndKind.ABORTED, "1 runs failed, such as by RuntimeError: a bug")
    reading = read(campaign)
    found = explanation_of(reading, plan)
    assert found.failures == (f"{broken}: RuntimeError: a bug",)
    assert (found.runs, found.planned) == (len(plan.designs) - 1, len(plan.designs))
    session(plan, folder)
    again = explanation_of(reading, plan)
    assert (again.failures, again.runs) == ((), len(plan.designs))


def test_where_everything_fails_nothing_more_is_begun(campaign: Path) -> None:
    plan, folder = plan_of(read(campaign), seeds=1), campaign / "explain"

    def train(request: EvaluationRequest) -> Failure:
        return Failure(kind=FailureKind.ERROR, message="RuntimeError: a bug")

    assert session(plan, folder, train).kind is EndKind.ABORTED
    assert len(read_runs(plan, folder)) == MAX_CONSECUTIVE_FAILURES < len(plan.designs)


def test_two_do_not_explain_the_same_campaign(campaign: Path) -> None:
    reading = read(campaign)
    folder_of(reading).mkdir()
    how = LaunchOptions("serial", ExecutorOptions())
    with CampaignLock(folder_of(reading)), pytest.raises(CampaignHeldError):
        explain(reading, plan_of(reading), how, Silent(), Stop())


def test_runs_of_another_campaign_are_refused(campaign: Path) -> None:
    plan, folder = plan_of(read(campaign), seeds=1), campaign / "explain"
    session(plan, folder)
    run = read_runs(plan, folder)[0]
    keep_run(folder / JOURNAL, run.model_copy(update={"key": "other"}))
    with pytest.raises(StoreError, match=r"runs\.jsonl:\d+: is of another campaign"):
        read_runs(plan, folder)


# what is concluded


@pytest.mark.parametrize(
    ("low", "high", "effect"),
    [
        (None, None, Effect.UNKNOWN),
        (-0.5, -0.3, Effect.NEEDED),
        (-0.03, -0.001, Effect.UNCLEAR),  # less than what counts, and perhaps more
        (-0.015, -0.005, Effect.SPARE),
        (-0.01, 0.3, Effect.SPARE),
        (0.01, 0.3, Effect.GAIN),
        (-0.2, 0.2, Effect.UNCLEAR),
        (-0.2, 0.01, Effect.UNCLEAR),
    ],
)
def test_effects(low: float | None, high: float | None, effect: Effect) -> None:
    assert effect_of(low, high) is effect


def test_what_is_needed_is_found_and_the_study_left_alone(campaign: Path) -> None:
    """The truth: only what is not a convolution counts, and each such layer adds a half."""

    def share(architecture: Architecture, rate: float, seed: int) -> float:
        kinds = [b.sequence.name for b in architecture.blocks]
        noise = int(hashlib.sha256(f"{kinds}{seed}".encode()).hexdigest()[:4], 16) / 2**16
        return 0.3 * sum(k != "short_conv" for k in kinds) + 0.005 * noise

    before = hashlib.sha256((campaign / "study.db").read_bytes()).hexdigest()
    reading = read(campaign)
    plan = plan_of(reading)
    session(plan, folder_of(reading), score(share))
    found = explanation_of(reading, plan)
    assert [m.number for m in found.members] == [s.number for s in plan.subjects]
    judged = [row for member in found.members for row in member.edits]
    assert len(judged) > 5
    for member in found.members:
        kinds = [b.sequence.name for b in _architecture(reading, member.number).blocks]
        for row in member.edits:
            after = [b.sequence.name for b in row.architecture.blocks]
            lost = sum(k != "short_conv" for k in kinds) - sum(k != "short_conv" for k in after)
            assert row.effect is (Effect.NEEDED if lost else Effect.SPARE)
            assert row.change == pytest.approx(-0.3 * lost, abs=0.01)
            assert row.low is not None
            assert row.high is not None
            assert row.low <= row.change <= row.high
            if lost and row.flops_ratio < 0.9:
                saved = 1 - row.flops_ratio
                assert row.per_tenth == pytest.approx(-0.03 * lost / saved, rel=0.1)
                assert row.per_tenth_interval == pytest.approx(
                    (row.low / (10 * saved), row.high / (10 * saved))
                )
            if row.flops_ratio >= 1:
                assert row.per_tenth is row.per_tenth_interval is None
    assert hashlib.sha256((campaign / "study.db").read_bytes()).hexdigest() == before


def _architecture(reading: Reading, number: int) -> Architecture:
    (found,) = [r.architecture for r in reading.records if r.number == number]
    assert found is not None
    return found


def test_what_confirmations_scatter_is_in_the_intervals(campaign: Path) -> None:
    """Edits that never learn do not scatter: alone they would make a lucky design look sure."""
    reading = read(campaign)
    plan = plan_of(reading)
    session(plan, folder_of(reading))
    (record, *_) = (r for r in reading.records if r.number >= 0 and r.outcome.was_trained)
    (run, *_) = record.runs.values()
    fresh = [
        Confirmation(
            number=record.number,
            batch=1,
            evaluation=run.model_copy(
                update={
                    "seed": RunSeed(campaign=5, trial=record.number, run=FRESH_RUNS + seed),
                    "test": tuple(c.model_copy(update={"accuracy": hits}) for c in run.test),
                }
            ),
        )
        for seed, hits in enumerate((0.0, 0.9))
    ]
    confirmed = replace(reading, confirmations=fresh)
    widths = [
        [
            row.high - row.low
            for member in explanation_of(one, plan).members
            for row in member.edits
            if row.low is not None and row.high is not None
        ]
        for one in (reading, confirmed)
    ]
    assert len(widths[0]) == len(widths[1]) > 5
    assert all(1.5 * alone < both for alone, both in zip(*widths, strict=True))


def test_one_seed_says_nothing_for_sure(campaign: Path) -> None:
    reading = read(campaign)
    plan = plan_of(reading, seeds=1)
    session(plan, folder_of(reading))
    rows = [row for m in explanation_of(reading, plan).members for row in m.edits]
    assert {row.effect for row in rows} == {Effect.UNKNOWN}
    assert all(row.change is not None and row.low is None for row in rows)


def test_one_layer_is_not_called_layers() -> None:
    conv, attention = (Block(sequence=Component(name=n)) for n in ("short_conv", "attention"))
    for blocks, told in (
        ((conv,), {"1 layer", "0 layers beyond convolutions"}),
        ((conv, attention), {"2 layers", "1 layer beyond convolutions"}),
        ((attention, attention), {"2 layers", "2 layers beyond convolutions"}),
    ):
        found = set(_motifs(Architecture(d_model=16, blocks=blocks)))
        assert {text for text in found if text[0].isdigit()} == told


def test_motifs_are_counted_on_the_front_and_below(campaign: Path) -> None:
    reading = read(campaign)
    front = reading.front
    found = {m.text: m for m in motifs(reading.records, front)}
    designs = {r.number: r.architecture for r in reading.records if r.architecture}
    here = [designs[m.number] for m in front.members]
    there = [designs[m.number] for m in front.dominated]
    for width in (8, 12, 16):
        counts = tuple(sum(d.d_model == width for d in group) for group in (here, there))
        motif = found.get(f"d_model {width}")
        assert (motif is None) == (sum(counts) < 2)
        if motif is not None:
            assert (motif.front, motif.dominated) == counts
            assert motif.front_interval == wilson(counts[0], len(here))
    pairs = {text for text in found if " > " in text}
    assert pairs
    for text in pairs:
        above, below = text.split(" > ")

        def has(architecture: Architecture, above: str = above, below: str = below) -> bool:
            names = [b.sequence.name for b in architecture.blocks]
            return (above, below) in itertools.pairwise(names)

        assert found[text].front == sum(map(has, here))
        assert found[text].dominated == sum(map(has, there))


def test_wilson() -> None:
    # Newcombe 1998, table I, method 3: 81 of 263, and 0 of 20
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    # values of R's prop.test(correct = FALSE)
    assert wilson(0, 10) == pytest.approx((0.0, 0.27753), abs=1e-4)
    assert wilson(5, 10) == pytest.approx((0.23659, 0.76341), abs=1e-4)
    assert wilson(10, 10) == pytest.approx((0.72247, 1.0), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)


def test_importance_finds_the_parameter_that_decides(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    random = np.random.default_rng(1)
    sampler = optuna.samplers.RandomSampler(seed=1)
    study = optuna.create_study(
        storage=url, study_name="s", directions=["maximize", "minimize"], sampler=sampler
    )
    for number in range(200):
        trial = study.ask()
        mixer = trial.suggest_categorical("mixer", ["conv", "attention"])
        taps = trial.suggest_int("taps", 2, 9)
        if mixer == "attention":
            trial.suggest_int("window", 1, 64)
        noise = random.random(2)
        study.tell(trial, [0.9 * (mixer == "attention") + 0.01 * noise[0], 1 + 0.01 * noise[1]])
        assert (number, taps > 1) == (trial.number, True)
    before = (tmp_path / "s.db").read_bytes()
    found = read_importances(url, "s", range(200))
    assert next(iter(found)) == "mixer"
    assert found["mixer"].share > 0.5
    assert sum(s.share for s in found.values()) == pytest.approx(1)
    assert all(0 <= s.low <= s.share <= s.high <= 1 for s in found.values())
    assert found["mixer"].low > 0.03 > max(s.low for key, s in found.items() if key != "mixer")
    assert read_importances(url, "s", range(200)) == found
    assert read_importances(url, "s", range(200), seed=1) != found
    assert (tmp_path / "s.db").read_bytes() == before
    assert read_importances(url, "s", range(LEAST_TRIALS - 1)) == {}
    with pytest.raises(StoreError, match="holds no study called 'other'"):
        read_importances(url, "other", range(200))
    with pytest.raises(StoreError, match="there is no study"):
        read_importances(f"sqlite:///{tmp_path / 'none.db'}", "s", range(200))


def few_trials(count: int, seed: int) -> list[optuna.trial.FrozenTrial]:
    """A rare value makes for accuracy; half of the parameters are seldom there."""
    random = np.random.default_rng(seed)
    trials = []
    for _ in range(count):
        values: dict[str, int] = {}
        kinds: dict[str, optuna.distributions.BaseDistribution] = {}
        for nth in range(8):
            if nth >= 4 and values["p0"] != 0:
                continue
            choices = (2, 3, 4, 6)[nth % 4]
            kinds[f"p{nth}"] = optuna.distributions.CategoricalDistribution(range(choices))
            values[f"p{nth}"] = int(random.integers(choices))
        accuracy = 0.9 * (values["p3"] == 5) * random.random() + 0.05 * random.random()
        scores = [float(accuracy), float(random.random())]
        trials.append(optuna.trial.create_trial(params=values, distributions=kinds, values=scores))
    return trials


DIRECTIONS = optuna.create_study(directions=["maximize", "minimize"]).directions


@pytest.mark.parametrize(("count", "seed"), [(27, 7), (40, 4)])
def test_an_importance_lies_well_within_its_errors(tmp_path: Path, count: int, seed: int) -> None:
    """Of these trials a bootstrap, which counts repeats as evidence, puts it at its upper end."""
    url = f"sqlite:///{tmp_path / 's.db'}"
    study = optuna.create_study(storage=url, study_name="s", directions=DIRECTIONS)
    study.add_trials(few_trials(count, seed))
    found = read_importances(url, "s", range(count))
    greatest = next(iter(found.values()))
    room = (greatest.high - greatest.low) / 4
    assert greatest.low + room < greatest.share < greatest.high - room
    assert all(0 <= s.low <= s.share <= s.high <= 1 for s in found.values())


def test_errors_of_importances_are_those_of_drawing_other_trials() -> None:
    drawn = [few_trials(30, seed) for seed in range(40)]
    shares = [_shares(DIRECTIONS, trials, 0.27)["p3"] for trials in drawn]
    errors = [_errors(DIRECTIONS, trials, 0.27, ["p3"], seed=0)[0] for trials in drawn[:6]]
    assert 1.0 < np.mean(errors) / np.std(shares) < 1.8


def test_the_whole_of_it(campaign: Path) -> None:
    reading = read(campaign)
    plan = plan_of(reading, seeds=1)
    how = LaunchOptions("serial", ExecutorOptions())
    first, found = explain(reading, plan._replace(minutes=1e-9), how, Silent(), Stop())
    assert first.reason.endswith("runs left")
    assert (found.runs, found.planned) == (0, len(plan.designs))
    ending, found = explain(reading, plan, how, Silent(), Stop())
    assert ending.reason == "every edit was trained"
    assert found.runs == found.planned == len(plan.designs)
    again, same = explain(reading, plan, how, Silent(), Stop())
    assert again == (EndKind.FINISHED, "all runs were made before")
    assert same == found
    kept = (folder_of(reading) / EXPLANATION).read_text()
    assert "per_tenth" in kept
    # a look at fewer seeds than there are does not replace it
    _, less = explain(reading, plan._replace(seeds=0), how, Silent(), Stop())
    assert less.runs == 0
    assert (folder_of(reading) / EXPLANATION).read_text() == kept
    run = read_runs(plan, folder_of(reading))[0]
    assert isinstance(run, EditRun)
    assert run.result is not None
    assert run.result.step == reading.campaign.file.training.steps

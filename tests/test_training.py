"""A run is a function of its request: bit for bit, in pieces, elsewhere, and as in a textbook."""

from __future__ import annotations

import gc
import itertools
import json
import math
import os
import random
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from archsearch.architecture import Architecture, Block, Component
from archsearch.errors import StoreError
from archsearch.mixers import specs
from archsearch.model import build_model, initialise
from archsearch.protocol import TrainingConfig
from archsearch.records import FRESH_RUNS, RunOutcome, RunSeed
from archsearch.tasks.base import Split
from archsearch.training import (
    Streams,
    advance,
    decay_groups,
    load_weights,
    rate_at,
    restore,
    save,
    save_weights,
    start,
    train_step,
)
from archsearch.training import test as score
from tests.conftest import ROOT
from tests.helpers import design, request
from tests.mixers import contract

MIXERS = (
    ("short_conv", "attention"),
    (Component(name="base_conv", options={"kernel_size": "long"}), "based"),
    ("short_conv", Component(name="learned_selection", options={"cap": 3})),
    ("short_conv", Component(name="sliding_window", options={"window": 3})),
    # the bound of a first layer has no gradient
    (Component(name="hgrn2", options={"expand_ratio": 4}), "gated_delta_net"),
    # draws noise as it trains
    ("short_conv", Component(name="learned_selection", options={"cap": 3, "noise": 1.0})),
)


def weights(run) -> dict[str, torch.Tensor]:  # type: ignore[no-untyped-def]
    return {k: v.clone() for k, v in run.model.state_dict().items()}


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


@pytest.mark.parametrize("mixers", MIXERS, ids=lambda m: str(m[1]))
def test_a_run_is_repeatable_and_leaves_global_generators_alone(mixers: tuple[str, ...]) -> None:
    before = torch.get_rng_state(), str(np.random.get_state()), random.getstate()  # noqa: NPY002
    results = []
    for noise in (0, 1):
        run = start(request(design(*mixers)))
        outcome = advance(run, 6)
        results.append((outcome, run.curve, score(run), weights(run)))
        if not noise:
            after = torch.get_rng_state(), str(np.random.get_state()), random.getstate()  # noqa: NPY002
            assert torch.equal(after[0], before[0])
            assert after[1:] == before[1:]
            torch.rand(17)
    assert results[0][:3] == results[1][:3]
    assert_equal(results[0][3], results[1][3])
    assert results[0][0] is RunOutcome.FINISHED
    assert [p.step for p in results[0][1]] == [2, 4, 6]


@pytest.mark.parametrize("mixers", MIXERS, ids=lambda m: str(m[1]))
@pytest.mark.parametrize("pauses", [(1,), (3,), (2, 5), (1, 2, 3, 4, 5)])
def test_a_run_in_pieces_is_the_unbroken_one(
    tmp_path: Path, mixers: tuple[str, ...], pauses: tuple[int, ...]
) -> None:
    asked = request(design(*mixers))
    whole = start(asked)
    advance(whole, 6)
    run = start(asked)
    for step in pauses:
        assert advance(run, step) is RunOutcome.PAUSED
        save(run, tmp_path / "w.safetensors", with_optimizer=True)
        run = restore(asked, tmp_path / "w.safetensors")
        assert run.step == step
    assert advance(run, 6) is RunOutcome.FINISHED
    assert run.curve == whole.curve
    assert score(run) == score(whole)
    assert_equal(weights(run), weights(whole))


FINGERPRINT = """
import hashlib, json, sys, torch
torch.set_num_threads(1)
from archsearch.training import advance, start, test
from tests.helpers import request
run = start(request())
advance(run, 6)
digest = hashlib.sha256()
for tensor in run.model.state_dict().values():
    digest.update(tensor.numpy().tobytes())
print(json.dumps([digest.hexdigest(), [p.model_dump(mode="json") for p in run.curve],
    [t.model_dump(mode="json") for t in test(run)]]))
"""


def test_another_process_gives_the_same() -> None:
    found = []
    for seed in ("1", "77"):
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", FINGERPRINT],
            env=environment,
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        )
        found.append(json.loads(done.stdout))
    assert found[0] == found[1]


def test_ten_steps_are_those_of_a_textbook() -> None:
    """Logits everywhere, cross-entropy with ignored positions, one optimizer group a decay."""
    asked = request(training={"steps": 10, "eval_every": 100})
    run = start(asked)
    config = asked.training
    model = build_model(asked.architecture, 64, 16)
    initialise(model, Streams.of(asked.seed).init)
    matrices = [p for p in model.parameters() if p.ndim == 2]
    vectors = [p for p in model.parameters() if p.ndim != 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
        lr=1.0,
        foreach=False,
    )
    for step in range(10):
        batch = run.data.batch(step)
        tokens = torch.from_numpy(batch.tokens).long()
        labels = torch.full_like(tokens, -100)
        labels.scatter_(1, torch.from_numpy(batch.query_positions), torch.from_numpy(batch.answers))
        loss = F.cross_entropy(model(tokens).flatten(0, 1), labels.flatten(), ignore_index=-100)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        # warm-up over one step of ten, then a cosine that would reach zero at the eleventh
        rate = 3e-3 if step == 0 else 3e-3 * (1 + math.cos(math.pi * (step - 1) / 9)) / 2
        assert rate_at(step, config) == pytest.approx(rate)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        assert train_step(run) == pytest.approx(float(loss.detach()), abs=1e-5)
    for (name, mine), plain in zip(run.model.named_parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(mine, plain, rtol=1e-3, atol=1e-4, msg=name)


def test_only_matrices_decay() -> None:
    run = start(request(training={"weight_decay": 0.5}))
    decayed, others = run.optimizer.param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.5, 0.0)
    names = {p: n for n, p in run.model.named_parameters()}
    assert {p.ndim for p in decayed["params"]} == {2}
    assert {names[p] for p in decayed["params"]} | {names[p] for p in others["params"]} == set(
        names.values()
    )
    assert any(names[p].endswith("norm.weight") for p in others["params"])
    assert any("embedding" in names[p] for p in decayed["params"])


def test_the_schedule_rises_and_falls() -> None:
    config = TrainingConfig(steps=100, learning_rate=1.0, warmup_fraction=0.1)
    rates = [rate_at(step, config) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * (i + 1) for i in range(10)])
    assert rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert all(a > b for a, b in itertools.pairwise(rates[10:]))
    assert 0 < rates[-1] < 1e-3
    flat = TrainingConfig(steps=1, learning_rate=2.0, warmup_fraction=0.0)
    assert rate_at(0, flat) == 2.0


def test_streams_of_runs_trials_references_and_campaigns_differ() -> None:
    seeds = [
        RunSeed(campaign=c, trial=t, run=r)
        for c in (0, 1)
        for t in (-3, -2, -1, 0, 1, 2, 3)
        for r in (0, 1)
    ]
    streams = [Streams.of(s) for s in seeds]
    numbers = [n for s in streams for n in (s.init, s.data, s.order)]
    assert len(set(numbers)) == len(numbers)
    assert len({s.held_out for s in streams}) == 2
    assert {s.held_out for s in streams}.isdisjoint(numbers)
    assert all(0 <= s.init < 2**63 for s in streams)
    assert Streams.of(seeds[0]) == Streams.of(seeds[0])


def test_runs_that_race_differ_in_their_rate_alone() -> None:
    raced = [RunSeed(campaign=3, trial=5, run=r, paired=True) for r in range(3)]
    assert {Streams.of(s) for s in raced} == {Streams.of(RunSeed(campaign=3, trial=5))}
    one, other = (start(request(seed=s)) for s in raced[:2])
    assert np.array_equal(one.data.batch(0).tokens, other.data.batch(0).tokens)
    assert torch.equal(one.model.embedding.weight, other.model.embedding.weight)


def test_confirmations_are_tested_on_data_that_no_search_saw() -> None:
    searched = Streams.of(RunSeed(campaign=3, trial=5))
    fresh = [
        Streams.of(RunSeed(campaign=3, trial=t, run=FRESH_RUNS + n)) for t, n in ((5, 0), (6, 1))
    ]
    assert len({s.held_out for s in fresh}) == 1
    assert fresh[0].held_out not in (searched.held_out, searched.data)


def test_training_validation_and_test_share_no_batch() -> None:
    run = start(request())
    for cell in run.task.cells:
        batches = [
            run.task.batch(cell, split, 0, 16, seed).tokens.tobytes()
            for split in Split
            for seed in (run.streams.data, run.streams.held_out)
        ]
        assert len(set(batches)) == 6


def test_two_runs_learn_from_other_data_and_are_tested_on_the_same() -> None:
    one, other = (start(request(seed=RunSeed(campaign=3, trial=t))) for t in (0, 1))
    assert one.streams.held_out == other.streams.held_out
    assert not np.array_equal(one.data.batch(0).tokens, other.data.batch(0).tokens)
    assert not torch.equal(one.model.embedding.weight, other.model.embedding.weight)


def test_each_cycle_holds_each_cell_once_and_batches_keep_their_tokens() -> None:
    run = start(request())
    cells = [run.data.cell_of(step) for step in range(40)]
    assert all(set(cells[i : i + 2]) == set(run.task.cells) for i in range(0, 40, 2))
    assert len({tuple(map(str, cells[i : i + 2])) for i in range(0, 40, 2)}) == 2
    assert {run.data.batch(s).tokens.size for s in range(4)} == {256}


def test_success_ends_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archsearch.training.SUCCESS_ACCURACY", 0.0)
    run = start(request())
    assert advance(run, 6) is RunOutcome.SOLVED
    assert run.step == 2
    assert len(run.curve) == 1


def test_what_is_not_finite_ends_a_run_and_spares_the_weights() -> None:
    run = start(request())
    advance(run, 2)
    with torch.no_grad():
        run.model.blocks[0].norm.weight[0] = torch.inf  # type: ignore[index, union-attr]
    before = weights(run)
    assert advance(run, 6) is RunOutcome.DIVERGED
    assert run.step == 2
    assert_equal(weights(run), before)


def test_scores_count_the_queries_that_were_asked_for() -> None:
    run = start(request(training={"test_queries": 101, "batch_tokens": 64}))
    for cell in score(run):
        assert 101 <= cell.queries < 101 + cell.pairs
        assert sum(b.queries for b in cell.by_distance) == cell.queries
        mean = sum(b.accuracy * b.queries for b in cell.by_distance) / cell.queries
        assert mean == pytest.approx(cell.accuracy)
        assert cell.log_probability < 0


def test_weights_are_refused_if_they_are_anothers(tmp_path: Path) -> None:
    run = start(request())
    path = tmp_path / "w.safetensors"
    save_weights(run.model, path)
    fresh = start(request(seed=RunSeed(campaign=9)))
    load_weights(fresh.model, path)
    assert_equal(weights(fresh), weights(run))
    for other in (design("short_conv", "attention", d_model=16), design("short_conv")):
        with pytest.raises(StoreError, match=str(path)):
            load_weights(start(request(other)).model, path)
    with pytest.raises(StoreError, match="cannot be read as weights"):
        load_weights(fresh.model, tmp_path / "none.safetensors")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(StoreError, match="cannot be read as weights"):
        load_weights(fresh.model, path)


def test_a_checkpoint_without_an_optimizer_is_no_checkpoint(tmp_path: Path) -> None:
    run = start(request())
    path = tmp_path / "w.safetensors"
    save(run, path, with_optimizer=False)
    with pytest.raises(StoreError, match="holds no state to go on from"):
        restore(request(), path)
    save_weights(run.model, path)
    with pytest.raises(StoreError, match=str(path)):
        restore(request(), path)


def test_a_run_goes_on_in_the_precision_that_it_began_in(tmp_path: Path) -> None:
    run, path = start(request()), tmp_path / "w.safetensors"
    train_step(run)
    save(run, path, with_optimizer=True)
    assert restore(request(), path).step == 1
    with pytest.raises(StoreError, match=r"products in torch\.float32.* them in torch\.bfloat16"):
        restore(request(training={"precision": "bfloat16"}), path)


def test_all_trials_are_validated_and_tested_on_the_same_sequences() -> None:
    """Otherwise a design could lead by having drawn the easier test."""
    from archsearch.tasks.base import Split
    from archsearch.training import _held_out

    runs = [start(request(seed=RunSeed(campaign=3, trial=t, run=r))) for t, r in ((0, 0), (7, 1))]
    cell = runs[0].task.cells[0]
    for split in (Split.VALIDATION, Split.TEST):
        one, other = (list(_held_out(run, cell, split, 64)) for run in runs)
        assert len(one) == len(other) > 0
        for mine, theirs in zip(one, other, strict=True):
            assert np.array_equal(mine.tokens, theirs.tokens)
    assert not np.array_equal(runs[0].data.batch(0).tokens, runs[1].data.batch(0).tokens)


SEQUENCE_CASES = [
    Component(name=name, options=options)
    for name in specs
    if specs.get(name).kind == "sequence"
    for options in contract.own_option_sets(name)
]


@pytest.mark.parametrize("component", SEQUENCE_CASES, ids=str)
def test_only_weight_matrices_decay(component: Component) -> None:
    model = build_model(design("short_conv", component, d_model=16), 8, 64)
    decaying, others = decay_groups(model)
    assert len(decaying) + len(others) == len(list(model.parameters()))
    assert not set(decaying) & set(others)
    names = {id(p): n for n, p in model.named_parameters()}
    declared = {f"blocks.1.sequence.{name}" for name in model.blocks[1].sequence.decaying}
    for parameter in decaying:
        name = names[id(parameter)]
        owner = model.get_submodule(name.rpartition(".")[0])
        assert name in declared or isinstance(owner, nn.Linear | nn.Embedding), name
        assert parameter.ndim >= 2
    # gates, taps, rates and positions start where they mean something: they are left there
    assert {names[id(p)] for p in others} >= {
        n for n, p in model.named_parameters() if n.endswith("bias") or p.ndim == 1
    }


def test_masked_matrices_and_linear_maps_decay_and_parallel_gates_do_not() -> None:
    masked = Component(name="masked_mixer", options={"expansion": 1})
    block = Block(sequence=masked, parallel=Component(name="attention"))
    model = build_model(Architecture(d_model=8, blocks=(block,)), 8, 16)
    found = {id(p) for p in decay_groups(model)[0]}
    decaying = {n for n, p in model.named_parameters() if id(p) in found}
    assert {n.rpartition(".")[2] for n in decaying} == {"weight", "hidden_weight"}
    assert not any("gates" in n for n in decaying)


def test_weights_go_with_the_run() -> None:
    run = start(request())
    advance(run, 2)
    model = weakref.ref(run.model)
    gc.disable()
    try:
        del run
        assert model() is None
    finally:
        gc.enable()

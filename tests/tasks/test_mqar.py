from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from archsearch.tasks import tasks
from archsearch.tasks.base import Batch, Split, cell_accuracy
from archsearch.tasks.mqar import Cell, MQARConfig, _distinct, _draw_slots

SMALL = Cell(length=64, pairs=4)


def task_of(*cells: Cell, **settings) -> MQARConfig:
    return MQARConfig(cells=cells, **settings)


def oracle(tokens: np.ndarray, positions: np.ndarray, pairs: int) -> np.ndarray:
    """Answers by looking each query up in a dictionary, from the tokens alone."""
    answers = np.empty_like(positions)
    for row, (sequence, asked) in enumerate(zip(tokens.tolist(), positions.tolist(), strict=True)):
        known = dict(zip(sequence[0 : 2 * pairs : 2], sequence[1 : 2 * pairs : 2], strict=True))
        answers[row] = [known[sequence[position]] for position in asked]
    return answers


def fingerprint(batch: Batch) -> str:
    return hashlib.sha256(
        b"".join(np.ascontiguousarray(part).tobytes() for part in batch)
    ).hexdigest()


def test_registered():
    assert tasks.names() == ("mqar",)
    assert tasks.get("mqar") is MQARConfig


def test_worked_example():
    cell = Cell(length=16, pairs=3)
    batch = task_of(cell, vocab_size=32, fillers="zero").batch(cell, Split.TRAIN, 0, 1, 0)
    # three pairs of a key in 1..15 and a value in 16..31, then five slots, the first three in use
    assert batch.tokens.tolist() == [[9, 16, 8, 28, 1, 19, 8, 0, 9, 0, 1, 0, 0, 0, 0, 0]]
    assert batch.query_positions.tolist() == [[6, 8, 10]]
    assert batch.answers.tolist() == [[28, 16, 19]]
    assert batch.key_distance.tolist() == [[6 - 2, 8 - 0, 10 - 4]]


@st.composite
def tasks_and_cells(draw):
    pairs = draw(st.integers(1, 20))
    length = 2 * draw(st.integers(2 * pairs, 2 * pairs + 60))
    power_a = draw(st.sampled_from([0.01, 0.5, 1.0, 2.0]))
    vocab_size = 2 * draw(st.integers(length // 2 + 1, length + 20000))
    cell = Cell(length=length, pairs=pairs, power_a=power_a)
    fillers = draw(st.sampled_from(["random", "zero"]))
    return task_of(cell, vocab_size=vocab_size, fillers=fillers), cell


@settings(deadline=None, derandomize=True, max_examples=80)
@given(tasks_and_cells(), st.sampled_from(list(Split)), st.integers(0, 2**40), st.integers(1, 9))
def test_rules_of_the_task(task_and_cell, split, index, size):
    task, cell = task_and_cell
    tokens, positions, answers, distance = task.batch(cell, split, index, size, seed=3)
    half, area = task.vocab_size // 2, 2 * cell.pairs
    assert tokens.shape == (size, cell.length)
    assert positions.shape == answers.shape == distance.shape == (size, cell.pairs)
    assert {a.dtype for a in (tokens, positions, answers, distance)} == {np.dtype(np.int64)}
    assert tokens.min() >= 0
    assert tokens.max() < task.vocab_size
    for row in range(size):
        keys, values = tokens[row, 0:area:2].tolist(), tokens[row, 1:area:2].tolist()
        assert len(set(keys)) == len(set(values)) == cell.pairs
        assert min(keys) >= 1
        assert max(keys) < half <= min(values)
        asked = tokens[row, positions[row]].tolist()
        assert sorted(asked) == sorted(keys)
        assert answers[row].tolist() == [values[keys.index(key)] for key in asked]
        assert distance[row].tolist() == [
            p - 2 * keys.index(key) for p, key in zip(positions[row].tolist(), asked, strict=True)
        ]
    assert (positions >= area).all()
    assert (positions % 2 == 0).all()
    assert (np.diff(positions, axis=1) > 0).all()
    if task.fillers == "zero":
        rest = tokens.copy()
        np.put_along_axis(rest, positions, 0, axis=1)
        assert not rest[:, area:].any()


def test_an_oracle_scores_one():
    for cell in (SMALL, Cell(length=512, pairs=64), Cell(length=256, pairs=64, power_a=1)):
        batch = task_of(cell).batch(cell, Split.TEST, 0, 200, seed=1)
        answers = oracle(batch.tokens, batch.query_positions, cell.pairs)
        assert cell_accuracy(answers == batch.answers) == 1.0


def test_guessers_reach_the_floor():
    task = task_of(SMALL, vocab_size=128)
    batch = task.batch(SMALL, Split.TEST, 0, 50_000, seed=1)
    rng = np.random.default_rng(0)
    any_token = rng.integers(128, size=batch.answers.shape)
    any_value = np.take_along_axis(
        batch.tokens, 1 + 2 * rng.integers(4, size=batch.answers.shape), axis=1
    )
    floor = task.floor(SMALL)
    assert floor == (1 / 128, 1 / 4)
    assert cell_accuracy(any_token == batch.answers) == pytest.approx(floor.token, rel=0.05)
    assert cell_accuracy(any_value == batch.answers) == pytest.approx(floor.context, rel=0.01)


def test_slots_follow_successive_draws():
    """Against numpy's own weighted choice without replacement, row by row."""
    for cell in (SMALL, Cell(length=40, pairs=9, power_a=0.5)):
        num_slots = cell.length // 2 - cell.pairs
        weights = np.arange(1, num_slots + 1) ** (cell.power_a - 1.0)
        rng = np.random.default_rng(0)
        naive = np.zeros(num_slots)
        for _ in range(10_000):
            naive[rng.choice(num_slots, cell.pairs, replace=False, p=weights / weights.sum())] += 1
        slots = _draw_slots(np.random.default_rng(1), 100_000, cell)
        used = np.bincount(slots.ravel(), minlength=num_slots) / 100_000
        # five standard deviations of the naive estimate
        np.testing.assert_allclose(used, naive / 10_000, atol=5 * 0.5 / 100)


def test_slot_frequencies_of_the_published_generator():
    batch = task_of(SMALL).batch(SMALL, Split.TRAIN, 0, 100_000, seed=0)
    used = np.bincount((batch.query_positions.ravel() - 8) // 2, minlength=28) / 100_000
    np.testing.assert_allclose(used[:3], [0.72, 0.47, 0.35], atol=0.01)
    assert used[-1] == pytest.approx(0.04, abs=0.01)


def test_every_pair_is_as_likely_to_be_asked_for_first():
    batch = task_of(SMALL).batch(SMALL, Split.TRAIN, 0, 100_000, seed=0)
    pair = (batch.query_positions - batch.key_distance) // 2
    for place in range(4):
        np.testing.assert_allclose(np.bincount(pair[:, place]) / 100_000, 0.25, atol=0.008)


def test_distinct_rows_are_equally_likely():
    """All 5 * 4 * 3 ordered rows, where nearly every draw collides somewhere."""
    rows = _distinct(np.random.default_rng(0), 60_000, 3, 5)
    counts = np.bincount(rows @ [25, 5, 1], minlength=125)
    possible = counts[counts > 0]
    assert possible.size == 60
    chi_squared = ((possible - 1000.0) ** 2 / 1000).sum()
    assert chi_squared < 98.3  # the 99.9 % quantile at 59 degrees of freedom


def test_keys_and_values_are_uniform():
    cell = Cell(length=256, pairs=64)
    batch = task_of(cell, vocab_size=260).batch(cell, Split.TRAIN, 0, 20_000, seed=0)
    keys = np.bincount(batch.tokens[:, 0:128:2].ravel(), minlength=260)
    values = np.bincount(batch.tokens[:, 1:128:2].ravel(), minlength=260)
    np.testing.assert_allclose(keys[1:130] / 20_000, 64 / 129, atol=0.02)
    np.testing.assert_allclose(values[130:] / 20_000, 64 / 130, atol=0.02)
    assert keys[0] == keys[130:].sum() == values[:130].sum() == 0


def test_random_fillers_are_any_token():
    cell = Cell(length=64, pairs=1)
    batch = task_of(cell, vocab_size=66).batch(cell, Split.TRAIN, 0, 20_000, seed=0)
    counts = np.bincount(batch.tokens[:, 3::2].ravel(), minlength=66)
    np.testing.assert_allclose(counts / counts.sum(), 1 / 66, rtol=0.1)


def test_wide_vocabulary():
    cell = Cell(length=2048, pairs=512, power_a=1)
    batch = task_of(cell, vocab_size=2**24).batch(cell, Split.TRAIN, 0, 2, seed=0)
    assert (oracle(batch.tokens, batch.query_positions, 512) == batch.answers).all()


def test_streams_differ():
    task = task_of(SMALL, Cell(length=64, pairs=8))
    prints = [
        fingerprint(task.batch(cell, split, index, 4, seed))
        for cell in (SMALL, Cell(length=64, pairs=8), Cell(length=64, pairs=4, power_a=1))
        for split in Split
        for index in (0, 1, 2**32, 2**32 + 1)
        for seed in (0, 1, 2**32, 2**200)
    ]
    assert len(set(prints)) == len(prints)


def test_splits_share_no_sequence():
    task = task_of(SMALL)
    seen = [
        {row.tobytes() for row in task.batch(SMALL, split, 0, 5000, 0).tokens} for split in Split
    ]
    assert len(set.union(*seen)) == 15_000


def test_pure_and_equal_in_another_process():
    task = task_of(SMALL)
    np.random.seed(0)  # noqa: NPY002 - the point is that the global state has no say
    here = fingerprint(task.batch(SMALL, Split.VALIDATION, 7, 33, seed=11))
    task.batch(SMALL, Split.TRAIN, 0, 5, seed=0)
    assert fingerprint(task.batch(SMALL, Split.VALIDATION, 7, 33, seed=11)) == here
    program = (
        "import sys, hashlib, numpy as np\n"
        "from archsearch.tasks import tasks\n"
        "from archsearch.tasks.base import Split\n"
        "task = tasks.get('mqar')(cells=[{'length': 64, 'pairs': 4}])\n"
        "batch = task.batch(task.cells[0], Split.VALIDATION, 7, 33, seed=11)\n"
        "data = b''.join(np.ascontiguousarray(p).tobytes() for p in batch)\n"
        "print(hashlib.sha256(data).hexdigest(), 'torch' in sys.modules)\n"
    )
    for hash_seed in ("1", "2"):
        out = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert out.stdout.split() == [here, "False"]


@pytest.mark.parametrize(
    ("settings", "where", "message"),
    [
        ({"cells": []}, "cells", "at least one cell; got none"),
        ({"cells": [SMALL], "test_cells": []}, "test_cells", "at least one cell; got none"),
        ({"cells": [SMALL, SMALL]}, "cells", "cells must differ; given more than once: (64,4)"),
        (
            {"cells": [{"length": 65, "pairs": 4}]},
            "cells.0",
            "length must be even (slots are two tokens wide); got 65",
        ),
        (
            {"cells": [{"length": 64, "pairs": 17}]},
            "cells.0",
            "4 * pairs must not exceed length (each pair needs two tokens, and a slot of two for"
            " its query); got pairs=17, length=64",
        ),
        ({"cells": [{"length": 64.0, "pairs": 4}]}, "cells.0.length", "valid integer"),
        ({"cells": [{"length": "64", "pairs": 4}]}, "cells.0.length", "valid integer"),
        ({"cells": [{"length": 64, "pairs": 0}]}, "cells.0.pairs", "greater than or equal to 1"),
        ({"cells": [{"length": 64}]}, "cells.0.pairs", "required"),
        ({"cells": [{"length": 64, "pairs": 4, "a": 1}]}, "cells.0.a", "not permitted"),
        ({"cells": [SMALL], "vocab": 8192}, "vocab", "not permitted"),
        ({"cells": [SMALL], "fillers": "none"}, "fillers", "'random' or 'zero'"),
        ({"cells": [SMALL], "vocab_size": True}, "vocab_size", "valid integer"),
        (
            {"cells": [{"length": 8, "pairs": 1}], "vocab_size": 9},
            "",
            "vocab_size must be even (half keys, half values); got 9",
        ),
        (
            {"cells": [SMALL], "test_cells": [Cell(length=128, pairs=4)], "vocab_size": 128},
            "",
            "vocab_size must exceed the longest cell; got vocab_size=128, length=128",
        ),
        *(
            ({"cells": [{"length": 64, "pairs": 4, "power_a": a}]}, "cells.0.power_a", message)
            for a, message in (
                (0, "greater than 0"),
                (-1.0, "greater than 0"),
                (float("nan"), "finite"),
                (float("inf"), "finite"),
            )
        ),
    ],
)
def test_bad_settings_are_refused(settings, where, message):
    with pytest.raises(ValidationError) as caught:
        MQARConfig(**settings)
    (problem,) = caught.value.errors()
    assert ".".join(str(part) for part in problem["loc"]) == where
    assert message in problem["msg"]


def test_settings_round_trip():
    task = task_of(SMALL, test_cells=[{"length": 2048, "pairs": 64, "power_a": 1}])
    assert MQARConfig.model_validate_json(task.model_dump_json()) == task
    assert MQARConfig(**task.model_dump(mode="json")) == task
    assert task.longest_test_length == 2048
    assert [str(cell) for cell in task.test_cells] == ["(2048,64,a=1)"]
    assert task_of(SMALL).test_cells == (SMALL,)
    assert MQARConfig(cells=[SMALL], test_cells=None).test_cells == (SMALL,)
    with pytest.raises(ValidationError, match="frozen"):
        task.vocab_size = 64


def test_bad_requests_are_refused():
    task = task_of(SMALL, vocab_size=66)
    with pytest.raises(ValueError, match=r"\(128,4\) is too long for vocab_size=66"):
        task.batch(Cell(length=128, pairs=4), Split.TRAIN, 0, 1, 0)
    for arguments in ((-1, 1, 0), (0, 1, -1), (0, -1, 0)):
        with pytest.raises(ValueError, match="negative"):
            task.batch(SMALL, Split.TRAIN, *arguments)

from __future__ import annotations

from archsearch.bench import verdict
from archsearch.bench._processes import Lost
from archsearch.protocol import TrainingConfig
from archsearch.tasks.mqar import Cell


def test_an_unsolved_design_is_reported_with_its_worst_cell() -> None:
    cells = (Cell(length=16, pairs=2), Cell(length=32, pairs=4))
    training = TrainingConfig(steps=3, batch_tokens=64, eval_every=2, validation_queries=32)
    (found,) = verdict.measure(["attention, d = 32"], cells=cells, training=training, seeds=2)
    assert (found.cells, found.seeds, found.solved) == ("2 cells to 32", 2, 0)
    assert found.seconds is None
    assert found.steps is None
    assert len(found.worst) == 2
    assert all(0 <= accuracy < 0.5 for accuracy in found.worst)
    assert found.failures == ()


def test_a_seed_that_did_not_solve_is_slower_than_any() -> None:
    answers = [
        verdict.Run(True, 30.0, 300, 0.996),
        verdict.Run(False, 20.0, 200, 0.7),
        verdict.Run(True, 40.0, 400, 0.997),
        Lost("the process ended"),
    ]
    cells = (Cell(length=64, pairs=4),)
    found = verdict._result("any", cells, 4, answers)
    # two of four are no more than half; two of three are
    assert (found.solved, found.seconds, found.steps) == (2, None, None)
    three = verdict._result("any", cells, 3, answers[:3])
    assert (three.seconds, three.steps) == (40.0, 400)
    assert found.worst == (0.7,)
    assert found.failures == ("the process ended",)
    # one of two is no median, none of none neither
    assert verdict._result("any", cells, 2, answers[:2]).seconds is None
    assert verdict._result("any", cells, 1, answers[3:]).steps is None

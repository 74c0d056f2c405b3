from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from archsearch.bench.protocol import (
    ProtocolRow,
    agreements,
    drawn,
    kendall_tau,
    mean_curve,
    read,
    score_ranges,
    study,
)
from archsearch.cli.bench import _protocol_figure
from archsearch.cli.bench._protocol_figure import (
    _draw_agreement,
    _draw_curves,
    _labels,
    plot_study,
)
from archsearch.errors import InputError, StoreError
from archsearch.protocol import TrainingConfig
from archsearch.space import load
from archsearch.tasks.mqar import Cell, MQARConfig
from tests.conftest import ROOT
from tests.helpers import design

SPACE = ROOT / "search_spaces" / "quickstart.yaml"
TASK = MQARConfig(vocab_size=64, cells=(Cell(length=16, pairs=2),))


def short(steps: int) -> TrainingConfig:
    return TrainingConfig(
        steps=steps, batch_tokens=64, eval_every=2, validation_queries=8, test_queries=8
    )


def row(digest: str, protocol: str, *accuracy: float, seed: int = 0, **other: Any) -> ProtocolRow:
    known: dict[str, Any] = {
        "design": digest, "digest": digest, "architecture": {}, "protocol": protocol,
        "training": {}, "task": {}, "seed": seed, "outcome": "finished", "step": 10,
        "accuracy": accuracy, "tokens": 1000, "seconds": 1.0, "curve": (), "versions": {},
    }  # fmt: skip
    return ProtocolRow(**{**known, **other})


def test_tau_by_hand() -> None:
    assert kendall_tau([0.1, 0.5, 0.9], [0.2, 0.3, 0.4]) == 1.0
    assert kendall_tau([0.1, 0.5, 0.9], [0.4, 0.3, 0.2]) == -1.0
    # one of three pairs is tied on one side, the other two agree: 2 / sqrt(2 * 3)
    assert kendall_tau([0.1, 0.5, 0.52], [0.1, 0.5, 0.9]) == pytest.approx(2 / 6**0.5)
    assert kendall_tau([0.1, 0.11, 0.12], [0.1, 0.5, 0.9]) is None
    assert kendall_tau([0.3], [0.4]) is None


scores = st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), min_size=2, max_size=12)


@given(scores)
def test_tau_is_symmetric_and_bounded(pairs: list[tuple[int, int]]) -> None:
    a, b = ([p[i] / 100 for p in pairs] for i in (0, 1))
    found = kendall_tau(a, b)
    assert found == kendall_tau(b, a)
    assert found is None or -1 - 1e-12 <= found <= 1 + 1e-12
    with_itself = kendall_tau(a, a)
    assert with_itself is None or with_itself == pytest.approx(1)


def test_a_protocol_is_held_against_the_reference() -> None:
    rows = [
        row("a", "long", 1.0, 0.995), row("b", "long", 0.99, 0.99), row("c", "long", 0.5, 0.3),
        row("a", "fast", 0.99, 0.999, tokens=400, seconds=4.0), row("b", "fast", 0.99, 0.98),
        row("c", "fast", 0.4, 0.2), row("a", "fast", 1.0, 1.0, seed=1, tokens=600, seconds=8.0),
        row("b", "fast", 0.99, 0.97, seed=1), row("c", "fast", 0.99, 0.99, seed=1),
        row("d", "fast", 0.1, 0.1), row("c", "fast", seed=2, outcome="failed"),
    ]  # fmt: skip
    fast, long_run = sorted(agreements(rows, "long"), key=lambda a: a.protocol)
    assert (long_run.designs, long_run.runs, long_run.solved) == (3, 3, 2)
    assert long_run.tau == 1.0
    assert long_run.own_tau is None
    assert long_run.missed == ()
    # d, which the reference did not try, counts nowhere
    assert (fast.designs, fast.runs, fast.solved) == (3, 6, 3)
    assert fast.tokens == pytest.approx(((400 + 600) / 2 + 1000 + 1000) / 3)
    assert fast.seconds == pytest.approx(((4 + 8) / 2 + 1 + 1) / 3)
    # a and b tie on both sides, both stand before c
    assert fast.tau == pytest.approx(1.0)
    # the first seed: a = b > c; the second: all tied, so it says nothing
    assert fast.own_tau is None
    assert fast.missed == ("b",)


def test_rankings_by_different_seeds() -> None:
    scores = {
        ("fast", 0): (0.9, 0.5, 0.1), ("fast", 1): (0.5, 0.9, 0.1),
        ("long", 0): (0.9, 0.5, 0.1), ("long", 1): (0.5, 0.1, 0.9),
    }  # fmt: skip
    rows = [
        row(digest, protocol, score, seed=seed)
        for (protocol, seed), found in scores.items()
        for digest, score in zip("abc", found, strict=True)
    ]
    fast, long_run = agreements(rows, "long")
    # one of three pairs stands the other way round
    assert fast.own_tau == pytest.approx(1 / 3)
    # two of three
    assert long_run.own_tau == pytest.approx(-1 / 3)
    # 1/3 of the second seed here with the first there, -1/3 of the first here with the second there
    assert fast.cross_tau == pytest.approx(0)
    assert long_run.cross_tau == long_run.own_tau
    # a seed that not every design was tried with ranks nothing
    fast, _ = agreements([r for r in rows if r.key != ("b", "fast", 1)], "long")
    assert fast.own_tau is None
    assert fast.cross_tau == pytest.approx(-1 / 3)


def test_a_file_of_other_settings_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    designs = [design("short_conv", d_model=8)]
    list(study(designs, {"fast": short(2)}, TASK, path))
    with pytest.raises(InputError, match="holds runs with other settings for 'fast'"):
        list(study(designs, {"fast": short(3)}, TASK, path))
    other = MQARConfig(vocab_size=64, cells=(Cell(length=32, pairs=2),))
    with pytest.raises(InputError, match="holds runs with another task"):
        list(study(designs, {"fast": short(2)}, other, path))
    assert len(list(study(designs, {"other": short(3)}, TASK, path))) == 1
    path.write_bytes(b"\x89PNG")
    with pytest.raises(StoreError, match="is no text"):
        list(study(designs, {"fast": short(2)}, TASK, path))
    path.write_text("name: no study, and no end of the line")
    with pytest.raises(StoreError, match="is no study"):
        list(study(designs, {"fast": short(2)}, TASK, path))
    assert path.read_text().startswith("name")


def test_a_run_that_diverged_scores_nothing() -> None:
    assert row("a", "p", outcome="diverged").score == 0.0
    assert not row("a", "p", outcome="diverged").solved
    # the mean over the cells, none counted beyond the success threshold
    assert row("a", "p", 1.0, 0.5).score == pytest.approx((0.995 + 0.5) / 2)


def test_scores_of_the_seeds_and_their_ends() -> None:
    rows = [row("a", "p", 0.5), row("a", "p", 0.9, seed=1), row("b", "p", 0.25)]
    found = score_ranges([*rows, row("b", "p", seed=1, outcome="failed")])
    assert found == {"a": (pytest.approx(0.7), 0.5, 0.9), "b": (0.25, 0.25, 0.25)}


def test_a_run_that_has_ended_keeps_its_accuracy() -> None:
    settings = {"batch_tokens": 100}
    rows = [
        row("a", "p", 1.0, training=settings, curve=((2, 0.1, 0.2), (4, 0.9, 1.0))),
        row("b", "p", 0.6, training=settings, curve=((2, 0.0, 0.1), (4, 0.1, 0.2), (6, 0.4, 0.6))),
        row("c", "p", outcome="failed"),
    ]
    assert mean_curve(rows) == [
        (200, pytest.approx(0.15)), (400, pytest.approx(0.6)), (600, pytest.approx(0.8)),
    ]  # fmt: skip
    assert mean_curve([rows[2]]) == []
    # designs count alike, however many seeds they had; what diverged has nothing
    more = row("a", "p", 1.0, training=settings, seed=1, curve=rows[0].curve)
    assert mean_curve([*rows, more]) == mean_curve(rows)
    gone = row("b", "p", training=settings, outcome="diverged", curve=rows[1].curve)
    assert mean_curve([rows[0], gone]) == [(200, pytest.approx(0.1)), (400, pytest.approx(0.5))]


def _some_study() -> list[ProtocolRow]:
    curve = {"fast": ((5, 0.1, 0.3), (10, 0.2, 0.5)), "long": ((10, 0.2, 0.5), (40, 0.5, 0.7))}
    return [
        row(
            digest,
            name,
            score,
            seed=seed,
            curve=curve[name],
            training={"batch_tokens": 10, "steps": curve[name][-1][0]},
        )
        for name in curve
        for seed in (0, 1)
        for digest, score in (("a", 0.3 + 0.1 * seed), ("b", 0.9))
    ]


def test_the_figure_shows_each_design_where_its_scores_are(tmp_path: Path) -> None:
    rows = _some_study()
    by_protocol = {name: [r for r in rows if r.protocol == name] for name in ("fast", "long")}
    styles = {"fast": ("red", "o"), "long": ("blue", "s")}
    left, right = Figure().subplots(1, 2)
    _draw_curves(left, by_protocol, styles)
    assert [line.get_label() for line in left.lines] == ["fast", "long"]
    assert [list(line.get_xdata()) for line in left.lines] == [[50, 100], [100, 400]]
    _draw_agreement(right, by_protocol, "long", styles)
    (bars,) = right.containers
    points = bars.lines[0]
    assert list(points.get_xdata()) == list(points.get_ydata()) == [pytest.approx(0.35), 0.9]
    for suffix, magic in ((".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")):
        path = tmp_path / f"study{suffix}"
        plot_study(rows, "long", path)
        assert path.read_bytes().startswith(magic)
    assert _labels(rows) == {"fast": "10 steps of 10 tokens", "long": "40 steps of 10 tokens"}
    same = [*rows, row("a", "third", training={"batch_tokens": 10, "steps": 10})]
    assert _labels(same) == {name: name for name in ("fast", "long", "third")}
    # a protocol that was tried on few designs leaves the others' curves as they are
    drawn_curves = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            _protocol_figure, "_draw_curves", lambda _, found, __: drawn_curves.append(found)
        )
        few = row("a", "few", 0.5, training={"batch_tokens": 10, "steps": 7})
        plot_study([*rows, few], "long", path)
    assert [set(found) for found in drawn_curves] == [set(_labels(rows).values())]
    assert all(len({r.digest for r in found}) == 2 for found in drawn_curves[0].values())
    # neither failed runs nor a reference without runs are a reason to fail
    plot_study([row("a", "fast", outcome="failed")], "long", path)
    plot_study(rows, "other", path)


def test_designs_are_drawn_once_and_none_of_another_study() -> None:
    file = load(SPACE)
    first = drawn(file, 6, seed=3)
    assert first == drawn(file, 6, seed=3)
    assert first != drawn(file, 6, seed=4)
    digests = [d.digest for d in first]
    assert len(set(digests)) == 6
    assert all(file.space.contains(d) for d in first)
    others = {d.digest for d in drawn(file, 6, seed=3, exclude=digests)}
    assert not others & set(digests)
    # a space that is used up ends the draws
    everything = drawn(file, 10_000, seed=0)
    assert 6 < len(everything) < 1000


def test_a_study_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "rows.jsonl"
    designs = [design("short_conv", "attention", d_model=8)]
    protocols = {"fast": short(2), "long": short(4)}
    found = []
    for result in study(designs, protocols, TASK, path, seeds=2):
        found.append(result)
        if len(found) == 3:
            break
    path.write_text(path.read_text() + '{"torn')
    found += study(designs, protocols, TASK, path, seeds=2)
    assert read(path) == found
    assert {r.key for r in found} == {
        (d.digest, p, s) for d, p, s in itertools.product(designs, protocols, (0, 1)) for d in [d]
    }
    for result in found:
        assert result.outcome == "finished"
        assert result.step == protocols[result.protocol].steps
        assert result.tokens == 64 * result.step
        assert len(result.accuracy) == len(TASK.cells)
        assert [point[0] for point in result.curve] == list(range(2, result.step + 1, 2))
    assert list(study(designs, protocols, TASK, path, seeds=2)) == []
    path.write_text('{"design": 1}\n')
    with pytest.raises(StoreError, match=r"rows\.jsonl:1: not a result of this study"):
        read(path)


def test_variants_are_checked_all_at_once() -> None:
    from archsearch.cli.bench.protocol import OWN, _protocols

    base = short(4)
    found = _protocols(base, ["steps=8 learning_rate=1e-2", "precision=float32"])
    assert list(found) == [OWN, "steps=8 learning_rate=1e-2", "precision=float32"]
    assert found["steps=8 learning_rate=1e-2"] == base.model_copy(
        update={"steps": 8, "learning_rate": 0.01}
    )
    with pytest.raises(InputError) as caught:
        _protocols(base, ["step=8", "steps=0", "steps=x"])
    assert len(caught.value.problems) == 3
    assert "unknown setting 'step'; did you mean 'steps'?" in caught.value.problems[0]
    assert "steps: " in caught.value.problems[1]

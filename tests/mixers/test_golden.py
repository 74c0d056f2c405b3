"""Prices worked out by hand from the published formulas, in MFLOP at width 64."""

from __future__ import annotations

from typing import Any

import pytest

from archsearch.architecture import Component
from archsearch.canonical import spec_of

GOLDEN = [
    ("attention", {}, "flops_useful", (2.630, 16.810, 167.903)),
    ("attention", {}, "flops_executed", (3.146, 18.874, 176.161)),
    ("sliding_window", {"window": 16}, "flops_useful", (2.329, 9.406, 37.718)),
    ("sliding_window", {"window": 16}, "flops_executed", (2.621, 10.486, 41.943)),
    ("learned_selection", {"cap": "sqrt"}, "flops_useful", (1.319, 5.538, 25.821)),
    ("base_conv", {"kernel_size": 3}, "flops_useful", (0.549, 2.195, 8.782)),
    ("base_conv", {"kernel_size": "long"}, "flops_useful", (0.836, 3.670, 15.991)),
    ("based", {"feature_dim": 8}, "flops_useful", (2.810, 11.239, 44.958)),
    ("based", {"feature_dim": 16}, "flops_useful", (5.595, 22.381, 89.522)),
    ("swiglu", {}, "flops_useful", (4.178, 16.712, 66.847)),
]


@pytest.mark.parametrize(("name", "options", "which", "expected"), GOLDEN)
def test_price(name: str, options: dict[str, Any], which: str, expected: tuple[float, ...]) -> None:
    spec = spec_of(Component(name=name, options=options))
    priced = [getattr(spec.cost(64, n), which) / 1e6 for n in (64, 256, 1024)]
    assert priced == pytest.approx(expected, abs=5.1e-4)


PARAMETERS = [
    ("attention", {}, 16_384),
    ("base_conv", {"kernel_size": 3}, 4_416),
    ("base_conv", {"kernel_size": "long"}, 5_312),
    ("based", {"feature_dim": 16}, 10_240),
    ("mlp", {}, 33_088),
]


@pytest.mark.parametrize(("name", "options", "expected"), PARAMETERS)
def test_parameters(name: str, options: dict[str, Any], expected: int) -> None:
    assert spec_of(Component(name=name, options=options)).cost(64, 64).params == expected


STATE = [
    ("attention", {}, 2 * 1024 * 64),
    ("sliding_window", {"window": 16}, 2 * 16 * 64),
    ("sliding_window", {"window": 5000}, 2 * 1024 * 64),
    ("dilated_window", {"window": 16, "dilation": 4}, 2 * 61 * 64),
    ("learned_selection", {}, 2 * 1024 * 64),
    ("base_conv", {"kernel_size": 3}, 2 * 64),
    ("base_conv", {"kernel_size": "long"}, 1024 * 64),
    ("based", {"feature_dim": 16}, 9_945),
    ("mlp", {}, 0),
]


@pytest.mark.parametrize(("name", "options", "expected"), STATE)
def test_state(name: str, options: dict[str, Any], expected: int) -> None:
    assert spec_of(Component(name=name, options=options)).cost(64, 1024).state_floats == expected

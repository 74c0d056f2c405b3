"""Gaussian process regression (Rasmussen, Williams 2006, ch. 2 and 5) on few points.

The kernel is Matern's with nu = 3/2 under one length for all coordinates; length and noise are the
likeliest of a grid, mean and variance follow in closed form.
"""

from __future__ import annotations

from itertools import product
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

Floats = NDArray[np.float64]

LENGTHS: Final = (3.0, 6.0, 12.0, 24.0)
NOISES: Final = (0.1, 0.2, 0.4)
"""Standard deviations, as shares of the process's own."""
_LEAST_VARIANCE: Final = 1e-4


class Kernel(NamedTuple):
    """What is fitted.

    Attributes:
        length: Over which values change.
        noise: Standard deviation of an observation, as a share of the process's own.
        mean: Of the process, everywhere.
        variance: Of the process.
    """

    length: float
    noise: float
    mean: float
    variance: float


def likeliest(x: Floats, y: Floats) -> Kernel:
    """The kernel of greatest likelihood.

    Args:
        x: (n, features), n at least 1.
        y: (n,).
    """
    distances = _distances(x, x)
    found, best = None, -np.inf
    for length, noise in product(LENGTHS, NOISES):
        lower = _factor(distances, length, noise)
        white = _solved(lower, np.column_stack([np.ones_like(y), y]))
        mean = float(white[:, 0] @ white[:, 1] / (white[:, 0] @ white[:, 0]))
        rest = white[:, 1] - mean * white[:, 0]
        variance = max(float(rest @ rest) / len(y), _LEAST_VARIANCE)
        likelihood = -len(y) / 2 * np.log(variance) - np.log(np.diag(lower)).sum()
        if likelihood > best:
            found, best = Kernel(length, noise, mean, variance), likelihood
    assert found is not None
    return found


def posterior(kernel: Kernel, x: Floats, y: Floats, at: Floats) -> tuple[Floats, Floats]:
    """What is to be expected elsewhere.

    Args:
        kernel: Of the process.
        x: (n, features), of the observations.
        y: (n,).
        at: (m, features).

    Returns:
        Mean and standard deviation of the process, without noise, (m,) each.
    """
    lower = _factor(_distances(x, x), kernel.length, kernel.noise)
    across = _solved(lower, _correlation(_distances(x, at), kernel.length))
    mean = kernel.mean + across.T @ _solved(lower, y - kernel.mean)
    left = np.maximum(1 - (across**2).sum(axis=0), 0.0)
    return mean, np.sqrt(kernel.variance * left)


def _factor(distances: Floats, length: float, noise: float) -> Floats:
    """Lower triangular factor of the observations' covariance, of unit process variance."""
    covariance = _correlation(distances, length)
    covariance[np.diag_indices_from(covariance)] += noise**2
    return np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)


def _solved(lower: Floats, right: Floats) -> Floats:
    found: Floats = solve_triangular(lower, right, lower=True, check_finite=False)
    return found


def _correlation(distances: Floats, length: float) -> Floats:
    scaled = np.sqrt(3) / length * distances
    found: Floats = (1 + scaled) * np.exp(-scaled)
    return found


def _distances(a: Floats, b: Floats) -> Floats:
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    found: Floats = np.sqrt(np.maximum(squares, 0.0))
    return found

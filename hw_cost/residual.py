"""What a sum of quantities leaves unexplained, learned as a smooth function of the logarithms of sizes.

A Gaussian process (Rasmussen & Williams 2006, eq. 2.25) with one length for each feature. Lengths and noise are chosen
by the error on each point when it is left out, which comes in closed form (eq. 5.12), coordinate by coordinate. Far
from all points the residual is 0, so that what extrapolates is the physical sum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

STEPS = (0.5, 2.0)
"""Factors by which a length is tried to change."""
SWEEPS = 3
NOISES = (0.01, 0.03, 0.1, 0.3, 1.0)
"""Variances of the noise as shares of the residual's."""
FIRST_LENGTH = 4.0
"""In standard deviations of a feature."""


@dataclass(frozen=True)
class Residual:
    """A function of features, fitted to values with mean about 0."""

    points: np.ndarray
    """Features in units of their lengths, ``(n, d)``."""
    centers: np.ndarray
    lengths: np.ndarray
    """Of each feature, in its own unit, ``(d,)``."""
    weights: np.ndarray
    """Of the points, ``(n,)``."""
    left_out: np.ndarray
    """Error on each point when it is left out of the fit, ``(n,)``."""

    @classmethod
    def fit(cls, features: np.ndarray, values: np.ndarray) -> Residual:
        """Choose lengths and noise and fit.

        **Shape**
        - features: ``(n, d)``, values: ``(n,)``
        """
        centers = features.mean(axis=0)
        scales = np.maximum(features.std(axis=0), 1e-9)
        standard = (features - centers) / scales
        lengths, noise = _choose(standard, values)
        points = standard / lengths
        weights, errors = _solve(points, values, noise)
        return cls(points, centers, scales * lengths, weights, errors)

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Return the residual of ``(m, d)`` features, ``(m,)``."""
        result: np.ndarray = _kernel((features - self.centers) / self.lengths, self.points) @ self.weights
        return result


def _choose(standard: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, float]:
    """Return lengths and noise of the least error on left-out points."""
    lengths, noise = np.full(standard.shape[1], FIRST_LENGTH), NOISES[2]
    best = _score(standard / lengths, values, noise)
    for _ in range(SWEEPS):
        before = best
        for candidate in NOISES:
            if (score := _score(standard / lengths, values, candidate)) < best:
                best, noise = score, candidate
        for axis in range(len(lengths)):
            for step in STEPS:
                tried = lengths.copy()
                tried[axis] *= step
                while (score := _score(standard / tried, values, noise)) < best and 0.05 < tried[axis] < 200:
                    best, lengths = score, tried.copy()
                    tried[axis] *= step
        if best > 0.995 * before:
            break
    return lengths, noise


def _score(points: np.ndarray, values: np.ndarray, noise: float) -> float:
    """Root mean square of the error on left-out points."""
    return float(np.sqrt(np.mean(np.square(_solve(points, values, noise)[1]))))


def _solve(points: np.ndarray, values: np.ndarray, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights of the points and the errors on them when they are left out."""
    factor = cho_factor(_kernel(points, points) + noise * np.eye(len(points)), lower=True)
    inverse = cho_solve(factor, np.eye(len(points)))
    weights = inverse @ values
    return weights, weights / np.diag(inverse)


def _kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Matern covariance of smoothness 3/2 with unit variance (Rasmussen & Williams 2006, eq. 4.17)."""
    squares = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1)[None] - 2 * a @ b.T
    distance = np.sqrt(3 * np.maximum(squares, 0.0))
    result: np.ndarray = (1 + distance) * np.exp(-distance)
    return result

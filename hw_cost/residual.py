"""What a sum of quantities leaves unexplained, learned as a smooth function of the logarithms of sizes.

A Gaussian process (Rasmussen & Williams 2006, eq. 2.25) with one length for each feature. Lengths, variance and noise
are those of the greatest marginal likelihood (eq. 5.8), under a broad prior of the lengths. Far from all points the
residual is 0, so that what extrapolates is the physical sum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

FIRST_LENGTH, LENGTH_SPREAD = 4.0, 1.5
"""Prior of a length, in standard deviations of a feature: its median, and the spread of its logarithm."""
FIRST_NOISE = 0.1
"""Variance of the noise relative to that of the values, where the search begins."""
LEAST_NOISE = 1e-4
LEAST_SCALE = 1e-6
OUTLIER = 3.0
"""Left-out errors above so many times their scale count less (Huber 1964, p. 74)."""
ROUNDS = 60


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
    def fit_robustly(cls, features: np.ndarray, values: np.ndarray) -> Residual:
        """Fit, and once more with less trust in values that the others foretell badly; shapes as of `fit`."""
        sizes = np.abs(cls.fit(features, values).left_out)
        usual = OUTLIER * 1.4826 * float(np.median(sizes))
        return cls.fit(features, values, np.minimum(1.0, usual / np.maximum(sizes, 1e-9)))

    @classmethod
    def fit(cls, features: np.ndarray, values: np.ndarray, trust: np.ndarray | None = None) -> Residual:
        """Choose lengths, variance and noise and fit.

        **Shape**
        - features: ``(n, d)``, values: ``(n,)``; trust in (0, 1], by which the noise of each value is divided: ``(n,)``
        """
        trust = np.ones(len(values)) if trust is None else trust
        centers = features.mean(axis=0)
        scales = features.std(axis=0)
        scales[scales < LEAST_SCALE] = 1.0  # a feature that never varied tells nothing, and another value of it little
        standard, unit = (features - centers) / scales, max(float(np.sqrt(np.mean(np.square(values)))), 1e-9)
        start = np.array([math.log(FIRST_LENGTH)] * features.shape[1] + [0.0, math.log(FIRST_NOISE)])
        bounds = [(-3.0, 6.0)] * features.shape[1] + [(-7.0, 7.0), (math.log(LEAST_NOISE), 1.0)]
        arguments, options = (standard, values / unit, trust), {"maxiter": ROUNDS}
        found = minimize(_surprise, start, arguments, "L-BFGS-B", jac=True, bounds=bounds, options=options).x
        lengths, (variance, noise) = np.exp(found[:-2]), np.exp(found[-2:])
        points = standard / lengths
        factor = cho_factor(variance * covariance(points, points) + np.diag(noise / trust), lower=True)
        solved = cho_solve(factor, np.column_stack([values, np.eye(len(points))]))
        left_out = solved[:, 0] / np.diag(solved[:, 1:])  # eq. 5.12
        return cls(points, centers, scales * lengths, variance * solved[:, 0], left_out)

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Return the residual of ``(m, d)`` features, ``(m,)``."""
        result: np.ndarray = covariance((features - self.centers) / self.lengths, self.points) @ self.weights
        return result


def _surprise(
    logs: np.ndarray, features: np.ndarray, values: np.ndarray, trust: np.ndarray
) -> tuple[float, np.ndarray]:
    """Return the negative logarithm of the posterior of lengths, variance and noise, and its gradient (eq. 5.9)."""
    points, (variance, noise) = features / np.exp(logs[:-2]), np.exp(logs[-2:])
    kernel, slope = variance * covariance(points, points), 3 * variance * np.exp(-_distances(points, points))
    factor = cho_factor(kernel + np.diag(noise / trust), lower=True)
    inverse = cho_solve(factor, np.eye(len(points)))
    weights = inverse @ values
    pull = (logs[:-2] - math.log(FIRST_LENGTH)) / LENGTH_SPREAD
    surprise = 0.5 * float(values @ weights) + float(np.log(np.diag(factor[0])).sum()) + 0.5 * float(pull @ pull)
    inner = np.outer(weights, weights) - inverse
    bent = inner * slope
    by_length = bent.sum(axis=1) @ np.square(points) - np.einsum("nd,nd->d", points, bent @ points)
    gradient = -np.concatenate(
        [by_length, [0.5 * np.sum(inner * kernel), 0.5 * noise * float(np.diag(inner) @ (1 / trust))]]
    )
    gradient[:-2] += pull / LENGTH_SPREAD
    return surprise, gradient


def covariance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Matern covariance of smoothness 3/2 with unit variance (Rasmussen & Williams 2006, eq. 4.17)."""
    distance = _distances(a, b)
    result: np.ndarray = (1 + distance) * np.exp(-distance)
    return result


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Euclidean distances times the root of 3."""
    squares = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1)[None] - 2 * a @ b.T
    result: np.ndarray = np.sqrt(3 * np.maximum(squares, 0.0))
    return result

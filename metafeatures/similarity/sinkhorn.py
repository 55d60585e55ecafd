"""Entropic optimal transport between uniform point sets, for more points than an exact plan can be found for."""

from __future__ import annotations

import logging

import numpy as np

from metafeatures.columns import FloatArray

MAX_ITERATIONS = 1000
RELAXATION = 1.7
"""Exponent of the updates: above 1 they overshoot, which takes a fraction of the iterations (Thibault et al. 2021)."""
TOLERANCE = 1e-5
"""Largest total deviation of the plan's row sums; the cost is then right to about its square."""
LARGEST = 1e50
"""Scalings above this, or below its inverse, are moved into the potentials, lest they overflow."""

logger = logging.getLogger(__name__)


def sinkhorn_divergence(between: FloatArray, source: FloatArray, target: FloatArray, *, epsilon: float) -> float:
    """Debiased entropic transport cost: 0 between equal point sets, the exact cost as ``epsilon`` falls to 0.

    S = OT(a, b) - (OT(a, a) + OT(b, b)) / 2 (Genevay, Peyré & Cuturi 2018; Feydy et al. 2019).

    Args:
        between: cost of each source point and target point, ``(n, m)``.
        source: costs within the source, ``(n, n)``.
        target: costs within the target, ``(m, m)``.
        epsilon: strength of the entropy, in the unit of the costs.
    """
    own = entropic_self_cost(source, epsilon=epsilon) + entropic_self_cost(target, epsilon=epsilon)
    return max(entropic_cost(between, epsilon=epsilon) - own / 2, 0.0)


def entropic_cost(costs: FloatArray, *, epsilon: float) -> float:
    """min_π ⟨π, C⟩ + ε KL(π | uniform) over plans between uniform sets, by Sinkhorn's scaling (Cuturi 2013).

    The plan is u_i exp((f_i + g_j - C_ij) / ε) v_j / (n m); the cost at the optimum is mean(f + ε log u) +
    mean(g + ε log v).

    >>> round(entropic_cost(np.array([[0.0, 9.0], [9.0, 0.0]]), epsilon=0.01), 4)  # exact cost 0, entropy ε log 2
    0.0069
    """
    n, m = costs.shape
    f = costs.min(axis=1)
    g = (costs - f[:, None]).min(axis=0)  # now every row and column of the kernel holds a 1
    kernel, u, v = _kernel(costs, f, g, epsilon), np.ones(n), np.ones(m)
    row_means = kernel.mean(axis=1)
    for _ in range(MAX_ITERATIONS):
        u = u ** (1 - RELAXATION) * row_means**-RELAXATION
        v = v ** (1 - RELAXATION) * (u @ kernel / n) ** -RELAXATION
        row_means = kernel @ v / m
        if np.abs(u * row_means - 1).mean() < TOLERANCE:
            break
        if max(u.max(), v.max(), 1 / u.min(), 1 / v.min()) > LARGEST:
            f, g = f + epsilon * np.log(u), g + epsilon * np.log(v)
            kernel, u, v = _kernel(costs, f, g, epsilon), np.ones(n), np.ones(m)
            row_means = kernel.mean(axis=1)
    else:
        logger.info("entropic transport has not converged after %d iterations", MAX_ITERATIONS)
    excess = np.mean(u * row_means) - 1  # mass of the plan above 1: with it, errors of the potentials count squared
    return float(np.mean(f + epsilon * np.log(u)) + np.mean(g + epsilon * np.log(v)) - epsilon * excess)


def entropic_self_cost(costs: FloatArray, *, epsilon: float) -> float:
    """`entropic_cost` of a set to itself, whose potentials are equal: a few geometric means of two iterates find them.

    >>> round(entropic_self_cost(np.array([[0.0, 9.0], [9.0, 0.0]]), epsilon=0.01), 4)
    0.0069
    """
    n = len(costs)
    kernel, u = np.exp(-costs / epsilon), np.ones(n)
    row_means = kernel.mean(axis=1)
    for _ in range(MAX_ITERATIONS):
        u = np.sqrt(u / row_means)
        row_means = kernel @ u / n
        if np.abs(u * row_means - 1).mean() < TOLERANCE:
            break
    return float(epsilon * (2 * np.mean(np.log(u)) - np.mean(u * row_means) + 1))


def _kernel(costs: FloatArray, f: FloatArray, g: FloatArray, epsilon: float) -> FloatArray:
    return np.asarray(np.exp((f[:, None] + g - costs) / epsilon))

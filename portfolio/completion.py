"""Holes of the matrix of errors filled by a Bayesian factor model."""

from __future__ import annotations

import numpy as np

from portfolio.table import Floats

RANK = 8
SWEEPS = 12
PRIOR = 1.0
"""Precision of a configuration's factors around what its hyperparameters predict, in units of 1/noise."""


def complete(scaled: Floats, encoding: Floats) -> tuple[Floats, Floats]:
    """Fill the nan of a tasks × configurations matrix.

    Probabilistic PCA with holes (Tipping & Bishop 1999; Ilin & Raiko 2010, sec. 4) by EM: ``x_tj = v_j·(1, u_t)``
    with noise of variance σ², ``u_t ~ N(0, I)`` and ``v_j ~ N(Ω φ_j, σ² I)``, where φ_j are the encoded
    hyperparameters and Ω is re-estimated in each sweep. A configuration seen on one task only, or on none, is
    thus predicted from those that resemble it.

    Args:
        scaled: Errors on a common scale, shape ``(t, c)``, nan = hole.
        encoding: Encoded hyperparameters, shape ``(c, d)``; d may be 0.

    Returns:
        The matrix without holes, known values untouched, shape ``(t, c)``, and for each configuration the variance of
        an imputed value, shape ``(c,)``; zeros if there were no holes.
    """
    known = np.isfinite(scaled)
    if known.all():
        return scaled.copy(), np.zeros(scaled.shape[1])
    rank = min(RANK, *scaled.shape)
    values, mask = np.where(known, scaled, 0.0), known.astype(float)
    design = np.column_stack([np.ones(len(encoding)), encoding])
    factors = _start(values, mask, rank)
    variance = np.zeros((len(scaled), rank + 1, rank + 1))
    noise = max(float(values[known].var()), 1e-6)
    loadings, centre = np.zeros((scaled.shape[1], rank + 1)), np.zeros((scaled.shape[1], rank + 1))
    for _ in range(SWEEPS):
        loadings, spread = _loadings(values, mask, factors, variance, centre)
        centre = design @ _ridge(design, loadings, mask.sum(axis=0))
        factors, variance = _factors(values, mask, loadings, spread, noise)
        error = values - (factors @ loadings.T) * mask
        noise = max(float((error**2).sum() / mask.sum()), 1e-6)
    filled = np.where(known, scaled, factors @ loadings.T)
    second = (factors.T @ factors + variance.sum(axis=0)) / len(factors)
    return filled, noise * np.einsum("crs,rs->c", spread, second)


def _start(values: Floats, mask: Floats, rank: int) -> Floats:
    """Return first factors ``(t, 1 + rank)``: constant 1 and leading left singular vectors of the known residuals."""
    mean = values.sum(axis=0) / (mask.sum(axis=0) + 1.0)
    residual = (values - mean) * mask
    if len(residual) <= residual.shape[1]:
        left = np.linalg.eigh(residual @ residual.T)[1][:, ::-1][:, :rank]
    else:  # many tasks: a square of them would not fit into memory
        squares, right = np.linalg.eigh(residual.T @ residual)
        left = residual @ right[:, ::-1][:, :rank] / np.sqrt(np.maximum(squares[::-1][:rank], 1e-12))
    return np.column_stack([np.ones(len(values)), left * np.sqrt(len(values))])


def _loadings(values: Floats, mask: Floats, factors: Floats, variance: Floats, centre: Floats) -> tuple[Floats, Floats]:
    """Return posterior means ``(c, k)`` of the configurations' factors and their covariances ``(c, k, k)`` over σ²."""
    k = factors.shape[1]
    second = factors[:, :, None] * factors[:, None, :] + variance
    precision = (mask.T @ second.reshape(len(second), -1)).reshape(-1, k, k) + PRIOR * np.eye(k)
    spread = np.asarray(np.linalg.inv(precision), dtype=float)
    right = values.T @ factors + PRIOR * centre
    return np.asarray(np.einsum("crs,cs->cr", spread, right)), spread


def _factors(values: Floats, mask: Floats, loadings: Floats, spread: Floats, noise: float) -> tuple[Floats, Floats]:
    """Return posterior means ``(t, k)`` of (1, u_t) and their covariances ``(t, k, k)``; the constant has none."""
    k = loadings.shape[1] - 1
    second = (loadings[:, :, None] * loadings[:, None, :] / noise + spread).reshape(len(loadings), -1)
    gram = (mask @ second).reshape(-1, k + 1, k + 1)
    covariance = np.linalg.inv(gram[:, 1:, 1:] + np.eye(k))
    right = values @ loadings[:, 1:] / noise - gram[:, 1:, 0]
    means = np.einsum("trs,ts->tr", covariance, right)
    variance = np.zeros((len(values), k + 1, k + 1))
    variance[:, 1:, 1:] = covariance
    return np.column_stack([np.ones(len(values)), means]), variance


def _ridge(design: Floats, targets: Floats, count: Floats) -> Floats:
    """Return the regression of the factors on the hyperparameters, each configuration weighing as it was seen."""
    weight = (count / (count + 1.0))[:, None]
    penalty = np.eye(design.shape[1])
    penalty[0, 0] = 1e-3
    return np.asarray(np.linalg.solve(design.T @ (design * weight) + penalty, design.T @ (targets * weight)))

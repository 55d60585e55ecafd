"""Linear discriminant analysis: canonical correlations and the homogeneity of class covariances."""

from __future__ import annotations

import numpy as np

from metafeatures.columns import FloatArray, IntArray

WELL_CONDITIONED = 1e-6
"""Share of the largest eigenvalue above which all eigenvalues of a correlation matrix are trusted."""
SMALLEST_CORRELATION = 1e-7
"""Canonical correlations below this count as 0, that is as none."""


def class_means(X: FloatArray, classes: IntArray, k: int) -> FloatArray:
    """Mean of the rows of each class: ``(k, p)``; ``X`` is ``(m, p)``, ``classes`` ``(m,)``."""
    indicators = (classes == np.arange(k)[:, None]).astype(np.float64)
    return np.asarray(indicators @ X / indicators.sum(axis=1, keepdims=True))


def whiten(standardised: FloatArray) -> FloatArray:
    """Turn ``(m, p)`` standardised columns into ``(m, r)`` uncorrelated ones of variance 1, r their rank."""
    m, p = standardised.shape
    values, vectors = np.linalg.eigh(standardised.T @ standardised / m)
    if values.min() > WELL_CONDITIONED * values.max():
        return np.asarray(standardised @ (vectors / np.sqrt(values)))
    left, singular, _ = np.linalg.svd(standardised, full_matrices=False)  # slower, but does not square the condition
    return np.asarray(left[:, singular > np.finfo(np.float64).eps * max(m, p) * singular[0]] * np.sqrt(m))


def canonical_correlations(whitened: FloatArray, target: FloatArray) -> FloatArray:
    """Canonical correlations with ``(m, k)`` orthogonal columns of the target, largest first; the zeros left out.

    ``target`` is the indicator of each class, or the centred target of regression; both sets are projected onto unit
    vectors, so the correlations are the singular values of their inner products (Björck & Golub 1973).
    """
    m = whitened.shape[0]
    norms = np.linalg.norm(target, axis=0)
    inner = whitened.T @ (target[:, norms > 0] / norms[norms > 0]) / np.sqrt(m)
    correlations = np.linalg.svd(inner, compute_uv=False)
    return np.asarray(np.minimum(correlations[correlations > SMALLEST_CORRELATION], 1.0))


def log_homogeneity(X: FloatArray, classes: IntArray, k: int) -> float:
    """Logarithm of the homogeneity of class covariances, M / (p (m - k)) with Box's M; 0 when all are equal.

    Michie, Spiegelhalter & Taylor (1994), section 7.3.2. nan unless every class has a covariance of full rank.

    Args:
        X: ``(m, p)``, no missing cells.
        classes: ``(m,)``, from 0 to ``k`` - 1.
        k: number of classes.
    """
    m, p = X.shape
    freedom = np.bincount(classes, minlength=k) - 1.0
    if not p or k < 2 or freedom.min() < p:
        return np.nan
    covariances = np.array([np.cov(X[classes == c], rowvar=False).reshape(p, p) for c in range(k)])
    pooled = np.tensordot(freedom, covariances, axes=1) / (m - k)
    gamma = 1 - (2 * p**2 + 3 * p - 1) / (6 * (p + 1) * (k - 1)) * (np.sum(1 / freedom) - 1 / (m - k))
    signs, logs = np.linalg.slogdet(covariances)
    _, pooled_log = np.linalg.slogdet(pooled)
    return float(gamma * ((m - k) * pooled_log - freedom @ logs) / (p * (m - k))) if (signs > 0).all() else np.nan


def classify(X: FloatArray, classes: FloatArray, new: FloatArray, *, shrinkage: float = 1e-3) -> FloatArray:
    """Linear discriminant analysis of ``X`` ``(m, p)`` with ``classes`` ``(m,)``; the class of each row of ``new``.

    The pooled covariance S becomes (1 - s) S + s tr(S) / p I, so that it can be inverted.
    """
    labels, codes = np.unique(classes, return_inverse=True)
    means = class_means(X, codes, labels.size)
    within = X - means[codes]
    covariance = within.T @ within / X.shape[0]
    scale = np.trace(covariance) / X.shape[1] or 1.0
    covariance = (1 - shrinkage) * covariance + shrinkage * scale * np.eye(X.shape[1])
    directions = np.linalg.solve(covariance, means.T)
    offsets = np.log(np.bincount(codes) / codes.size) - np.sum(means.T * directions, axis=0) / 2
    return np.asarray(labels[np.argmax(new @ directions + offsets, axis=1)])

"""PMF: a low-rank Gaussian model of the error matrix, with expected improvement on the stored configurations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from portfolio.base import WarmStarter
from portfolio.improvement import expected_improvement
from portfolio.table import Floats, Query, Table

RANK = 10
SWEEPS = 15


class Factorization(WarmStarter):
    """Probabilistic matrix factorization of the errors, each task standardised."""

    name = "pmf"

    def _fit(self, table: Table) -> None:
        known = np.isfinite(table.errors)
        count = known.sum(axis=1, keepdims=True)
        center = np.nansum(table.errors, axis=1, keepdims=True) / count
        spread = np.sqrt(np.nansum((table.errors - center) ** 2, axis=1, keepdims=True) / count)
        scaled = np.where(known, (table.errors - center) / np.where(spread > 0, spread, 1.0), 0.0)
        weight = known.sum(axis=0)
        self._mean = scaled.sum(axis=0) / (weight + 1.0)
        self._loadings, self._noise = _fit_factors(scaled - self._mean * known, known, min(RANK, *table.errors.shape))

    def _rank(self, query: Query, n: int) -> Sequence[int]:  # noqa: ARG002
        mean, deviation, best = self._predict(query)
        gain = expected_improvement(mean, deviation, best)
        self._why = f"factor model of rank {self._loadings.shape[1]}, {len(query.columns)} results on this task"
        return [int(column) for column in np.lexsort((mean, -gain))]

    def _predict(self, query: Query) -> tuple[Floats, Floats, float]:
        """Return mean and standard deviation of the standardised errors and the best so far on that scale."""
        rank = self._loadings.shape[1]
        seen, y = query.columns, query.errors
        spread = float(y.std()) if len(y) > 1 and y.std() > 0 else 1.0
        center = float(y.mean()) - spread * float(self._mean[seen].mean()) if len(y) else 0.0
        z = (y - center) / spread - self._mean[seen]
        loadings = self._loadings[seen]
        covariance = np.linalg.inv(np.eye(rank) + loadings.T @ loadings / self._noise)
        factors = covariance @ loadings.T @ z / self._noise
        mean = self._mean + self._loadings @ factors
        deviation = np.sqrt(np.einsum("cr,rs,cs->c", self._loadings, covariance, self._loadings))
        best = (query.best - center) / spread if np.isfinite(query.best) else float(mean.min())
        return mean, deviation, best


def _fit_factors(residual: Floats, known: np.ndarray, rank: int) -> tuple[Floats, float]:
    """Return loadings ``(c, r)`` and noise variance by EM of probabilistic PCA with holes (Tipping & Bishop 1999)."""
    _, s, vt = np.linalg.svd(residual, full_matrices=False)
    loadings = vt[:rank].T * s[:rank] / np.sqrt(max(len(residual), 1))
    noise, mask = max(float((residual**2).sum() / max(known.sum(), 1)), 1e-6), known.astype(float)
    for _ in range(SWEEPS):
        outer = (loadings[:, :, None] * loadings[:, None, :]).reshape(len(loadings), -1)
        covariance = np.linalg.inv(np.eye(rank) + (mask @ outer).reshape(-1, rank, rank) / noise)
        factors = np.einsum("trs,ts->tr", covariance, residual @ loadings) / noise
        second = covariance + factors[:, :, None] * factors[:, None, :]
        gram = (mask.T @ second.reshape(len(second), -1)).reshape(-1, rank, rank) + 1e-3 * np.eye(rank)
        loadings = np.linalg.solve(gram, (residual.T @ factors)[:, :, None])[:, :, 0]
        error = ((residual - factors @ loadings.T) ** 2 * mask).sum()
        noise = max(float(error / max(mask.sum(), 1.0)), 1e-4)
    return loadings, noise

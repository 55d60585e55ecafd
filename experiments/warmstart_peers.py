"""What peers publish as their warm start, built from their papers as baselines for the experiment only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.linalg import qr

from portfolio import WarmStarter
from portfolio.greedy import greedy_order
from portfolio.improvement import expected_improvement
from portfolio.scaling import ranks, regret
from portfolio.table import Floats, Query, Table


def _filled(table: Table) -> Floats:
    """Errors with holes replaced by the task's mean."""
    means = np.nanmean(table.errors, axis=1, keepdims=True)
    return np.where(np.isfinite(table.errors), table.errors, means)


def _by_distance(table: Table, query: Query, *, norm: int, centred: bool) -> list[int]:
    """Stored tasks, nearest first, by metafeatures scaled on the store; those the target lacks are left out."""
    used = np.isfinite(query.metafeatures) & np.isfinite(table.metafeatures).any(axis=0)
    if not used.any():
        return list(range(len(table.tasks)))
    known = table.metafeatures[:, used]
    known = np.where(np.isfinite(known), known, np.nanmean(known, axis=0))
    if centred:
        low, high = np.quantile(known, 0.25, axis=0), np.quantile(known, 0.75, axis=0)
    else:
        low, high = known.min(axis=0), known.max(axis=0)
    gap = np.abs(known - query.metafeatures[used]) / np.where(high > low, high - low, 1.0)
    return list(np.argsort((gap**norm).sum(axis=1), kind="stable"))


class NearestBest(WarmStarter):
    """auto-sklearn 1 (Feurer et al. 2015): the best configuration of each of the 25 nearest tasks, min-max L1."""

    name = "auto-sklearn"

    def _fit(self, table: Table) -> None:
        self._best = np.nanargmin(np.where(np.isfinite(table.errors), table.errors, np.inf), axis=1)

    def _rank(self, query: Query, n: int) -> Sequence[int]:  # noqa: ARG002
        nearest = _by_distance(self._table, query, norm=1, centred=False)
        seeds = list(dict.fromkeys(int(self._best[row]) for row in nearest))[:25]
        rest = np.random.default_rng(self.seed).permutation(len(self._table.ids))
        self._why = "best configuration of each of the nearest tasks, then random"
        return [*seeds, *(int(column) for column in rest)]


class OneNeighbour(WarmStarter):
    """FLAML zero-shot (Wang et al. 2022): the portfolio, led by the best of it on the nearest task (robust L2)."""

    name = "flaml"

    def _fit(self, table: Table) -> None:
        loss = np.maximum(regret(table.errors) - 0.01, 0.0)
        self._portfolio = np.array(greedy_order(loss, np.full(len(loss), 1 / len(loss)), 40))
        self._filled = _filled(table)

    def _rank(self, query: Query, n: int) -> Sequence[int]:  # noqa: ARG002
        row = _by_distance(self._table, query, norm=2, centred=True)[0]
        order = self._portfolio[np.argsort(self._filled[row, self._portfolio], kind="stable")]
        rest = np.random.default_rng(self.seed).permutation(len(self._table.ids))
        self._why = "portfolio in the order of the nearest task"
        return [*(int(c) for c in order), *(int(c) for c in rest)]


class LowRankDesign(WarmStarter):
    """Oboe (Yang et al. 2019) without its run-time model: pivoted QR picks the design, least squares the rest."""

    name = "oboe"

    def _fit(self, table: Table) -> None:
        _, s, directions = np.linalg.svd(_filled(table), full_matrices=False)
        rank = max(int((s >= 0.05 * s[0]).sum()), 1)
        self._basis = directions[:rank]
        self._design = [int(column) for column in qr(self._basis, pivoting=True)[2][:rank]]

    def _rank(self, query: Query, n: int) -> Sequence[int]:  # noqa: ARG002
        self._why = "D-optimal design, then best predicted"
        if not set(self._design) <= set(query.taken.tolist()) or not len(query.columns):
            return [*self._design, *range(len(self._table.ids))]
        weights, *_ = np.linalg.lstsq(self._basis[:, query.columns].T, query.errors, rcond=None)
        return [int(column) for column in np.argsort(weights @ self._basis, kind="stable")]


class PublishedPmf(WarmStarter):
    """pmf-automl (Fusi et al. 2018): 5 best mean ranks on the 5 L1-nearest raw tasks, then GP-EI on 20 latents.

    Latents are their PCA start (optimising the likelihood further did not lower regret); ξ = 0.01.
    """

    name = "pmf-automl"

    def _fit(self, table: Table) -> None:
        filled = _filled(table)
        u, s, _ = np.linalg.svd((filled - filled.mean(axis=1, keepdims=True)).T, full_matrices=False)
        latents = u[:, :20] * s[:20]
        square = ((latents[:, None] - latents[None]) ** 2).sum(axis=2)
        self._kernel = np.exp(-0.5 * square / max(float(np.median(square)), 1e-12))
        self._ranks = ranks(table.errors)

    def _rank(self, query: Query, n: int) -> Sequence[int]:  # noqa: ARG002
        if len(query.columns) < 5:
            gap = np.abs(self._table.metafeatures - query.metafeatures)
            near = np.argsort(np.where(np.isfinite(gap), gap, 0.0).sum(axis=1), kind="stable")[:5]
            self._why = "best mean rank on the 5 nearest tasks"
            return [int(c) for c in np.argsort(np.nan_to_num(self._ranks[near], nan=1.0).mean(axis=0), kind="stable")]
        seen = query.columns
        y = -(query.errors - query.errors.mean()) / (query.errors.std() or 1.0)
        gram = self._kernel[np.ix_(seen, seen)] + 0.01 * np.eye(len(seen))
        cross = self._kernel[seen]
        mean = cross.T @ np.linalg.solve(gram, y)
        variance = 1.0 - (cross * np.linalg.solve(gram, cross)).sum(axis=0)
        gain = expected_improvement(-mean, np.sqrt(np.maximum(variance, 1e-12)), -float(y.max()) - 0.01)
        self._why = "expected improvement on PCA latents"
        return [int(c) for c in np.argsort(-gain, kind="stable")]


PEERS: dict[str, type[WarmStarter]] = {
    cls.name: cls for cls in (NearestBest, OneNeighbour, LowRankDesign, PublishedPmf)
}

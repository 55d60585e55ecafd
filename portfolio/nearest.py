"""kNN: what was best on the most similar past tasks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from portfolio.base import WarmStarter
from portfolio.greedy import greedy_order
from portfolio.scaling import regret
from portfolio.table import Floats, Query, Table

NEIGHBOURS = 25


class Nearest(WarmStarter):
    """A greedy portfolio over the nearest tasks, the nearer the heavier."""

    name = "knn"

    def _fit(self, table: Table) -> None:
        self._loss = regret(table.errors)
        known = np.isfinite(table.metafeatures)
        values = np.where(known, table.metafeatures, 0.0)
        count = np.maximum(known.sum(axis=0), 1)
        self._center = values.sum(axis=0) / count
        spread = np.sqrt((np.where(known, values - self._center, 0.0) ** 2).sum(axis=0) / count)
        self._spread = np.where(spread > 0, spread, np.inf)
        self._features = (table.metafeatures - self._center) / self._spread

    def _rank(self, query: Query, n: int) -> Sequence[int]:
        distance = self._distances(query.metafeatures)
        usable = np.flatnonzero(np.isfinite(distance))
        weights = self._table.task_weights.copy()
        self._why = "no metafeatures in common with the stored tasks: greedy portfolio over all of them"
        if len(usable):
            nearest = usable[np.argsort(distance[usable], kind="stable")][:NEIGHBOURS]
            width = max(float(np.median(distance[nearest])), 1e-9)
            closeness = np.zeros(len(distance))
            closeness[nearest] = np.exp(-distance[nearest] / width)
            weights = weights * closeness
            names = ", ".join(f"{self._table.tasks[row]} ({distance[row]:.2f})" for row in nearest[:3])
            self._why = f"best on the nearest of {len(distance)} tasks (distance): {names}"
        return greedy_order(self._loss, weights, n + len(query.taken))

    def _distances(self, metafeatures: Floats) -> Floats:
        """Return the mean absolute difference over the metafeatures both sides know, shape ``(t,)``; inf if none."""
        difference = np.abs(self._features - (metafeatures - self._center) / self._spread)
        shared = np.isfinite(difference)
        total = np.where(shared, difference, 0.0).sum(axis=1)
        return np.where(shared.any(axis=1), total / np.maximum(shared.sum(axis=1), 1), np.inf)

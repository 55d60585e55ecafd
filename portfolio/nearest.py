"""kNN: what was best on the most similar past tasks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from portfolio.base import WarmStarter
from portfolio.factor_model import profiles
from portfolio.greedy import GreedyPortfolio, greedy_order
from portfolio.scaling import regret
from portfolio.similarity import Similarity
from portfolio.table import Query, Table

NEIGHBOURS = 25


class Nearest(WarmStarter):
    """A greedy portfolio over the nearest tasks, the nearer the heavier; without a near task, over all of them.

    Distance, its unit, the threshold of "near" and the width of the weights are learned on the store (``Similarity``).
    """

    name = "knn"

    def _fit(self, table: Table) -> None:
        self._loss = regret(table.errors)
        self.similarity = Similarity(table, profiles(table), table.task_weights, seed=self.seed)
        self._fallback = GreedyPortfolio(seed=self.seed).fit_table(table)
        self._from: str = self.name

    def _rank(self, query: Query, n: int) -> Sequence[int]:
        neighbourhood = self.similarity.neighbourhood(query.metafeatures)
        self._from = self.name if neighbourhood.near else self._fallback.name
        if not neighbourhood.near:
            self._why = f"greedy portfolio over all stored tasks, because {neighbourhood.reason}"
            return self._fallback._rank(query, n)
        count = min(NEIGHBOURS, len(neighbourhood.weights))
        heaviest = np.sort(np.argpartition(-neighbourhood.weights, count - 1)[:count])
        self._why = f"best on the {len(heaviest)} {neighbourhood.reason}"
        return greedy_order(self._loss[heaviest], neighbourhood.weights[heaviest], n + len(query.taken))

    def sources(self, ids: Iterable[str]) -> dict[str, str]:
        """Return "knn", or "portfolio" when there was no near task."""
        return dict.fromkeys(ids, self._from if self._table.tasks else self.name)

"""Algorithm selection: forests on metafeatures say which family of models deserves the first evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from portfolio.base import WarmStarter
from portfolio.greedy import greedy_order
from portfolio.scaling import regret
from portfolio.table import Floats, Ints, Query, Table

KEYS = ("family", "algorithm")
"""Hyperparameters that name the family of a configuration, the first that is there."""
MOST_FAMILIES, TREES, SAME = 12, 30, 1e-6


class Selector(WarmStarter):
    """One-against-one cost-weighted forests vote for families (Feurer et al. 2022, sec. 4); seats go by votes.

    Within a family the greedy portfolio decides. Without metafeatures or with one family it is that portfolio.
    """

    name = "selector"

    def _fit(self, table: Table) -> None:
        self._loss = regret(table.errors)
        self._groups = _groups(table, self._loss)
        self._names = sorted(set(self._groups))
        self._group_of = np.array([self._names.index(name) for name in self._groups])
        self._orders: dict[int, list[int]] = {}
        self._last: tuple[bytes, Floats] | None = None
        best = np.full((len(table.tasks), len(self._names)), np.nan)
        for group in range(len(self._names)):
            part = self._loss[:, self._group_of == group]
            known = np.isfinite(part).any(axis=1)
            best[known, group] = np.nanmin(part[known], axis=1)
        self._typical = table.task_weights @ np.where(np.isfinite(best), best, 1.0)
        self._duels = self._train(table, best) if table.feature_names else []

    def _train(self, table: Table, best: Floats) -> list[tuple[int, int, Any]]:
        """Return (a, b, forest for "b beats a") for each pair of families that the store can tell apart."""
        from sklearn.ensemble import RandomForestClassifier  # slow to import: only who asks for it waits

        self._medians = np.array(
            [np.median(c[np.isfinite(c)]) if np.isfinite(c).any() else 0 for c in table.metafeatures.T]
        )
        design = np.where(np.isfinite(table.metafeatures), table.metafeatures, self._medians).astype(
            np.float32, copy=False
        )
        design = np.clip(np.nan_to_num(design), -1e30, 1e30)
        duels = []
        for a, b in combinations(range(len(self._names)), 2):
            gap = best[:, a] - best[:, b]
            rows = np.flatnonzero(np.isfinite(gap) & (np.abs(np.nan_to_num(gap)) > SAME))
            if len(rows) < 6 or len(np.unique(gap[rows] > 0)) < 2:
                continue
            forest = RandomForestClassifier(TREES, max_depth=6, min_samples_leaf=4, random_state=self.seed)
            weight = np.abs(gap[rows]) * table.task_weights[rows]
            duels.append((a, b, forest.fit(design[rows], gap[rows] > 0, sample_weight=weight / weight.mean())))
        return duels

    def _votes(self, metafeatures: Floats) -> Floats:
        """Return the share of votes of each family, shape ``(families,)``, sum 1."""
        key = metafeatures.tobytes()
        if self._last is None or self._last[0] != key:
            self._last = key, self._count(metafeatures)
        return self._last[1]

    def _count(self, metafeatures: Floats) -> Floats:
        """Hold the duels."""
        votes = 1.0 - self._typical + 1e-3
        if self._duels and np.isfinite(metafeatures).any():
            row = np.clip(np.where(np.isfinite(metafeatures), metafeatures, self._medians), -1e30, 1e30)[None, :]
            votes = np.full(len(self._names), 1e-3)
            for a, b, forest in self._duels:
                share = float(forest.predict_proba(row.astype(np.float32))[0, 1])
                votes[a], votes[b] = votes[a] + 1 - share, votes[b] + share
        return np.asarray(votes / votes.sum())

    def _rank(self, query: Query, n: int) -> Sequence[int]:
        votes = self._votes(query.metafeatures)
        order: list[int] = []
        seats, needed = np.zeros(len(votes)), n + len(query.taken)
        lists = [list(self._order(group, needed)) for group in range(len(votes))]
        while len(order) < needed and any(lists):
            # d'Hondt: the next evaluation goes to the family with the most votes per evaluation
            claim = np.where([bool(rest) for rest in lists], votes / (seats + 1), -1.0)
            group = int(np.argmax(claim))
            seats[group] += 1
            order.append(lists[group].pop(0))
        leaders = ", ".join(f"{self._names[g]} {votes[g]:.0%}" for g in np.argsort(-votes)[:3])
        self._why = f"families by {len(self._duels)} pairwise forests on metafeatures: {leaders}"
        return order

    def _order(self, group: int, n: int) -> list[int]:
        """Return the greedy portfolio within a family, at least n columns or all."""
        columns = np.flatnonzero(self._group_of == group)
        if len(self._orders.get(group, [])) < min(n, len(columns)):
            order = greedy_order(self._loss[:, columns], self._table.task_weights, max(n, 32))
            self._orders[group] = [int(columns[place]) for place in order]
        return self._orders[group]


def _groups(table: Table, loss: Floats) -> list[str]:
    """Return the family of each configuration: as named, or the portfolio member that it resembles most."""
    for key in KEYS:
        names = [str(configuration.get(key, "other")) for configuration in table.configurations]
        if 1 < len(set(names)) <= MOST_FAMILIES:
            return names
    filled = np.where(np.isfinite(loss), loss, 1.0)
    members: Ints = np.array(greedy_order(loss, table.task_weights, min(6, len(table.ids))), dtype=np.int64)
    apart = np.array([((filled - filled[:, [member]]) ** 2).sum(axis=0) for member in members])
    return [f"like {table.ids[members[place]]}" for place in np.argmin(apart, axis=0)]

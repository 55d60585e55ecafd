"""A task-independent portfolio: few configurations, one of which is good on almost every past task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from portfolio.base import WarmStarter
from portfolio.scaling import ranks, regret
from portfolio.table import Floats, Query, Table

Objective = Literal["distance", "rank"]
OBJECTIVES: dict[Objective, Callable[[Floats], Floats]] = {"distance": regret, "rank": ranks}


def greedy_order(loss: Floats, weights: Floats, n: int, *, seconds: Floats | None = None) -> list[int]:
    """Order columns greedily by how much each lowers the weighted mean of the best loss so far.

    The gain of a set, ``sum_t w_t (1 - min_{j in set} loss[t, j])``, is submodular, so that the greedy set reaches
    at least 1 - 1/e of the best set of its size (Nemhauser et al. 1978; as a portfolio: Feurer et al. 2022, sec. 3).
    When no column gains any more, the next round starts anew without the columns chosen: second bests follow.

    Args:
        loss: Shape ``(t, c)``, in [0, 1], nan = unknown: counts as no gain.
        weights: Weight of each task, shape ``(t,)``.
        n: How many columns to order.
        seconds: Mean run time of each column, shape ``(c,)``: with it the gain per second decides.

    >>> greedy_order(np.array([[0.0, 0.4, 1.0], [1.0, 0.4, 0.0]]), np.array([0.5, 0.5]), 3)
    [1, 0, 2]
    """
    known = np.where(np.isfinite(loss), loss, 1.0)
    price = np.ones(loss.shape[1]) if seconds is None else seconds
    chosen: list[int] = []
    best, started = np.ones(len(loss)), False
    free = np.ones(loss.shape[1], dtype=bool)
    while len(chosen) < min(n, loss.shape[1]):
        gain = np.where(free, weights @ np.maximum(best[:, None] - known, 0.0) / price, -1.0)
        column = int(np.argmax(gain))
        if gain[column] <= 1e-12 and started:
            best, started = np.ones(len(loss)), False
            continue
        chosen.append(column)
        free[column], started = False, gain[column] > 1e-12
        best = np.minimum(best, known[:, column])
    return chosen


class GreedyPortfolio(WarmStarter):
    """The same list for every task; observations only strike out what was run."""

    name = "portfolio"

    def __init__(self, *, seed: int = 0, objective: Objective = "distance", per_second: bool = False) -> None:
        """``objective``: what is averaged over families; ``per_second``: gain per second of stored run time."""
        super().__init__(seed=seed)
        self.objective: Objective = objective
        self.per_second = per_second

    def _fit(self, table: Table) -> None:
        self._loss = OBJECTIVES[self.objective](table.errors)
        self._seconds = _mean_seconds(table) if self.per_second else None
        self._order: list[int] = []

    def _rank(self, query: Query, n: int) -> Sequence[int]:
        needed = min(n + len(query.taken), len(self._table.ids))
        if len(self._order) < needed:
            length = max(needed, 2 * len(self._order), 32)
            self._order = greedy_order(self._loss, self._table.task_weights, length, seconds=self._seconds)
        per = " per second" if self._seconds is not None else ""
        self._why = (
            f"greedy portfolio over {len(self._table.tasks)} tasks in {self._table.families.max() + 1} families, "
            f"mean {self.objective} to the best{per}, the same for every task"
        )
        return self._order


def _mean_seconds(table: Table) -> Floats | None:
    """Return the geometric mean run time of each configuration, shape ``(c,)``; the median where unknown."""
    if table.seconds is None:
        return None
    positive = np.where(table.seconds > 0, table.seconds, np.nan)
    if not np.isfinite(positive).any():
        return None
    logs = np.log(positive)
    known = np.isfinite(logs).any(axis=0)
    means = np.full(logs.shape[1], np.nanmedian(logs))
    means[known] = np.nanmean(logs[:, known], axis=0)
    return np.asarray(np.exp(means))

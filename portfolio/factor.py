"""PMF: a Bayesian factor model of the errors, with expected improvement on the stored configurations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from portfolio.base import WarmStarter
from portfolio.calibration import Calibration, calibrate
from portfolio.factor_model import FactorModel, Posterior, profiles
from portfolio.forest import TaskForest
from portfolio.similarity import Neighbourhood
from portfolio.table import Floats, Ints, Query, Table

FADE = 1.0
"""Results after which alike tasks and all tasks have the same say: a task's own results soon tell more of it than its
metafeatures do."""


class Factorization(WarmStarter):
    """Probabilistic matrix factorization with side information (after Fusi, Sheth & Elibol 2018, in closed form)."""

    name = "pmf"

    def __init__(
        self, *, seed: int = 0, calibration: Calibration | None = None, similar: bool = True, by_family: bool = True
    ) -> None:
        """Set how the store is read.

        Args:
            seed: Decides all random choices.
            calibration: Scaling of errors and noise; None chooses those that make left-out families most probable.
            similar: Whether tasks with alike metafeatures weigh more.
            by_family: Whether a family of copies weighs as one task, or each copy as one.
        """
        super().__init__(seed=seed)
        self.similar, self.by_family = similar, by_family
        self._given = calibration

    def _fit(self, table: Table) -> None:
        self.calibration = self._given or calibrate(table, seed=self.seed)
        count = len(table.tasks)
        self._weights = table.task_weights if self.by_family else np.full(count, 1.0 / count)
        self.model = self._build(table)
        self._forest: TaskForest | None = None
        if self.similar:
            self._forest = TaskForest(table, profiles(table), table.task_weights, seed=self.seed)
        self._last: tuple[bytes, Neighbourhood] | None = None

    def _build(self, table: Table) -> FactorModel:
        scaling, noise = self.calibration.scaling, self.calibration.noise
        return FactorModel(table, self._weights, scaling=scaling, noise=noise, seed=self.seed)

    def _rank(self, query: Query, n: int) -> Sequence[int]:
        near = self._neighbourhood(query.metafeatures)
        share = FADE / (FADE + len(query.columns)) if near.near else 0.0
        weights = share * near.weights + (1 - share) * self._weights
        prior = self.model.prior(weights)
        free = np.ones(len(self._table.ids), dtype=bool)
        free[query.taken] = False
        seen, errors, best = query.columns, query.errors, query.best
        order: list[int] = []
        for _ in range(min(n, int(free.sum()))):
            posterior = self.model.posterior(prior, seen, errors, best)
            column = most_promising(self._score(posterior, weights, seen, free), posterior, free)
            order.append(column)
            self._note(column, near)
            free[column] = False
            # the next of a batch: as if this one had turned out as expected (kriging believer)
            believed = float(posterior.mean[column])
            seen, errors, best = np.append(seen, column), np.append(errors, believed), min(best, believed)
        self._why = self._reason(near, len(query.columns))
        return order

    def _neighbourhood(self, metafeatures: Floats) -> Neighbourhood:
        """Return which stored tasks are alike; the last answer is remembered: a search asks once per trial."""
        if self._forest is None:
            return Neighbourhood(self._weights, "all stored tasks alike", near=False)
        key = metafeatures.tobytes()
        if self._last is None or self._last[0] != key:
            self._last = key, self._forest.neighbourhood(metafeatures)
        return self._last[1]

    def _score(self, posterior: Posterior, weights: Floats, seen: Ints, free: np.ndarray) -> Floats:  # noqa: ARG002
        """Return what decides among the free columns, shape ``(c,)``."""
        return posterior.improvement

    def _note(self, column: int, near: Neighbourhood) -> None:
        """Remember who proposed a column, where there is more than one."""

    def _reason(self, near: Neighbourhood, results: int) -> str:
        chosen = f"scaling {self.calibration.scaling}, noise {self.calibration.noise:g} ({self.calibration.reason})"
        factors = f"expected improvement under a factor model with {self.model.coordinates.shape[1]} factors, {chosen}"
        return f"{factors}; {results} results on this task; {near.reason}"


def most_promising(score: Floats, posterior: Posterior, free: np.ndarray) -> int:
    """Return the free column with the highest score, and where no score is left, with the lowest expected error."""
    column = int(np.argmax(np.where(free, score, -1.0)))
    if score[column] > 0 and free[column]:
        return column
    return int(np.argmin(np.where(free, posterior.mean, np.inf)))

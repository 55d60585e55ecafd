"""PMF: a Bayesian factor model of the errors, with expected improvement on the stored configurations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from portfolio.base import WarmStarter
from portfolio.factor_model import FactorModel, Posterior, Prior
from portfolio.scaling import Scaling
from portfolio.selection import Candidate, select
from portfolio.similarity import Neighbourhood, Similarity
from portfolio.table import Floats, Query, Table

When = Literal["always", "first", "never"]
SCALINGS: tuple[Scaling, ...] = ("regret", "zscore", "raw")


class Factorization(WarmStarter):
    """Probabilistic matrix factorization with side information (after Fusi, Sheth & Elibol 2018, in closed form).

    ``scaling="auto"`` replays the store with families left out and takes the scaling that does best.
    """

    name = "pmf"

    def __init__(self, *, seed: int = 0, scaling: Scaling | Literal["auto"] = "auto", similar: When = "always") -> None:
        """``scaling``: makes errors of different tasks comparable; ``similar``: when similar tasks weigh more."""
        super().__init__(seed=seed)
        self.similar: When = similar
        self.scaling: Scaling | Literal["auto"] = scaling
        self._last: tuple[bytes, Neighbourhood, Prior] | None = None

    def _fit(self, table: Table) -> None:
        self._chosen, self._chosen_because = self._choose(table)
        self.model = self._build(table)
        if self.similar == "never":
            table = replace(table, metafeatures=table.metafeatures[:, :0], feature_names=[])
        self.similarity = Similarity(table, self.model.coordinates, table.task_weights, seed=self.seed)
        self._last = None

    def _build(self, table: Table) -> FactorModel:
        return FactorModel(table, table.task_weights, scaling=self._chosen, seed=self.seed)

    def _choose(self, table: Table) -> tuple[Scaling, str]:
        if self.scaling != "auto":
            return self.scaling, "as asked for"
        candidates: list[Candidate] = [
            Candidate(name, lambda name=name: Factorization(seed=self.seed, scaling=name))  # type: ignore[misc]
            for name in SCALINGS
        ]
        choice = select(candidates, table, seed=self.seed)
        return SCALINGS[choice.best], choice.reason

    def _rank(self, query: Query, n: int) -> Sequence[int]:
        neighbourhood, prior = self.prior(query)
        seen, errors, free = query.columns, query.errors, np.ones(len(self._table.ids), dtype=bool)
        free[query.taken] = False
        best, order = query.best, []
        for _ in range(min(n, int(free.sum()))):
            posterior = self.model.posterior(prior, seen, errors, best)
            column = most_promising(posterior.improvement, posterior, free)
            order.append(column)
            free[column] = False
            # the next of a batch: as if this one had turned out as expected (kriging believer)
            believed = float(posterior.mean[column])
            seen, errors, best = np.append(seen, column), np.append(errors, believed), min(best, believed)
        self._why = (
            f"expected improvement under a factor model with {self.model.coordinates.shape[1]} factors, scaling "
            f"{self._chosen} ({self._chosen_because}), {len(query.columns)} results on this task; "
            f"{neighbourhood.reason}"
        )
        return order

    def prior(self, query: Query) -> tuple[Neighbourhood, Prior]:
        """Return where the target stands among the stored tasks and its prior; remembered for the next question."""
        features = query.metafeatures[:0] if self.similar == "never" else query.metafeatures
        if self.similar == "first" and len(query.taken):
            features = np.full_like(features, np.nan)
        key = features.tobytes()
        if self._last is None or self._last[0] != key:
            neighbourhood = self.similarity.neighbourhood(features)
            self._last = key, neighbourhood, self.model.prior(neighbourhood.weights)
        return self._last[1], self._last[2]


def most_promising(score: Floats, posterior: Posterior, free: np.ndarray) -> int:
    """Return the free column with the highest score, and where no score is left, with the lowest expected error."""
    column = int(np.argmax(np.where(free, score, -1.0)))
    if score[column] > 0 and free[column]:
        return column
    return int(np.argmin(np.where(free, posterior.mean, np.inf)))

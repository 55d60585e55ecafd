"""The chain: a portfolio that hands over to the factor model as results come in."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from portfolio.factor import Factorization
from portfolio.factor_model import Posterior
from portfolio.scaling import regret
from portfolio.similarity import Neighbourhood
from portfolio.table import Floats, Ints, Table

PATIENCE = 3.0
"""Results after which portfolio and factor model have the same say."""


class Chain(Factorization):
    """Portfolio gain and expected improvement on one scale; the first leads at the start, the second later on.

    With o results the score of a configuration is ``α gain + (1 - α) EI``, each divided by its maximum, with
    ``α = PATIENCE / (PATIENCE + o)``. The gain is the greedy portfolio's; in both, tasks alike by metafeatures weigh
    more.
    """

    name = "auto"

    def __str__(self) -> str:
        """Say in a few words what is peculiar to this chain."""
        tasks = "alike tasks first" if self.similar else "all tasks alike"
        return f"{tasks}, {'each family once' if self.by_family else 'each copy counted'}"

    def sources(self, ids: Iterable[str]) -> dict[str, str]:
        """Return who had the larger share in each id: "portfolio", "knn" (portfolio of alike tasks) or "pmf"."""
        return {name: self._labels.get(name, self.name) for name in ids}

    def _fit(self, table: Table) -> None:
        super()._fit(table)
        loss = regret(table.errors)
        self._loss = np.where(np.isfinite(loss), loss, 1.0)
        self._labels: dict[str, str] = {}

    def _score(self, posterior: Posterior, weights: Floats, seen: Ints, free: np.ndarray) -> Floats:
        best = self._loss[:, seen].min(axis=1, initial=1.0)
        gain = weights @ np.maximum(best[:, None] - self._loss, 0.0)
        alpha = PATIENCE / (PATIENCE + len(seen))
        self._parts = alpha * _unit(gain, free), (1 - alpha) * _unit(posterior.improvement, free)
        return np.asarray(sum(self._parts))

    def _note(self, column: int, near: Neighbourhood) -> None:
        gain, improvement = (part[column] for part in self._parts)
        portfolio = "knn" if near.near else "portfolio"
        self._labels[self._table.ids[column]] = portfolio if gain > improvement else "pmf"

    def _reason(self, near: Neighbourhood, results: int) -> str:
        alpha = PATIENCE / (PATIENCE + results)
        return f"portfolio {alpha:.0%}, factor model {1 - alpha:.0%} after {results} results; {near.reason}"


def _unit(score: Floats, free: np.ndarray) -> Floats:
    """Divide a score by its maximum over the free columns; all 0 if none is positive."""
    highest = float(score[free].max(initial=0.0))
    return score / highest if highest > 1e-300 else np.zeros_like(score)

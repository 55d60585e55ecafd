"""The chain with a fixed policy: a portfolio of similar tasks that hands over to the factor model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from portfolio.base import WarmStarter
from portfolio.factor import Factorization, When, most_promising
from portfolio.factor_model import Posterior
from portfolio.scaling import Scaling, regret
from portfolio.similarity import Neighbourhood
from portfolio.table import Floats, Ints, Query, Table


@dataclass(frozen=True)
class Policy:
    """How the parts of the chain are weighed."""

    scaling: Scaling = "regret"
    """Scaling of the factor model."""
    patience: float = 3.0
    """Results after which portfolio and factor model have the same say."""
    similar: When = "always"
    """When similar tasks (by metafeatures) weigh more: "first" = only before the first result."""
    by_family: bool = True
    """Whether a family of copies weighs as one task, or each copy as one."""

    def __str__(self) -> str:
        """Say it in a few words."""
        tasks = {"always": "similar tasks", "first": "similar tasks, all after the first", "never": "all tasks"}
        count = "each family once" if self.by_family else "each copy counted"
        then = f"then factors on {self.scaling} from about result {self.patience:g} on"
        return f"portfolio of {tasks[self.similar]}, {count}, {then}"


class Chain(WarmStarter):
    """Portfolio gain and expected improvement on one scale; the first leads at the start, the second later on.

    With o results the score of a configuration is ``α gain + (1 - α) EI``, each divided by its maximum, with
    ``α = patience / (patience + o)``. The gain is the greedy portfolio's, with stored
    tasks weighted by similarity.
    """

    name = "auto"

    def __init__(self, *, seed: int = 0, policy: Policy | None = None) -> None:
        """``policy``: how the parts are weighed."""
        super().__init__(seed=seed)
        self.policy = policy or Policy()
        self._labels: dict[str, str] = {}

    def sources(self, ids: Iterable[str]) -> dict[str, str]:
        """Return who had the larger share in each id: "portfolio", "knn" (portfolio of similar tasks) or "pmf"."""
        return {name: self._labels.get(name, self.name) for name in ids}

    def _fit(self, table: Table) -> None:
        families = table.families if self.policy.by_family else np.arange(len(table.tasks))
        self._factors = Factorization(
            seed=self.seed, scaling=self.policy.scaling, similar=self.policy.similar
        ).fit_table(replace(table, families=families))
        loss = regret(table.errors)
        self._loss = np.where(np.isfinite(loss), loss, 1.0)

    def _rank(self, query: Query, n: int) -> Sequence[int]:
        neighbourhood, prior = self._factors.prior(query)
        free = np.ones(len(self._table.ids), dtype=bool)
        free[query.taken] = False
        seen, errors, best = query.columns, query.errors, query.best
        order: list[int] = []
        self._labels = {}
        for _ in range(min(n, int(free.sum()))):
            posterior = self._factors.model.posterior(prior, seen, errors, best)
            column, source = self._pick(neighbourhood, posterior, seen, free)
            order.append(column)
            free[column] = False
            self._labels[self._table.ids[column]] = source
            believed = float(posterior.mean[column])  # kriging believer: the batch goes on as if this came true
            seen, errors, best = np.append(seen, column), np.append(errors, believed), min(best, believed)
        self._why = self._reason(neighbourhood, len(query.columns))
        return order

    def _pick(self, near: Neighbourhood, posterior: Posterior, seen: Ints, free: np.ndarray) -> tuple[int, str]:
        """Return the best column and who had the larger share in it."""
        best = self._loss[:, seen].min(axis=1, initial=1.0)
        gain = _unit(near.weights @ np.maximum(best[:, None] - self._loss, 0.0), free)
        improvement = _unit(posterior.improvement, free)
        alpha = self.policy.patience / (self.policy.patience + len(seen))
        column = most_promising(alpha * gain + (1 - alpha) * improvement, posterior, free)
        if alpha * gain[column] <= (1 - alpha) * improvement[column]:
            return column, "pmf"
        return column, "knn" if near.near else "portfolio"

    def _reason(self, near: Neighbourhood, results: int) -> str:
        alpha = self.policy.patience / (self.policy.patience + results)
        return f"portfolio {alpha:.0%}, factor model {1 - alpha:.0%} after {results} results; {near.reason}"


def _unit(score: Floats, free: np.ndarray) -> Floats:
    """Divide a score by its maximum over the free columns; all 0 if none is positive."""
    highest = float(score[free].max(initial=0.0))
    return score / highest if highest > 1e-300 else np.zeros_like(score)

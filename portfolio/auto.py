"""The chain: a portfolio first, then the factor model that has learned from its results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from portfolio.base import WarmStarter
from portfolio.factor import Factorization
from portfolio.greedy import GreedyPortfolio
from portfolio.history import History, Target
from portfolio.nearest import Nearest
from portfolio.table import Query, Table


class Auto(WarmStarter):
    """kNN or portfolio for the first evaluations, then the factor model."""

    name = "auto"
    switch = 5

    def fit(self, history: History) -> Auto:
        """Fit the members of the chain."""
        super().fit(history)
        first = Nearest if self._table.feature_names else GreedyPortfolio
        self._first: WarmStarter = first(seed=self.seed).fit(history)
        self._then: WarmStarter = Factorization(seed=self.seed).fit(history)
        self._labels: dict[str, str] = {}
        return self

    def propose(self, target: Target, n: int = 1) -> list[str]:
        """Return up to ``n`` ids, best first, from the member whose turn it is."""
        if not self._table.tasks:
            return super().propose(target, n)
        turn = self._first if len(target.observed) < self.switch else self._then
        chosen = turn.propose(target, n)
        self._labels = dict.fromkeys(chosen, turn.name)
        self._why = turn.explain()
        return chosen

    def sources(self, ids: Iterable[str]) -> dict[str, str]:
        """Return the member that proposed each id."""
        return {name: self._labels.get(name, self.name) for name in ids}

    def _fit(self, table: Table) -> None:
        """Members fit themselves."""

    def _rank(self, query: Query, n: int) -> Sequence[int]:  # noqa: ARG002
        return []

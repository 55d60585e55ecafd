"""The default: a chain whose policy is chosen on the store, with a guard against stores that mislead."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np

from portfolio.base import WarmStarter
from portfolio.calibration import calibrate
from portfolio.chain import Chain
from portfolio.greedy import GreedyPortfolio
from portfolio.history import Target
from portfolio.scaling import ranks
from portfolio.selection import Candidate, select
from portfolio.table import Query, Table

ENOUGH, MISLED = 8, -1.645
"""Results needed before the target's agreement with the store is judged, and the one-sided 5 % point of N(0, 1)."""


class Auto(WarmStarter):
    """The chain (or the plain portfolio) that does best on the store with families left out.

    The scaling of errors and the noise of the factor model are chosen first (``calibrate``), then by replay whether
    metafeatures should have a say and whether copies of a task count. The first candidate, in which metafeatures speak
    where there are any, stands unless another is clearly better.

    Guard: if nothing beats random order on the store, if the store is too small to tell, or if the target's results
    contradict it, ``hand_over`` says so; the caller should then search on its own. ``propose`` still answers.
    """

    name = "auto"

    def sources(self, ids: Iterable[str]) -> dict[str, str]:
        """Return who really produced each of the last proposed ids: "portfolio", "knn" or "pmf"."""
        return self._member.sources(ids) if self._table.tasks else super().sources(ids)

    def hand_over(self, target: Target) -> str:
        """Return why stored results should not be followed (further) on this target, or ""."""
        if not self._table.tasks:
            return super().hand_over(target)
        if self.choice.advantage <= 0:
            return "stored results predict nothing: on left-out tasks they are not reliably better than random order"
        query, families = Query.of(target, self._table), int(self._table.families.max()) + 1
        if not len(self.choice.curves) and len(query.taken) >= families:
            return f"{families} stored families of tasks had a trial each: too few to know if they can be trusted"
        return self._contradiction(query)

    def _fit(self, table: Table) -> None:
        calibration = calibrate(table, seed=self.seed)
        copies = len(np.unique(table.families)) < len(table.tasks)
        chains = [
            partial(Chain, seed=self.seed, calibration=calibration, similar=similar, by_family=by_family)
            for similar in ((True, False) if table.feature_names else (False,))
            for by_family in ((False, True) if copies else (True,))
        ]
        makers: list[Callable[[], WarmStarter]] = [*chains, partial(GreedyPortfolio, seed=self.seed)]
        labels = [*(str(chain()) for chain in chains), "portfolio only"]
        candidates = [Candidate(label, make) for label, make in zip(labels, makers, strict=True)]
        self.choice = select(candidates, table, seed=self.seed, cache=self.cache)
        best = self.choice.best
        self._member = makers[best]().fit_table(table)
        self._chosen = labels[best]

    def _rank(self, query: Query, n: int) -> Sequence[int]:
        order = self._member._rank(query, n)
        self._why = f"{self._chosen} ({self.choice.reason}). {self._member.explain()}"
        return order

    def _contradiction(self, query: Query) -> str:
        """Test whether the results rank configurations against the store's mean ranking."""
        if len(query.columns) < ENOUGH or np.ptp(query.errors) == 0:
            return ""
        known = self._table.errors[:, query.columns]
        known[~np.isfinite(known).any(axis=1)] = 0.0
        expected = np.asarray(self._table.task_weights @ ranks(known, unknown=0.5))
        places = ranks(np.stack([expected, query.errors]))
        if np.ptp(expected) == 0:
            return ""
        rho, count = float(np.corrcoef(places[0], places[1])[0, 1]), len(query.columns)
        if rho * np.sqrt(count - 1) < MISLED:  # by chance, Spearman's rho is about N(0, 1 / (count - 1))
            return f"this task contradicts the stored ones: rank correlation {rho:.2f} over {count} results"
        return ""

"""The one interface of all warm-starters."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from portfolio.history import History, Target
from portfolio.table import Query, Table

logger = logging.getLogger("portfolio")


class WarmStarter(ABC):
    """Turns past results into the configurations to try first on a new task.

    This class translates, checks and labels; a subclass learns (``_fit``) and orders columns (``_rank``).
    ``propose`` is meant to be called once per trial with growing ``observed``. It never raises on legal types:
    holes, nan, inf, no metafeatures, no observations and an empty history are all fine. A configuration without
    a single stored error is proposed last.
    """

    name: ClassVar[str]
    """Key in ``WARM_STARTERS`` and label of the proposals."""
    cache: Path | None = None
    """Folder that remembers choices made on a store from one process to the next; to be set before ``fit``."""

    def __init__(self, *, seed: int = 0) -> None:
        """``seed`` decides all random choices: same seed, same history, same target, same proposals."""
        self.seed = seed
        self._table = Table.of(History.empty())
        self._why = "not fitted yet"

    def fit(self, history: History) -> Self:
        """Learn from past results; what was learned before is forgotten."""
        return self.fit_table(Table.of(history))

    def fit_table(self, table: Table) -> Self:
        """Learn from past results that are clean arrays already: what ``fit`` does after cleaning."""
        self._table = table
        self._why = "nothing proposed yet"
        if table.tasks and table.ids:
            self._fit(table)
        return self

    def propose(self, target: Target, n: int = 1) -> list[str]:
        """Return up to ``n`` ids of stored configurations, best first, distinct, none of them observed.

        Fewer are returned only when the history has no more; none when it has no task (there is nothing to learn from).
        """
        if n < 1 or not self._table.tasks:
            self._why = "no stored results to learn from" if n >= 1 else "nothing was asked for"
            return []
        query = Query.of(target, self._table)
        chosen = [self._table.ids[column] for column in self._free(query, n)]
        logger.debug("%s proposes %s: %s", self.name, chosen, self._why)
        return chosen

    def next_column(self, query: Query) -> int:
        """Return the one best column that is not taken; there must be one."""
        return self._free(query, 1)[0]

    def _free(self, query: Query, n: int) -> list[int]:
        """Return the first n distinct columns of the ranking that are not taken."""
        free = np.ones(len(self._table.ids), dtype=bool)
        free[query.taken] = False
        chosen: list[int] = []
        for column in self._rank(query, n):
            if free[column] and len(chosen) < n:
                free[column] = False
                chosen.append(int(column))
        return chosen

    def explain(self) -> str:
        """Say in a sentence or two why the last proposals were made."""
        return self._why

    def sources(self, ids: Iterable[str]) -> dict[str, str]:
        """Return for each of the last proposed ids the name of the warm-starter that really produced it."""
        return dict.fromkeys(ids, self.name)

    def hand_over(self, target: Target) -> str:  # noqa: ARG002
        """Return why the caller should stop asking and search on its own; "" while proposals are worth a trial."""
        return "" if self._table.tasks else "no stored results to learn from"

    @abstractmethod
    def _fit(self, table: Table) -> None:
        """Learn from at least one task."""

    @abstractmethod
    def _rank(self, query: Query, n: int) -> Sequence[int]:
        """Return columns, best first: at least the n best that are not taken; set ``self._why``.

        Taken columns and repetitions may be among them: they are skipped.
        """

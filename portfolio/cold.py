"""The null warm-starter: the smallest example to imitate, and the baseline of every experiment."""

from __future__ import annotations

from collections.abc import Sequence

from portfolio.base import WarmStarter
from portfolio.history import Target
from portfolio.table import Query, Table


class ColdStart(WarmStarter):
    """Proposes nothing: the search starts on its own."""

    name = "cold"

    def hand_over(self, target: Target) -> str:  # noqa: ARG002
        """Hand over at once."""
        return "a cold start uses no stored results"

    def _fit(self, table: Table) -> None:
        """Learn nothing."""

    def _rank(self, query: Query, n: int) -> Sequence[int]:  # noqa: ARG002
        self._why = "a cold start uses no stored results"
        return []

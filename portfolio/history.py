"""What past results look like (``History``) and what is known about the task at hand (``Target``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class Target:
    """The task at hand: all that a warm-starter may know of it."""

    metafeatures: pd.Series | None = None
    """Feature name -> value; nan allowed, features unknown to the history are ignored."""
    observed: Mapping[str, float] = field(default_factory=dict)
    """Configuration id -> error seen so far on this task; nan or inf marks a failed evaluation."""


@dataclass(frozen=True)
class History:
    """Errors of configurations on tasks, with what describes both sides."""

    errors: pd.DataFrame
    """Tasks × configuration ids, lower is better, nan = not run."""
    configurations: Mapping[str, dict[str, Any]]
    """Configuration id -> hyperparameters."""
    metafeatures: pd.DataFrame | None = None
    """Tasks × features, nan allowed."""
    runtimes: pd.DataFrame | None = None
    """Seconds, same shape as ``errors``."""
    groups: pd.Series | None = None
    """Task -> family of near-duplicate tasks; a task without one is a family of its own."""
    names: pd.Series | None = None
    """Task -> what people call it; explanations use it where there is one."""

    @classmethod
    def empty(cls) -> History:
        """Return a history without tasks and configurations.

        >>> History.empty().errors.shape
        (0, 0)
        """
        return cls(errors=pd.DataFrame(dtype=float), configurations={})

    def name_of(self, task: Any) -> str:
        """Return what people call a task: the label in ``names``, or the task itself."""
        if self.names is None or task not in self.names.index or pd.isna(self.names[task]):
            return str(task)
        return str(self.names[task])

    def family_of(self, task: Any) -> Any:
        """Return the family of a task: the label in ``groups``, or the task itself."""
        if self.groups is None or task not in self.groups.index or pd.isna(self.groups[task]):
            return task
        return self.groups[task]

    def keep_tasks(self, tasks: Iterable[Any]) -> History:
        """Return the history of these tasks only, in this order; tasks it does not hold are ignored."""
        kept = pd.Index([task for task in tasks if task in self.errors.index])
        return History(
            errors=self.errors.loc[kept],
            configurations=self.configurations,
            metafeatures=None if self.metafeatures is None else self.metafeatures.reindex(kept),
            runtimes=None if self.runtimes is None else self.runtimes.reindex(kept),
            groups=None if self.groups is None else self.groups.reindex(kept),
            names=None if self.names is None else self.names.reindex(kept),
        )

    def drop_tasks(self, tasks: Iterable[Any]) -> History:
        """Return the history without these tasks (and only these: see ``drop_families`` for their near-duplicates).

        >>> history = History(pd.DataFrame({"c0": [0.1, 0.2]}, index=["t0", "t1"]), {"c0": {}})
        >>> list(history.drop_tasks(["t0"]).errors.index)
        ['t1']
        """
        dropped = set(tasks)
        return self.keep_tasks(task for task in self.errors.index if task not in dropped)

    def drop_families(self, tasks: Iterable[Any]) -> History:
        """Return the history without these tasks and every task of their families."""
        families = {self.family_of(task) for task in tasks}
        return self.keep_tasks(task for task in self.errors.index if self.family_of(task) not in families)

    def merge(self, other: History) -> History:
        """Return both histories as one; where both hold a value, the one of ``other`` stands."""
        return History(
            errors=_overlay(self.errors, other.errors),
            configurations={**self.configurations, **other.configurations},
            metafeatures=_merge(self.metafeatures, other.metafeatures),
            runtimes=_merge(self.runtimes, other.runtimes),
            groups=_merge_labels(self.groups, other.groups),
            names=_merge_labels(self.names, other.names),
        )


def _merge_labels(old: pd.Series | None, new: pd.Series | None) -> pd.Series | None:
    frames = (None if series is None else series.to_frame("label") for series in (old, new))
    merged = _merge(*frames)
    return None if merged is None else merged["label"]


def _merge(old: pd.DataFrame | None, new: pd.DataFrame | None) -> pd.DataFrame | None:
    if old is None or new is None:
        return new if old is None else old
    return _overlay(old, new)


def _overlay(old: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """Return the union of rows and columns, those of ``old`` first; values of ``new`` stand where it has any."""
    rows, columns = old.index.union(new.index, sort=False), old.columns.union(new.columns, sort=False)
    above = new.reindex(index=rows, columns=columns)
    return above.where(above.notna(), old.reindex(index=rows, columns=columns))

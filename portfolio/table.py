"""A history as clean numpy arrays: what the algorithms compute with."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from portfolio.history import History, Target

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

HUGE = 1e100
"""Errors and metafeatures beyond this are taken for garbage, as inf is: their squares would overflow."""


@dataclass(frozen=True)
class Table:
    """t tasks × c configurations, all values finite or nan, every task with at least one error."""

    tasks: list[Hashable]
    """The t tasks."""
    names: list[str]
    """What people call them."""
    ids: list[str]
    """Ids of the c configurations."""
    errors: Floats
    """Errors, shape ``(t, c)``, lower is better, nan = not run or failed."""
    configurations: list[Mapping[str, Any]]
    """Hyperparameters of the c configurations; empty where unknown."""
    feature_names: list[Hashable]
    """Names of the f metafeatures, possibly none."""
    metafeatures: Floats
    """Metafeatures, shape ``(t, f)``, nan allowed."""
    seconds: Floats | None
    """Run times in seconds, shape ``(t, c)``, nan = unknown; None if the history has none."""
    families: Ints
    """Family of each task as a number from 0, shape ``(t,)``."""

    @classmethod
    def of(cls, history: History) -> Table:
        """Clean a history: values that are not finite numbers become nan, tasks without any error are left out.

        Repeated task rows or configuration columns are kept once, the first of each.
        """
        frame = history.errors
        frame = frame.loc[~frame.index.duplicated(), ~frame.columns.duplicated()]
        errors = _finite(frame)
        rows = np.flatnonzero(np.isfinite(errors).any(axis=1))
        tasks = [frame.index[int(row)] for row in rows]
        features = _aligned(history.metafeatures, tasks)
        seconds = None if history.runtimes is None else _finite(_aligned(history.runtimes, tasks, frame.columns))
        labels = pd.Index([f"{history.family_of(task)!r}" for task in tasks])
        return cls(
            tasks=tasks,
            names=[history.name_of(task) for task in tasks],
            ids=[str(column) for column in frame.columns],
            errors=errors[rows],
            configurations=[_mapping(history.configurations.get(column)) for column in frame.columns],
            feature_names=list(features.columns),
            metafeatures=_finite(features),
            seconds=seconds,
            families=pd.factorize(labels)[0].astype(np.int64),
        )

    @cached_property
    def column_of(self) -> dict[str, int]:
        """Configuration id -> column."""
        return {name: column for column, name in enumerate(self.ids)}

    @cached_property
    def task_weights(self) -> Floats:
        """Weight of each task so that every family counts alike, shape ``(t,)``, sum 1.

        55 copies of one dataset weigh together as much as one dataset that has no copy.
        """
        if not self.tasks:
            return np.zeros(0)
        sizes = np.bincount(self.families)
        weights = 1.0 / sizes[self.families]
        return np.asarray(weights / weights.sum())

    def rows(self, chosen: NDArray[Any]) -> Table:
        """Return the table of these tasks only (row numbers or a mask)."""
        numbers = np.arange(len(self.tasks))[chosen]
        return Table(
            tasks=[self.tasks[row] for row in numbers],
            names=[self.names[row] for row in numbers],
            ids=self.ids,
            errors=self.errors[numbers],
            configurations=self.configurations,
            feature_names=self.feature_names,
            metafeatures=self.metafeatures[numbers],
            seconds=None if self.seconds is None else self.seconds[numbers],
            families=np.unique(self.families[numbers], return_inverse=True)[1].astype(np.int64),
        )

    def columns(self, chosen: NDArray[Any]) -> Table:
        """Return the table of these configurations only (column numbers or a mask)."""
        numbers = np.arange(len(self.ids))[chosen]
        return replace(
            self,
            ids=[self.ids[column] for column in numbers],
            errors=self.errors[:, numbers],
            configurations=[self.configurations[column] for column in numbers],
            seconds=None if self.seconds is None else self.seconds[:, numbers],
        )


@dataclass(frozen=True)
class Query:
    """A target in the terms of a table: what a warm-starter is asked with."""

    metafeatures: Floats
    """Metafeatures in the order of the table, shape ``(f,)``, nan = unknown."""
    columns: Ints
    """Configurations of the table with a finite error on the target, in the order of evaluation, shape ``(o,)``."""
    errors: Floats
    """Their errors, shape ``(o,)``."""
    failed: Ints
    """Configurations of the table that were evaluated on the target and gave no finite error."""
    elsewhere: Floats
    """Finite errors on the target of configurations that the table does not hold: they only tell the best so far."""

    @classmethod
    def of(cls, target: Target, table: Table) -> Query:
        """Translate a target."""
        seen, place = _observed(target), table.column_of
        known = [(place[name], _number(error)) for name, error in seen if name in place]
        others = [_number(error) for name, error in seen if name not in place]
        good = [(column, error) for column, error in known if np.isfinite(error)]
        return cls(
            metafeatures=_features(target.metafeatures, table.feature_names),
            columns=np.array([column for column, _ in good], dtype=np.int64),
            errors=np.array([error for _, error in good], dtype=float),
            failed=np.array([column for column, error in known if not np.isfinite(error)], dtype=np.int64),
            elsewhere=np.array([error for error in others if np.isfinite(error)], dtype=float),
        )

    @property
    def taken(self) -> Ints:
        """Columns that must not be proposed again."""
        return np.concatenate([self.columns, self.failed])

    @property
    def best(self) -> float:
        """Smallest error seen so far; inf before the first."""
        return float(min(self.errors.min(initial=np.inf), self.elsewhere.min(initial=np.inf)))


def _observed(target: Target) -> list[tuple[str, Any]]:
    return [(str(name), error) for name, error in (target.observed or {}).items()]


def _finite(frame: pd.DataFrame) -> Floats:
    """Return a frame as floats; what is not a finite number becomes nan."""
    values = frame.apply(pd.to_numeric, errors="coerce").to_numpy(dtype=float, na_value=np.nan, copy=True)
    values = values.reshape(frame.shape)
    values[~np.isfinite(values) | (np.abs(values) > HUGE)] = np.nan
    return np.asarray(values)


def _aligned(frame: pd.DataFrame | None, tasks: list[Hashable], columns: pd.Index | None = None) -> pd.DataFrame:
    if frame is None:
        return pd.DataFrame(index=pd.Index(tasks), dtype=float)
    unique = frame.loc[~frame.index.duplicated(), ~frame.columns.duplicated()]
    return unique.reindex(index=pd.Index(tasks)) if columns is None else unique.reindex(index=tasks, columns=columns)


def _features(series: pd.Series | None, names: list[Hashable]) -> Floats:
    if series is None:
        return np.full(len(names), np.nan)
    unique = series[~series.index.duplicated()]
    return _finite(unique.reindex(pd.Index(names)).to_frame())[:, 0] if names else np.zeros(0)


def _number(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return float("nan")
    return number if abs(number) <= HUGE else float("nan")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}

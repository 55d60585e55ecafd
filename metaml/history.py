"""What the store remembers, as the history that warm-starters learn from."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from metaml.space import SearchSpace
from metaml.store import Results, Selection, Store
from metaml.trial import configuration_id
from portfolio.history import History

Floats = NDArray[np.float64]


def history_from_store(
    store: Store,
    *,
    space: str,
    exclude: Collection[str] = (),
    metric: str | None = None,
    metafeatures_version: str | None = None,
    exclude_groups: bool = False,
) -> History:
    """Return tasks × configurations of one search space: the mean error and time over seeds and runs.

    Args:
        store: Where the trials are.
        space: The search space; spaces never mix.
        exclude: Fingerprints of tasks to leave out: the target itself, in every search and experiment.
        metric: Only errors of this metric; None takes each task's own.
        metafeatures_version: Which definition of the metafeatures to attach; None attaches none.
        exclude_groups: Whether the near-duplicates of the excluded tasks are left out as well, as every honest
            comparison does (a task that is not in the store has none).

    Returns:
        A history whose tasks are fingerprints. A trial that failed counts with the worst error.
    """
    cells = Cells(store, Selection(space=space, metric=metric))
    return cells.history(exclude, metafeatures_version=metafeatures_version, exclude_groups=exclude_groups)


def history_of_space(store: Store, space: SearchSpace, **chosen: Any) -> History:
    """Return `history_from_store` of a search space, and of its predecessors with their configurations upgraded.

    Args:
        store: Where the trials are.
        space: The search space. Where a cell has results of several versions, those of the newest stand.
        chosen: Further arguments of `history_from_store`.
    """
    history = History.empty()
    for version in [*space.predecessors, space.version]:
        history = history.merge(upgraded(history_from_store(store, space=version, **chosen), space))
    return history


def upgraded(history: History, space: SearchSpace) -> History:
    """Return a history with its configurations as points of a search space.

    Those of unrelated spaces and of families that are not searched are left out.
    """
    known = {space.version, *space.predecessors}
    related = {name: c for name, c in history.configurations.items() if c.get("space") in known}
    new = {name: space.upgrade(c) for name, c in related.items() if c["family"] in space.families}
    names = {name: configuration_id(configuration) for name, configuration in new.items()}

    def rename(frame: pd.DataFrame) -> pd.DataFrame:
        kept = frame[[name for name in frame.columns if name in names]].rename(columns=names)
        return kept.loc[:, ~kept.columns.duplicated(keep="last")]

    return replace(
        history,
        errors=rename(history.errors),
        configurations={names[name]: configuration for name, configuration in new.items()},
        runtimes=None if history.runtimes is None else rename(history.runtimes),
    )


class Cells:
    """Sums over seeds and runs in each cell of tasks × configurations, which follow the store as it grows.

    The first reading takes all results, every later one only what was written since. When trials were removed in
    between, everything is read again.
    """

    def __init__(self, store: Store, chosen: Selection) -> None:
        self._store = store
        self._chosen = chosen
        self._forget()

    def _forget(self) -> None:
        self._tasks: list[str] = []
        self._configurations: list[str] = []
        self._sums: Floats = np.zeros((3, 0, 0))  # of errors, of seconds, of ones; (3, tasks, configurations)
        self._last = self._seen = 0

    def refresh(self) -> None:
        """Take in what was written to the store since the last time."""
        results = self._store.read_results(self._chosen, after=self._last)
        if results.total != self._seen + results.read:
            self._forget()
            results = self._store.read_results(self._chosen)
        self._last, self._seen = results.last, results.total
        self._add(results)

    def _add(self, results: Results) -> None:
        rows, columns = _extend(self._tasks, results.tasks), _extend(self._configurations, results.configurations)
        missing = (len(self._tasks) - self._sums.shape[1], len(self._configurations) - self._sums.shape[2])
        if any(missing):
            self._sums = np.pad(self._sums, ((0, 0), (0, missing[0]), (0, missing[1])))
        cell = (rows[results.task], columns[results.configuration])
        for total, values in zip(self._sums, (results.error, results.seconds, np.ones(len(results.task))), strict=True):
            np.add.at(total, cell, values)

    def history(
        self, exclude: Collection[str] = (), *, metafeatures_version: str | None = None, exclude_groups: bool = False
    ) -> History:
        """Return the history as the store is now; the arguments are those of `history_from_store`."""
        self.refresh()
        known_tasks = self._store.tasks()
        groups = known_tasks["group"]
        left_out = set(exclude) | (_near_duplicates(groups, exclude) if exclude_groups else set())
        used = self._sums[2] > 0
        rows = np.array([i for i in np.flatnonzero(used.any(axis=1)) if self._tasks[i] not in left_out], dtype=np.int64)
        columns = np.flatnonzero(used[rows].any(axis=0))
        tasks = pd.Index([self._tasks[i] for i in rows], dtype="str")
        ids = [self._configurations[i] for i in columns]
        errors, seconds = (pd.DataFrame(part, tasks, ids) for part in _means(self._sums, rows, columns))
        known = self._store.configurations(space=self._chosen.space)
        return History(
            errors=errors,
            configurations={name: known[name] for name in ids},
            metafeatures=_metafeatures(self._store, metafeatures_version, tasks),
            runtimes=seconds,
            groups=groups.reindex(tasks),
            names=known_tasks["name"].reindex(tasks),
        )


def _extend(known: list[str], names: Iterable[str]) -> NDArray[np.int64]:
    """Append the names that are new to a list; return the place of every name."""
    places = {name: i for i, name in enumerate(known)}
    for name in names:
        if name not in places:
            places[name] = len(known)
            known.append(name)
    return np.array([places[name] for name in names], dtype=np.int64)


def _means(sums: Floats, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Floats:
    """Return mean errors and seconds of some tasks and configurations, (2, rows, columns); nan where nothing ran."""
    if (len(rows), len(columns)) != sums.shape[1:]:
        sums = sums[np.ix_(np.arange(3), rows, columns)]
    with np.errstate(invalid="ignore"):
        means: Floats = sums[:2] / sums[2]  # 0 / 0 is nan
    return means


def _near_duplicates(groups: pd.Series[str], fingerprints: Collection[str]) -> set[str]:
    excluded = groups.reindex(list(fingerprints)).dropna().unique()
    return set(groups.index[groups.isin(excluded)])


def _metafeatures(store: Store, version: str | None, tasks: pd.Index[str]) -> pd.DataFrame | None:
    if version is None:
        return None
    found = store.metafeatures(version)
    return None if found.empty else found.reindex(tasks)

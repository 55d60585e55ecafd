"""What the store remembers, as the history that warm-starters learn from."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

from metaml.store import Store
from portfolio.history import History


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
    tasks = store.tasks()
    left_out = set(exclude) | (_near_duplicates(tasks, exclude) if exclude_groups else set())
    results = store.results(space=space, metric=metric, exclude=left_out)
    errors, seconds = _means(results)
    configurations = store.configurations(space=space)
    return History(
        errors=errors,
        configurations={name: configurations[name] for name in errors.columns},
        metafeatures=_metafeatures(store, metafeatures_version, errors.index),
        runtimes=seconds,
        groups=tasks["group"].reindex(errors.index),
    )


def _near_duplicates(tasks: pd.DataFrame, fingerprints: Collection[str]) -> set[str]:
    groups = tasks["group"].reindex(list(fingerprints)).dropna().unique()
    return set(tasks.index[tasks["group"].isin(groups)])


def _means(results: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the mean error and the mean seconds of each cell, (tasks, configurations) both."""
    if results.empty:
        return pd.DataFrame(dtype=float), pd.DataFrame(dtype=float)
    cells = results.groupby(["fingerprint", "configuration_id"], sort=False)[["error", "seconds"]].mean()
    errors, seconds = cells["error"].unstack(), cells["seconds"].unstack()
    return errors, seconds


def _metafeatures(store: Store, version: str | None, tasks: pd.Index[str]) -> pd.DataFrame | None:
    if version is None:
        return None
    found = store.metafeatures(version)
    return None if found.empty else found.reindex(tasks)

"""Which stored tasks a task is like, and why."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from metafeatures.similarity import SIMILARITIES, StatisticalDistance, TaskView
from metaml.data import Task
from metaml.errors import StoreError, UsageError
from metaml.history import history_of_space
from metaml.space import SPACES
from metaml.store import Store
from metaml.views import DESCRIPTIONS, Vectors, describe_task, observed, remember, stored_views, view

MEASURES = ("statistical", "normals", "dataset2vec", "task2vec", "text", "performance")
"""Measures that can be asked of a store, the default first: those whose vectors hold no rows."""
REASONS = 4
"""How many features are named for, and how many against."""


def describe_and_compare(
    task: Task, store_url: str | None, *, by: str = MEASURES[0], n: int = 5, seed: int = 0
) -> tuple[pd.Series[float], dict[str, Any] | None]:
    """Return the metafeatures of a task and, when there is a store, `similar_tasks`.

    Raises:
        UsageError: A seed and a store are given: stored descriptions are all of seed 0.
        StoreError: The store is not there, or has nothing to compare with.
    """
    if store_url is None:
        return describe_task(task, seed=seed), None
    if seed != 0:
        raise UsageError("--seed and --similar-to contradict each other: stored descriptions are all of seed 0.")
    with Store.open(store_url, create=False) as store:
        vectors = remember(store, task)
        return vectors[DESCRIPTIONS[task.modality]], similar_tasks(task, store, vectors=vectors, by=by, n=n)


def similar_tasks(
    task: Task, store: Store, *, vectors: Vectors | None = None, by: str = MEASURES[0], n: int = 5
) -> dict[str, Any]:
    """Return the stored tasks that are most like a task, nearest first, with the features that say so.

    Args:
        task: What is compared; itself it is left out.
        store: Where the others are; it is given the description of the task.
        vectors: What `remember` has returned, when that was asked already.
        by: The measure, out of `MEASURES`.
        n: How many.

    Raises:
        UsageError: There is no such measure.
        StoreError: The store has no other task that this measure can compare.
    """
    if by not in MEASURES:
        raise UsageError(f"There is no measure {by!r}: choose one of {', '.join(MEASURES)}.")
    vectors = remember(store, task) if vectors is None else vectors
    errors = history_of_space(store, SPACES[task.modality]).errors
    views = stored_views(store, errors, {DESCRIPTIONS[task.modality], SIMILARITIES[by].key()})
    tasks = store.tasks()
    alike = set(tasks.index[tasks["modality"] == task.modality]) - {task.fingerprint}
    views = {name: seen for name, seen in views.items() if name in alike}
    target = view(vectors, observed(errors, task.fingerprint))
    distances = SIMILARITIES[by]().fit(views).distances(target).dropna().sort_values(kind="stable")
    if distances.empty:
        raise StoreError(_nothing_to_compare(by, store, views, target))
    reasons = StatisticalDistance().fit(views)
    return {
        "by": by,
        "store": store.url,
        "compared": len(distances),
        "tasks": [
            {
                "fingerprint": name,
                "name": tasks.loc[name, "name"],
                "type": tasks.loc[name, "type"],
                "rows": int(tasks.loc[name, "n_rows"]),
                "distance": float(distances[name]),
                "tried": len(views[name].errors),
                **_why(reasons, target, views[name], name),
            }
            for name in distances.index[:n]
        ],
    }


def _why(measure: StatisticalDistance, target: TaskView, other: TaskView, name: str) -> dict[str, list[dict[str, Any]]]:
    """The features that agree more than they usually do, and those that differ more, with both values."""
    empty: dict[str, list[dict[str, Any]]] = {"alike": [], "unlike": []}
    if other.metafeatures is None or target.metafeatures is None:
        return empty
    reasons = measure.reasons(target, name)
    ours, theirs = target.metafeatures, other.metafeatures

    def values(features: pd.Index[str]) -> list[dict[str, Any]]:
        return [{"feature": f, "this": _number(ours[f]), "that": _number(theirs[f])} for f in features]

    agree = reasons[reasons["surprise"] > 0].nlargest(REASONS, "surprise")
    differ = reasons[reasons["surprise"] < 0].nlargest(REASONS, "difference")
    return {"alike": values(agree.index), "unlike": values(differ.index)}


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _nothing_to_compare(by: str, store: Store, views: dict[str, TaskView], target: TaskView) -> str:
    if not views:
        return (
            f"The store {store.url} describes no other task: `metaml search --store` and `metaml portfolio build "
            "--store` fill it."
        )
    if not SIMILARITIES[by]().supports(target):
        return f"The measure {by!r} knows nothing of this task: search on it with this store, or take another measure."
    return f"The measure {by!r} can compare none of the {len(views)} other tasks of {store.url}: take another measure."

"""What a task is known by, for each measure of similarity: computed once, kept in the store, never its rows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping

import pandas as pd

import metafeatures
from metafeatures.similarity import (
    Dataset2VecDistance,
    NormalsDistance,
    TaskView,
    TextDistance,
    class_normals,
    cloud_of,
    dataset2vec,
    text_of,
    words_of,
)
from metafeatures.target import TaskType
from metaml.data import TableTask, Task
from metaml.errors import StoreError
from metaml.store import Store, TaskRecord

SECONDS = 5.0
"""Time for the metafeatures; what does not fit is left out."""

logger = logging.getLogger(__name__)

Vectors = dict[str, "pd.Series[float]"]
"""Version under which the store keeps a vector -> the vector."""


def describe_task(task: Task, *, store: Store | None = None, seed: int = 0) -> pd.Series[float]:
    """Return the metafeatures of a task: those that a store has, which are of seed 0, or fresh ones."""
    known = {} if store is None else store.metafeatures_of(task.fingerprint)
    if metafeatures.VERSION in known:
        return known[metafeatures.VERSION]
    return metafeatures.describe_table(_table(task, seed), time_limit=SECONDS)


def task_record(task: Task, *, name: str | None = None, group: str | None = None) -> TaskRecord:
    """Return what the store says about a task."""
    return TaskRecord(
        fingerprint=task.fingerprint,
        name=name or task.name,
        type=task.type,
        n_rows=len(task.y),
        n_features=task.n_features,
        n_classes=len(task.classes) or None,
        group=group,
        source=task.source or "",
    )


def remember(store: Store, task: Task, fresh: Mapping[str, pd.Series[float]] | None = None) -> Vectors:
    """Return the vectors of a task by all measures: those that the store has, and the others, which it is given now.

    The task joins the store if it was not there. A vector that ran out of time is not kept. A store that cannot be
    written is no reason to fail.

    Args:
        store: Where vectors are kept.
        task: What they are of.
        fresh: Vectors that were computed already, by version.
    """
    vectors = store.metafeatures_of(task.fingerprint)
    computed = {version: vector for version, vector in (fresh or {}).items() if version not in vectors}
    missing = [version for version in _COMPUTE if version not in vectors and version not in computed]
    if missing:
        table = _table(task)
        found = {version: _computed(version, task, table) for version in missing}
        computed |= {version: vector for version, vector in found.items() if vector is not None}
    if not computed:
        return vectors
    lasting = {version: vector for version, vector in computed.items() if not vector.attrs.get("unfinished")}
    try:
        store.add_task(task_record(task))
        for version, vector in lasting.items():
            store.add_metafeatures(task.fingerprint, vector, version)
    except StoreError as error:
        logger.info("the description of %s is not kept: %s", task.name, error)
    return vectors | computed


def _computed(version: str, task: Task, table: metafeatures.Table) -> pd.Series[float] | None:
    try:
        return _COMPUTE[version](task, table)
    except Exception:  # a description must never end a search
        logger.warning("the description %s of %s failed and is left out", version, task.name, exc_info=True)
        return None


def view(vectors: Mapping[str, pd.Series[float]], errors: Mapping[str, float] | None = None) -> TaskView:
    """Return what measures of similarity see of a task.

    Args:
        vectors: by version, as `remember` returns them.
        errors: configuration id -> normalised error.
    """
    words = vectors.get(TextDistance.key())
    return TaskView(
        metafeatures=vectors.get(metafeatures.VERSION),
        vectors={measure.name: vectors[measure.key()] for measure in _BY_VECTOR if measure.key() in vectors},
        text="" if words is None else text_of(words),
        errors=errors or {},
    )


def stored_views(store: Store, errors: pd.DataFrame, versions: Collection[str]) -> dict[str, TaskView]:
    """Return all tasks of a store that have one of the vectors asked for, by fingerprint.

    Args:
        store: Where they are.
        errors: tasks × configurations, nan = not run.
        versions: of the vectors.
    """
    tables = {version: store.metafeatures(version) for version in versions}
    names = sorted({name for table in tables.values() for name in table.index})
    views = {}
    for name in names:
        vectors = {version: table.loc[name] for version, table in tables.items() if name in table.index}
        views[name] = view(vectors, observed(errors, name))
    return views


def observed(errors: pd.DataFrame, name: str) -> dict[str, float]:
    """Return what a task has tried: configuration id -> error; nothing for a task that is not there."""
    if name not in errors.index:
        return {}
    row = errors.loc[name].dropna()
    return dict(zip(map(str, row.index), map(float, row), strict=True))


def _table(task: Task, seed: int = 0) -> metafeatures.Table:
    kind: TaskType = "regression" if task.type == "regression" else "classification"
    if not isinstance(task, TableTask):
        raise TypeError(f"a task must be of a table to be described, however: {task.modality}")
    return metafeatures.Table(task.X, pd.Series(task.y), task_type=kind, seed=seed)


def _text(task: Task) -> str:
    columns = [column.name for column in task.columns] if isinstance(task, TableTask) else []
    return " ".join([task.name, task.target, *columns])


_BY_VECTOR = (NormalsDistance, Dataset2VecDistance)
_COMPUTE: dict[str, Callable[[Task, metafeatures.Table], pd.Series[float]]] = {
    metafeatures.VERSION: lambda _, table: metafeatures.describe_table(table, time_limit=SECONDS),
    TextDistance.key(): lambda task, _: words_of(_text(task)),
    Dataset2VecDistance.key(): lambda _, table: dataset2vec.embed(table),
    NormalsDistance.key(): lambda _, table: class_normals(cloud_of(table)).to_vector(),
}
"""Version -> (task, the same as a table) -> vector."""

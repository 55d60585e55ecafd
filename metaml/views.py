"""What a task is known by, for each measure of similarity: computed once, kept in the store, never its rows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any

import pandas as pd

import metafeatures
from metafeatures.similarity import (
    Dataset2VecDistance,
    NormalsDistance,
    Task2VecDistance,
    TaskView,
    TextDistance,
    class_normals,
    cloud_of,
    dataset2vec,
    task2vec,
    text_of,
    words_of,
)
from metafeatures.target import TaskType
from metaml.data import ImageTask, Modality, TableTask, Task
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
    version = DESCRIPTIONS[task.modality]
    if version in known:
        return known[version]
    if isinstance(task, ImageTask):
        return _describe_images(task, seed)
    return metafeatures.describe_table(_table(task, seed), time_limit=SECONDS)


def task_record(task: Task, *, name: str | None = None, group: str | None = None) -> TaskRecord:
    """Return what the store says about a task."""
    return TaskRecord(
        fingerprint=task.fingerprint,
        name=name or task.name,
        type=task.type,
        modality=task.modality,
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
    known = {**vectors, **computed}
    missing = [version for version in _COMPUTE[task.modality] if version not in known]
    if missing:
        found = _compute(task, missing)
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


def _compute(task: Task, versions: list[str]) -> dict[str, pd.Series[float] | None]:
    """Return vectors of a task by version; None for one that failed, which must never end a search."""
    shown = task if isinstance(task, ImageTask) else _table(task)
    found: dict[str, pd.Series[float] | None] = {}
    for version in versions:
        try:
            found[version] = _COMPUTE[task.modality][version](task, shown)
        except Exception:
            logger.warning("the description %s of %s failed and is left out", version, task.name, exc_info=True)
            found[version] = None
    return found


def view(vectors: Mapping[str, pd.Series[float]], errors: Mapping[str, float] | None = None) -> TaskView:
    """Return what measures of similarity see of a task.

    Args:
        vectors: by version, as `remember` returns them.
        errors: configuration id -> normalised error.
    """
    words = vectors.get(TextDistance.key())
    return TaskView(
        metafeatures=next((vectors[version] for version in DESCRIPTIONS.values() if version in vectors), None),
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
    names = [column.name for column in task.columns] if isinstance(task, TableTask) else map(str, task.classes)
    return " ".join([task.name, task.target, *names])


def _describe_images(task: ImageTask, seed: int = 0) -> pd.Series[float]:
    is_regression = task.type == "regression"
    return metafeatures.describe_images(task.images, task.y, is_regression=is_regression, seed=seed)


DESCRIPTIONS: dict[Modality, str] = {"tabular": metafeatures.VERSION, "image": metafeatures.IMAGE_VERSION}
"""Kind of task -> version of its metafeatures."""
_BY_VECTOR = (NormalsDistance, Dataset2VecDistance, Task2VecDistance)
_COMPUTE: dict[Modality, dict[str, Callable[[Task, Any], pd.Series[float]]]] = {
    "tabular": {
        metafeatures.VERSION: lambda _, table: metafeatures.describe_table(table, time_limit=SECONDS),
        TextDistance.key(): lambda task, _: words_of(_text(task)),
        Dataset2VecDistance.key(): lambda _, table: dataset2vec.embed(table),
        NormalsDistance.key(): lambda _, table: class_normals(cloud_of(table)).to_vector(),
    },
    "image": {
        metafeatures.IMAGE_VERSION: lambda _, images: _describe_images(images),
        TextDistance.key(): lambda task, _: words_of(_text(task)),
        Task2VecDistance.key(): lambda task, images: task2vec.embed(images.images, task.y),
    },
}
"""Kind of task -> version -> (task, the same as a table or as images) -> vector."""

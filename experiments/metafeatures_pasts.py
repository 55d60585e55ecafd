"""The histories of `metafeatures_ablation`: results whose tables are at hand, so that every measure can be computed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

import metafeatures
from experiments.metafeatures_oracle import DATA
from metafeatures.similarity import TaskView, class_normals, cloud_of, dataset2vec
from metafeatures.target import TaskType
from metaml.collect import read_manifest
from metaml.data import TableTask, load_task
from portfolio.shipped import DEFAULT_FOLDER, load_default_history

GRIDS = DATA / "meta" / "dataset2vec_mlp"
WORST = 2.0
"""Error of a configuration that did not end in time: the largest normalised one."""


@dataclass(frozen=True)
class Past:
    """What is known of some tasks."""

    name: str
    views: Mapping[str, TaskView]
    errors: tuple[pd.DataFrame, ...]
    """One a search space: tasks × configurations, lower is better."""
    families: Mapping[str, str]
    """Task -> family of near-duplicates, which is left out as a whole."""


def grids_of_mlps() -> Past:
    """`dataset2vec_mlp`: MLPs on UCI tables, three grids of 256 to 324 configurations; errors are 1 - accuracy."""
    views = {}
    for path in sorted((GRIDS / "raw_dev").glob("*.csv.gz")):
        name, raw = path.name.removesuffix(".csv.gz"), pd.read_csv(path)
        views[name] = view_of(raw.iloc[:, :-1], raw.iloc[:, -1], "classification", name)
    spaces = (pd.read_csv(GRIDS / f"accuracy_searchspace_{space}.csv.gz", index_col=0) for space in "abc")
    errors = tuple(1 - accuracy.loc[[name for name in views if name in accuracy.index]] for accuracy in spaces)
    return Past("mlps", views, errors, {name: re.split(r"[-_]", name)[0] for name in views})


def own_history() -> Past:
    """The history that ships: four families of models in one space, classification and regression."""
    tasks = pd.read_parquet(DEFAULT_FOLDER / "tasks.parquet").set_index("task")
    entries = {entry.name: entry for entry in read_manifest(DATA / "tabular")}
    errors = load_default_history().errors.fillna(WORST).rename(index=dict(tasks["name"]))
    views = {}
    for name in errors.index:
        task = load_task(str(entries[name].path), entries[name].target, type=entries[name].type)
        kind: TaskType = "regression" if task.type == "regression" else "classification"
        assert isinstance(task, TableTask)
        views[name] = view_of(task.X, pd.Series(task.y), kind, name)
    return Past("own", views, (errors,), dict(zip(tasks["name"], tasks["family"], strict=True)))


def view_of(X: pd.DataFrame, y: pd.Series[Any], kind: TaskType, name: str) -> TaskView:
    """Everything that the measures know of a table."""
    table = metafeatures.Table(X, y, task_type=kind)
    cloud = cloud_of(table)
    return TaskView(
        metafeatures=metafeatures.describe_table(table, groups=metafeatures.ALL_GROUPS, time_limit=60),
        cloud=cloud,
        vectors={"normals": class_normals(cloud).to_vector(), "dataset2vec": dataset2vec.embed(table)},
        text=re.sub(r"[-_]", " ", name),
    )

"""The tables of the quality experiment: chosen by a rule before any result was seen, and split once for all systems."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from metaml.collect import TaskEntry
from metaml.data import Task, load_task

DATA = Path(os.environ.get("METAML_DATA", Path(__file__).parents[2] / "shared" / "data")) / "tabular"
LARGE = 3000
"""Tables with this many rows are large."""
STRATA = ((False, "classification", 8), (False, "regression", 2), (True, "classification", 7), (True, "regression", 3))
"""Whether large, kind of task, number of tables: 10 small and 10 large, 15 of classes and 5 of values."""
TEST_SHARE = 0.25


def choose(entries: list[TaskEntry], known: Collection[str], *, seed: int = 0) -> list[TaskEntry]:
    """Draw the tables of the experiment.

    Families are left out, not tables: the rows that a search learns from are a part of a table, with a fingerprint of
    its own, so that no search could tell by itself that it knows the table. The manifest is sorted by name and shuffled
    by `seed`; then each stratum takes the first tables, at most one of each family of near-duplicates, and none of a
    family that the default history knows.

    Args:
        entries: the manifest.
        known: families of the default history.
        seed: of the order.
    """
    by_name = sorted(entries, key=lambda entry: entry.name)
    drawn = [by_name[i] for i in np.random.default_rng(seed).permutation(len(by_name))]
    one_each = dict[str, TaskEntry]()
    for entry in drawn:
        if entry.family not in known:
            one_each.setdefault(entry.family, entry)
    chosen: list[TaskEntry] = []
    for is_large, kind, n in STRATA:
        of_stratum = [entry for entry in one_each.values() if (entry.rows >= LARGE, entry.type) == (is_large, kind)]
        chosen += of_stratum[:n]
    return chosen


@dataclass(frozen=True)
class Parts:
    """A table in two parts; the second is for the last error alone."""

    task: Task
    """The whole table, whose class codes both parts share."""
    target: str
    train: pd.DataFrame
    """Rows to learn from, with the target."""
    test: pd.DataFrame
    """Rows to predict, without it."""
    y_test: np.ndarray
    """Class codes, or values."""


def split(entry: TaskEntry) -> Parts:
    """Split a table: 75 % and 25 % of its rows, classes in the same shares, seed 0."""
    task = load_task(entry.path, entry.target, type=entry.type)
    table = pd.read_csv(entry.path)
    table = table[table[entry.target].notna()].reset_index(drop=True)
    if len(table) != len(task.y):
        raise ValueError(f"{entry.path} must be read as {len(task.y)} rows with a target, however: {len(table)}")
    strata = None if task.type == "regression" else task.y
    train, test = train_test_split(np.arange(len(table)), test_size=TEST_SHARE, random_state=0, stratify=strata)
    features = table.iloc[test].drop(columns=[entry.target])
    return Parts(task, entry.target, table.iloc[train], features, task.y[test])

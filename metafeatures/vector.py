"""The vector of a table: groups of metafeatures, each within its share of the time."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from metafeatures.registry import REGISTRY, Metafeature
from metafeatures.table import MAX_ROWS, Table
from metafeatures.target import TaskType

logger = logging.getLogger(__name__)

VERSION = "1"
"""Number of the definitions: stored with every vector; vectors of different versions do not compare."""

TIME_SHARES = {
    "general": 0.05,
    "structure": 0.05,
    "statistical": 0.2,
    "information": 0.1,
    "pca": 0.1,
    "regression": 0.05,
    "model_based": 0.1,
    "landmarks": 0.35,
    "autosklearn": 0.1,
    "fusi": 0.35,
}
"""Groups in the order of computation, with the share of the time limit that each may use beside what was left over."""

DEFAULT_GROUPS = ("general", "structure", "statistical", "information", "pca", "regression")
"""What a search computes: no model is fitted."""
ALL_GROUPS = (*DEFAULT_GROUPS, "model_based", "landmarks")
"""Everything in the words of this package."""
NAMED_SETS = {"autosklearn": ("autosklearn",), "fusi": ("autosklearn", "fusi")}
"""The vectors of stored histories, under the names that stand there; asked for like groups."""


def describe(
    X: pd.DataFrame,
    y: pd.Series[Any],
    *,
    groups: Sequence[str] | None = None,
    time_limit: float = 10.0,
    seed: int = 0,
    task_type: TaskType | None = None,
    max_rows: int = MAX_ROWS,
) -> pd.Series[float]:
    """Describe a table by a vector of metafeatures.

    Counts are of the whole table, everything else of a sample of ``max_rows`` rows. The vector does not depend on the
    order of rows and columns, nor on the names of columns and classes. Nothing is raised over what a table holds: what
    is undefined, or does not fit into the time, is nan.

    Args:
        X: ``(n, d)``; columns of any dtype, missing and infinite cells allowed.
        y: the target, by position; rows without one are left out.
        groups: which groups of features, out of `ALL_GROUPS` and `NAMED_SETS`; None: `DEFAULT_GROUPS`.
        time_limit: seconds for the whole call; what a group has not computed within its share is nan. Reading the table
            counts, but is not cut short, nor is a single feature.
        seed: of the sample.
        task_type: None: found out from ``y`` (`metafeatures.target.infer_task_type`).
        max_rows: size of the sample.

    Returns:
        Float values under names like ``skewness.sd``, always the same ones in the same order for the same groups.
        ``attrs`` holds ``version``, ``rows`` and ``columns`` of the sample, ``seconds`` of each group and the
        ``unfinished`` ones.

    Raises:
        ValueError: ``X`` and ``y`` differ in length, or a group is unknown.

    >>> table = pd.DataFrame({"a": [1.0, 2.0, 3.0, 4.0], "b": ["x", "y", "x", "y"]})
    >>> vector = describe(table, pd.Series(["no", "yes", "no", "yes"]), groups=["general"])
    >>> float(vector["nr_class"]), float(vector["freq_class.mean"])
    (2.0, 0.5)
    """
    _chosen(groups)
    end = time.monotonic() + time_limit
    table = Table(X, pd.Series(y), task_type=task_type, seed=seed, max_rows=max_rows)
    return describe_table(table, groups=groups, time_limit=end - time.monotonic())


def describe_table(table: Table, *, groups: Sequence[str] | None = None, time_limit: float = 10.0) -> pd.Series[float]:
    """Describe a table that was read already; the arguments and the result are those of `describe`."""
    chosen = _chosen(groups)
    start = time.monotonic()
    shares = np.cumsum([TIME_SHARES[group] for group in chosen])
    values: dict[str, float] = {}
    seconds: dict[str, float] = {}
    unfinished = []
    for group, share in zip(chosen, shares / shares[-1], strict=True):
        began = time.monotonic()
        finished = _compute(group, table, start + time_limit * share, values)
        seconds[group] = time.monotonic() - began
        if not finished:
            unfinished.append(group)
    vector = pd.Series(values, dtype=np.float64)
    vector.attrs = {
        "version": VERSION,
        "rows": table.m,
        "columns": table.numeric.shape[1] + table.symbols.shape[1],
        "seconds": seconds,
        "unfinished": unfinished,
    }
    return vector


def feature_names(groups: Sequence[str] | None = None) -> list[str]:
    """The names of the vector that `describe` returns for ``groups``."""
    return [name for group in _chosen(groups) for feature in _features(group) for name in feature.names]


def _chosen(groups: Sequence[str] | None) -> list[str]:
    """The groups asked for, in the order of computation."""
    asked = DEFAULT_GROUPS if groups is None else groups
    unknown = sorted(set(asked) - set(TIME_SHARES))
    if unknown or not asked:
        raise ValueError(f"groups must be some of {', '.join(TIME_SHARES)}, however: {', '.join(unknown) or 'none'}")
    wanted = {part for group in asked for part in NAMED_SETS.get(group, (group,))}
    return [group for group in TIME_SHARES if group in wanted]


def _features(group: str) -> list[Metafeature]:
    return [feature for feature in REGISTRY.values() if feature.group == group]


def _compute(group: str, table: Table, deadline: float, values: dict[str, float]) -> bool:
    """Add the group's entries to ``values``, nan for those that come after the deadline; were all in time?"""
    finished = True
    for feature in _features(group):
        entries = dict.fromkeys(feature.names, np.nan)
        if time.monotonic() < deadline:
            try:
                entries = feature.compute(table)
            except Exception:  # a description must never end a search
                logger.warning("metafeature %s failed and is nan", feature.name, exc_info=True)
        finished = finished and time.monotonic() < deadline
        values.update(entries)
    return finished

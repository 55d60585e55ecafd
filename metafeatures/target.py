"""The target column: classes or numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from metafeatures.columns import FloatArray, IntArray

TaskType = Literal["classification", "regression"]

MANY_VALUES = 100
"""Numeric targets with more distinct values than this are taken for regression where the caller does not say."""


@dataclass(frozen=True)
class Target:
    """What is to be predicted, for n rows."""

    task_type: TaskType
    classes: IntArray
    """``(n,)``: class of each row, -1 where missing. In regression one class for all rows with a target."""
    values: FloatArray
    """``(n,)``: the number to predict, nan where missing. In classification the class as a number."""

    def rows(self, index: IntArray) -> Target:
        """The same target at the rows ``index``."""
        return Target(self.task_type, self.classes[index], self.values[index])


def read_target(y: pd.Series[Any], task_type: TaskType | None) -> Target:
    """Read ``y``; ``task_type`` None means: find out with `infer_task_type`."""
    task_type = infer_task_type(y) if task_type is None else task_type
    if task_type == "classification":
        try:
            codes, _ = pd.factorize(y)
        except (TypeError, ValueError):  # labels that cannot be hashed, such as lists
            codes, _ = pd.factorize(y.map(repr, na_action="ignore"))
        classes = codes.astype(np.int64)
        return Target(task_type, classes, np.where(classes < 0, np.nan, classes))
    values = np.asarray(pd.to_numeric(y, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan))
    values = np.where(np.isfinite(values), values, np.nan)
    return Target(task_type, np.where(np.isnan(values), -1, 0), values)


def infer_task_type(y: pd.Series[Any]) -> TaskType:
    """Regression for numbers that are fractional or have more than `MANY_VALUES` distinct values.

    >>> infer_task_type(pd.Series([0.0, 1.0, 1.0])), infer_task_type(pd.Series([0.5, 1.25, 7.0]))
    ('classification', 'regression')
    """
    if pd.api.types.is_bool_dtype(y.dtype) or not pd.api.types.is_numeric_dtype(y.dtype):
        return "classification"
    values = y.to_numpy(dtype=np.float64, na_value=np.nan)
    values = values[np.isfinite(values)]
    fractional = bool((values != np.floor(values)).any())
    return "regression" if fractional or np.unique(values).size > MANY_VALUES else "classification"

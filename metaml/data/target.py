"""The target of a task: classes or numbers, and what cannot be predicted at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from metaml.data.columns import Column, encode_numbers, infer_kind, is_missing
from metaml.errors import DataError

TaskType = Literal["binary", "multiclass", "regression"]
WantedType = Literal["binary", "multiclass", "regression", "classification"]
Label = str | int | float | bool

MAX_NUMERIC_CLASSES = 20
"""Whole numbers with more distinct values than this are a quantity, not classes, unless they are balanced codes."""
MIN_ROWS_PER_NUMBER = 5
"""Whole numbers are classes only if there are at least this many rows for each distinct value."""
MAX_IMBALANCE = 1.2
"""Codes of classes are balanced if the most frequent occurs at most this many times as often as the rarest."""


@dataclass(frozen=True)
class TargetValues:
    """A target that can be learned: its type, its codes (int64) or numbers (float64), shape (n,), and its classes."""

    type: TaskType
    y: np.ndarray[Any, Any]
    classes: tuple[Label, ...] = ()
    notes: tuple[str, ...] = ()


def as_series(y: Any, name: str = "target") -> pd.Series[Any]:
    """Return a target as a series of shape (n,), whatever it came in."""
    if isinstance(y, pd.DataFrame):
        y = y.iloc[:, 0] if y.shape[1] == 1 else y.to_numpy()
    if isinstance(y, pd.Series):
        return y.reset_index(drop=True)
    values = y if isinstance(y, list | tuple | pd.api.extensions.ExtensionArray | pd.Index) else np.asarray(y)
    if isinstance(values, np.ndarray):
        values = values.ravel() if values.ndim == 2 and values.shape[1] == 1 else values
        if values.ndim != 1:
            raise DataError(f"The target must have one value per row, but has shape {values.shape}.")
    return pd.Series(values, name=name)


def has_value(y: pd.Series[Any]) -> np.ndarray[Any, Any]:
    """Tell for each row whether its target is there, shape (n,); an empty text and an infinite number are not."""
    present: np.ndarray[Any, Any] = y.notna().to_numpy(dtype=bool)
    if pd.api.types.is_float_dtype(y.dtype):
        present = present & ~np.isinf(y.to_numpy(dtype=np.float64, na_value=np.nan))
    elif y.dtype == object or pd.api.types.is_string_dtype(y.dtype):
        present = present & ~y.map(lambda value: isinstance(value, str) and not value.strip()).to_numpy(dtype=bool)
    return present


def read_target(y: pd.Series[Any], name: str, wanted: WantedType | None = None) -> TargetValues:
    """Read a target without missing values, of the wanted type or of the type it looks like.

    Raises:
        DataError: it has one value only, a different value in every row that is no number, or is not what was wanted.
    """
    kind = infer_kind(y, name)
    if kind == "date":
        raise DataError(
            f'The target "{name}" holds dates, which cannot be predicted: turn it into a number, such as days.'
        )
    n_distinct = len({v for v in y.tolist()} if y.dtype == object else y.unique())
    if n_distinct < 2:
        raise DataError(
            f'The target "{name}" has the same value ({_show(y.iloc[0])}) in every row: there is nothing to learn.'
        )
    if wanted == "regression" or (wanted is None and kind == "numeric" and _is_quantity(y, name, n_distinct)):
        if kind == "categorical":
            raise DataError(
                f'The target "{name}" is not numeric (it holds {_show(y.iloc[0])}), so regression is not possible.'
            )
        return TargetValues("regression", _finite(encode_numbers(y, Column(name, "numeric")), name))
    return _classes(y, name, wanted, kind == "numeric")


def _is_quantity(y: pd.Series[Any], name: str, n_distinct: int) -> bool:
    """Tell whether a numeric target is a quantity rather than the numbers of classes."""
    if n_distinct == 2 or isinstance(y.dtype, pd.CategoricalDtype):
        return False
    numbers = encode_numbers(y, Column(name, "numeric"))
    if not np.array_equal(numbers, np.round(numbers)) or n_distinct * MIN_ROWS_PER_NUMBER > len(y):
        return True
    return n_distinct > MAX_NUMERIC_CLASSES and not _are_balanced_codes(numbers)


def _are_balanced_codes(numbers: np.ndarray[Any, Any]) -> bool:
    """Tell whether whole numbers run from 0 or 1 without a gap, each about as often: classes made for a benchmark."""
    values, counts = np.unique(numbers, return_counts=True)
    return bool(values[0] in (0, 1) and np.all(np.diff(values) == 1) and counts.max() <= MAX_IMBALANCE * counts.min())


def _finite(numbers: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, Any]:
    if not np.isfinite(numbers).all():
        raise DataError(f'The target "{name}" has values that are no finite numbers: remove these rows.')
    return numbers


def _classes(y: pd.Series[Any], name: str, wanted: WantedType | None, numeric: bool) -> TargetValues:
    labels = [_label(value) for value in y.tolist()]
    classes = _sorted(set(labels))
    if len(classes) > len(labels) / 2 and len(classes) > 2:
        raise DataError(
            f'The target "{name}" has {len(classes):,} different values in {len(labels):,} rows, '
            "too many to be classes: choose another target column."
        )
    type_: TaskType = "binary" if len(classes) == 2 else "multiclass"
    if wanted == "binary" and type_ != "binary":
        raise DataError(f'The target "{name}" has {len(classes)} classes, so the task cannot be binary.')
    code = {label: i for i, label in enumerate(classes)}
    codes = np.array([code[label] for label in labels], dtype=np.int64)
    return TargetValues(
        type_, codes, tuple(classes), tuple(_class_notes(codes, classes, name, numeric and wanted is None))
    )


def _class_notes(codes: np.ndarray[Any, Any], classes: list[Label], name: str, guessed: bool) -> list[str]:
    notes = []
    if guessed:
        notes.append(
            f'The target "{name}" has {len(classes)} different numbers, taken as classes; '
            'ask for the type "regression" if it is a quantity.'
        )
    single = [classes[i] for i in np.flatnonzero(np.bincount(codes) == 1)]
    if len(classes) - len(single) < 2:
        raise DataError(f'The target "{name}" has only one class with more than one row: nothing could be validated.')
    if single:
        shown = ", ".join(_show(label) for label in single[:3]) + (", …" if len(single) > 3 else "")
        notes.append(f"{len(single)} of {len(classes)} classes have one row only ({shown}): they cannot be validated.")
    return notes


def _label(value: Any) -> Label:
    """Return a class label as a plain Python value; whole floats become ints, since files lose the difference."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, str | int | float | bool) else str(value)


def _sorted(labels: set[Label]) -> list[Label]:
    if len({isinstance(label, str) for label in labels}) == 1:
        return sorted(labels)
    return sorted(labels, key=str)


def _show(value: Any) -> str:
    return "nothing" if is_missing(value) else f'"{str(value)[:40]}"' if isinstance(value, str) else str(value)

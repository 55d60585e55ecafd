"""A task: a table with its target, ready to be learned, and known by its content."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from metaml.data.columns import Column, ColumnKind, as_frame, encode_columns, encode_numbers, encode_text, infer_kind
from metaml.data.splits import Split, usable_splits
from metaml.data.target import Label, TaskType, WantedType, as_series, has_value, read_target
from metaml.errors import DataError

__all__ = ["Column", "ColumnKind", "Modality", "RawInputs", "TableShape", "TableTask", "Task", "TaskType", "make_task"]

Modality = Literal["tabular", "image"]
"""What a task's rows are."""

RawInputs = Mapping[str, np.ndarray[Any, Any]]
"""What a delivered model is fed: name of an ONNX input -> array whose first axis counts the rows."""


MIN_ROWS = 10
"""Fewer rows than this cannot be divided into training and validation rows."""
MAX_COLUMNS = 100_000
"""More columns than this are refused before anything is copied."""
MAX_TEXT_SHARE = 0.5
"""A text column with more distinct values per row than this …"""
MAX_TEXT_VALUES = 100
"""… and more distinct values than this is a name or free text, from which no category can be learned: it is dropped."""
_ROW_NUMBER_NAMES = {"", "id", "index", "row", "rowid", "row_id", "unnamed: 0"}


@dataclass(frozen=True)
class TableShape:
    """The sizes that decide how a network looks."""

    n_rows: int
    n_numeric: int
    """Numeric, boolean and date columns together."""
    n_categorical: int
    n_outputs: int
    """Number of classes, or 1 for regression."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Task(ABC):
    """A dataset with its target and type. Tasks with the same content have the same fingerprint."""

    modality: ClassVar[Modality]

    name: str
    y: np.ndarray[Any, Any]
    """Shape (n,): int64 codes into ``classes``, or float64 for regression."""
    type: TaskType
    target: str
    classes: tuple[Label, ...] = ()
    """The labels as the user wrote them, sorted; empty for regression."""
    source: str | None = None
    """What it was loaded from, to load it again; None for data in memory."""
    notes: tuple[str, ...] = ()
    """What the user should know: rows and columns that were left out, and guesses."""
    splits: tuple[Split, ...] = ()
    """Training and validation rows that the task brings along; none leaves them to `make_splits`."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """The content as 32 hex digits; names, file formats and splits do not matter."""

    @property
    @abstractmethod
    def inputs(self) -> RawInputs:
        """All rows as a delivered model takes them."""

    @property
    @abstractmethod
    def n_features(self) -> int:
        """Number of columns, or of values of an image."""

    @property
    @abstractmethod
    def extent(self) -> str:
        """How much there is to learn from, in words."""

    @abstractmethod
    def describe_inputs(self) -> dict[str, Any]:
        """Return what a caller must know to feed the model, as plain JSON values."""

    @property
    def n_outputs(self) -> int:
        """Number of classes, or 1 for regression."""
        return max(1, len(self.classes))


@dataclass(frozen=True, eq=False, kw_only=True)
class TableTask(Task):
    """A table with its target."""

    modality = "tabular"

    X: pd.DataFrame
    """The usable columns, n rows: float64 for numeric, bool (object with nan where some are missing) for boolean,
    datetime64 for date, category of str for categorical columns."""
    columns: tuple[Column, ...]

    @cached_property
    def fingerprint(self) -> str:
        """The content as 32 hex digits: column names, kinds and values, target values and type, in the given order.

        The name of the file, its format, the dtypes that hold the values and the splits do not matter.
        """
        digest = hashlib.sha256(json.dumps([self.type, [[c.name, c.kind] for c in self.columns]]).encode())
        for column in self.columns:
            cells = self.X[column.name]
            digest.update(_text_bytes(cells) if column.kind == "categorical" else _bytes(encode_numbers(cells, column)))
        digest.update(
            _bytes(self.y) if self.type == "regression" else _text_bytes(np.array(self.classes, dtype=object)[self.y])
        )
        return digest.hexdigest()[:32]

    @property
    def shape(self) -> TableShape:
        """Numbers of rows, columns by kind, and outputs."""
        n_categorical = sum(column.kind == "categorical" for column in self.columns)
        return TableShape(len(self.X), len(self.columns) - n_categorical, n_categorical, self.n_outputs)

    @cached_property
    def inputs(self) -> RawInputs:
        """Numbers ``numeric``, float64 (n, d_num), and text ``categorical``, object (n, d_cat)."""
        numeric, categorical = encode_columns(self.X, self.columns)
        return {"numeric": numeric, "categorical": categorical}

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return len(self.columns)

    @property
    def extent(self) -> str:
        """Numbers of rows and columns."""
        return f"{len(self.y):,} rows, {self.n_features} columns"

    def describe_inputs(self) -> dict[str, Any]:
        """Return the columns with their kinds, and which of them go into which input."""
        text = [column.name for column in self.columns if column.kind == "categorical"]
        return {
            "columns": [{"name": column.name, "kind": column.kind} for column in self.columns],
            "inputs": {"numeric": [c.name for c in self.columns if c.kind != "categorical"], "categorical": text},
        }


def make_task(
    X: pd.DataFrame | np.ndarray[Any, Any],
    y: Any,
    *,
    name: str = "data",
    type: WantedType | None = None,
    source: str | None = None,
    splits: tuple[Split, ...] = (),
) -> TableTask:
    """Make a task of a table and a target, after leaving out what cannot be used; the notes say what was left out.

    Args:
        X: Frame or array of n rows.
        y: n target values; a series' name becomes the target's name.
        name: How to call the task.
        type: Task type, or ``"classification"`` for either kind; None takes what the target looks like.
        source: Where it was loaded from, to load it again.
        splits: Training and validation rows by their place in the table, if it has its own.

    Raises:
        DataError: no rows, no usable columns, a target with one value only, values of unusable types, …
    """
    frame, target = as_frame(X), as_series(y)
    target_name = "target" if target.name is None else str(target.name)
    _check_sizes(frame, target, name)
    notes = rename_notes(X)
    present = has_value(target)
    if not present.all():
        notes.append(f'{_rows(len(present) - int(present.sum()))} without a value of "{target_name}" left out.')
        frame, target = frame[present], target[present].reset_index(drop=True)
    if len(frame) < MIN_ROWS:
        raise DataError(f"{name} has {_rows(len(frame))} with a target: at least {MIN_ROWS} are needed.")
    try:
        values = read_target(target, target_name, type)
    except DataError as error:
        raise DataError(" ".join([str(error), *notes])) from error
    usable, column_notes = _usable_columns(frame.reset_index(drop=True))
    if not usable:
        raise DataError(f"{name} has no usable column besides the target. {' '.join(column_notes)}".strip())
    leaks = _copies_of_target(usable, values.y)
    own_splits, split_note = usable_splits(splits, present, values.y, values.type)
    return TableTask(
        name=name,
        X=pd.DataFrame({column.name: cells for column, cells in usable.items()}),
        y=values.y,
        type=values.type,
        target=target_name,
        columns=tuple(usable),
        classes=values.classes,
        source=source,
        notes=(*notes, *values.notes, *column_notes, *leaks, *filter(None, [split_note])),
        splits=own_splits,
    )


def _check_sizes(frame: pd.DataFrame, target: pd.Series[Any], name: str) -> None:
    if len(frame) != len(target):
        raise DataError(f"The table has {_rows(len(frame))}, but the target has {len(target):,} values.")
    if frame.shape[1] > MAX_COLUMNS:
        raise DataError(f"{name} has {frame.shape[1]:,} columns, more than {MAX_COLUMNS:,}: select some before.")
    if frame.shape[1] == 0:
        raise DataError(f"{name} has no column besides the target.")


def rename_notes(X: Any) -> list[str]:
    """Return a note about the column names of a frame that ``as_frame`` changes because they are repeated."""
    if not isinstance(X, pd.DataFrame) or X.columns.is_unique:
        return []
    names = sorted({str(name) for name in X.columns[X.columns.duplicated()]})
    return [f"Column names that occur more than once got a number behind: {_names(names)}."]


def _usable_columns(frame: pd.DataFrame) -> tuple[dict[Column, pd.Series[Any]], list[str]]:
    """Return the columns to learn from, with their cells in the dtypes of ``Task.X``, and notes about the others."""
    usable: dict[Column, pd.Series[Any]] = {}
    left_out: dict[str, list[str]] = {}
    for i, name in enumerate(map(str, frame.columns)):
        column = Column(name, infer_kind(frame.iloc[:, i], name))
        cells = _canonical(frame.iloc[:, i], column)
        reason = _why_useless(column, cells)
        if reason:
            left_out.setdefault(reason, []).append(name)
        else:
            usable[column] = cells
    return usable, [f"Left out, {reason}: {_names(names)}." for reason, names in left_out.items()]


def _canonical(cells: pd.Series[Any], column: Column) -> pd.Series[Any]:
    """Return the cells in the dtype that ``Task.X`` has for their kind."""
    if column.kind == "categorical":
        text = encode_text(cells)
        return pd.Series(pd.Categorical(pd.Series(text, dtype=object).where(text != "", None)))
    numbers = encode_numbers(cells, column)
    if column.kind == "numeric":
        return pd.Series(numbers)
    if column.kind == "date":
        return pd.Series(_datetimes(numbers))
    missing = np.isnan(numbers)
    truth = pd.Series(numbers == 1)
    return truth.astype(object).mask(missing, np.nan) if missing.any() else truth


def _datetimes(days: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    microseconds = np.where(np.isnan(days), 0, np.round(days * 86_400_000_000)).astype(np.int64)
    moments = microseconds.astype("datetime64[us]")
    moments[np.isnan(days)] = np.datetime64("NaT")
    return moments


def _why_useless(column: Column, cells: pd.Series[Any]) -> str:
    """Return why nothing can be learned from a column, or ``""``. One value beside missing ones does tell something."""
    n_values = int(cells.count())
    if n_values == 0:
        return "no values at all"
    if n_values == len(cells) and bool((cells == cells.iloc[0]).all()):
        return "the same value in every row"
    n_distinct = len(cells.cat.categories) if column.kind == "categorical" else 0
    if n_distinct > MAX_TEXT_VALUES and n_distinct > MAX_TEXT_SHARE * n_values:
        return "text that differs in most rows (names, ids or free text)"
    if (
        column.name.lower() in _ROW_NUMBER_NAMES
        and column.kind == "numeric"
        and bool((cells.diff().iloc[1:] == 1).all())
    ):
        return "the number of the row"
    return ""


def _copies_of_target(usable: dict[Column, pd.Series[Any]], y: np.ndarray[Any, Any]) -> list[str]:
    """Return a note about columns whose values and the target's stand one to one, unless each row has its own."""
    codes, distinct = pd.factorize(y)  # numbers the values as they first appear, so the beginning tells most apart
    few = len(distinct) <= len(y) / 2
    copies = [
        column.name
        for column, cells in usable.items()
        if all(
            np.array_equal(pd.factorize(cells.iloc[rows], use_na_sentinel=False)[0], codes[rows])
            for rows in (slice(100), slice(None))
        )
        and (few or np.array_equal(cells, y))
    ]
    return [f"Tells the target exactly, so check that it is known when predicting: {_names(copies)}."] if copies else []


def _bytes(numbers: np.ndarray[Any, Any]) -> bytes:
    """Return the bytes of float64 numbers, with one form of nan and of zero."""
    numbers = numbers.astype("<f8") + 0.0
    numbers[np.isnan(numbers)] = np.nan
    return numbers.tobytes()


def _text_bytes(cells: Any) -> bytes:
    """Return bytes that say each cell's text, with the texts numbered as they first appear."""
    codes, distinct = pd.factorize(encode_text(pd.Series(cells)))
    return json.dumps(list(distinct)).encode() + codes.astype("<i8").tobytes()


def _rows(n: int) -> str:
    return f"{n:,} row" if n == 1 else f"{n:,} rows"


def _names(names: list[str]) -> str:
    shown = ", ".join(f'"{name[:60]}"' for name in names[:5])
    return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")

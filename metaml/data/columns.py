"""Columns of a table: what kind each one is, and how its cells become the numbers and strings that a model takes.

It needs numpy and pandas only, because a delivered model is fed through it. Whatever a cell was written as (text,
object, nullable, Arrow or categorical dtype), equal content gives equal arrays: the task's fingerprint relies on that.
"""

from __future__ import annotations

import datetime
import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import numpy as np
import pandas as pd

from metaml.errors import DataError

ColumnKind = Literal["numeric", "categorical", "boolean", "date"]

MISSING_TEXT = frozenset({"", "?", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NULL", "null"})
"""Texts that mean "no value" in every column. ``None`` is not one of them: it is a usual name of a category."""
MISSING_NUMBER_TEXT = MISSING_TEXT | {"None", "none", "-", "--", "."}
"""Texts that mean "no value" where all else is numbers or dates."""

_EPOCH_DAY_US = 86_400_000_000
_ISO_DATE = re.compile(
    r"\d{4}([-/])\d{1,2}\1\d{1,2}([T ]\d{1,2}:\d{2}(:\d{2}(\.\d{1,9})?)?)?\s?(Z|[+-]\d{2}:?\d{2})?", re.IGNORECASE
)
_WHOLE = re.compile(r"[+-]?\d+\.0+")
_BOOLEAN_TEXT = {"true": 1.0, "false": 0.0}
_DATE_TYPES = (datetime.date, np.datetime64)
_SCALARS = (str, bool, int, float, Decimal, np.number, np.bool_, *_DATE_TYPES)


@dataclass(frozen=True)
class Column:
    """A feature of a task: its name in the table, and its kind."""

    name: str
    kind: ColumnKind


def as_frame(X: Any) -> pd.DataFrame:
    """Return a table with unique string names: a frame's own, or ``x0, x1, …`` for an array of shape (n, d).

    A repeated name ``a`` becomes ``a.1``, ``a.2``, …, as pandas does it when it reads a file.

    >>> list(as_frame(np.zeros((1, 2))).columns)
    ['x0', 'x1']
    """
    if not isinstance(X, pd.DataFrame):
        X = X.to_frame() if isinstance(X, pd.Series) else _array_frame(X)
    frame: pd.DataFrame = X
    names = unique_names(frame.columns)
    return frame if names == list(frame.columns) else frame.set_axis(names, axis=1)


def unique_names(names: Iterable[Any]) -> list[str]:
    """Return the names as strings, repeated ones with a number behind."""
    result: dict[str, None] = {}
    for label in names:
        name, number = str(label), 0
        while name in result:
            number += 1
            name = f"{label}.{number}"
        result[name] = None
    return list(result)


def infer_columns(X: pd.DataFrame) -> tuple[Column, ...]:
    """Return the kind of every column of a table, in order.

    Raises:
        DataError: a column holds what no kind can take (lists, bytes, complex numbers, …).
    """
    X = as_frame(X)
    return tuple(Column(str(name), infer_kind(X.iloc[:, i], str(name))) for i, name in enumerate(X.columns))


def infer_kind(cells: pd.Series[Any], name: str) -> ColumnKind:
    """Return the kind of one column; one without any value is numeric.

    A categorical dtype stays categorical whatever its categories are, unless they are booleans: somebody said so.
    """
    dtype = cells.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return (
            "boolean" if _kind_of_objects(_distinct(dtype.categories.to_series()), name) == "boolean" else "categorical"
        )
    if pd.api.types.is_bool_dtype(dtype):
        return "boolean"
    if pd.api.types.is_datetime64_any_dtype(dtype):
        return "date"
    if pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_complex_dtype(dtype):
        return "numeric"
    if not _is_text_or_object(dtype):
        raise DataError(f'Column "{name}" has type {dtype}, which cannot be used: turn it into numbers, text or dates.')
    return _kind_of_objects(_distinct(cells), name)


def encode_columns(X: pd.DataFrame, columns: Sequence[Column]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Turn the rows of a table into the two arrays that a delivered model takes.

    The table may have further columns, and any order. Infinite numbers stay infinite.

    Args:
        X: Table with at least the named columns, n rows.
        columns: The columns of the task that the model was trained on.

    Returns:
        Numbers, float64 of shape (n, d_num), of the numeric, boolean (0 or 1) and date (days since 1970-01-01 UTC)
        columns in their order, nan where missing; and texts, object array of str of shape (n, d_cat), of the
        categorical ones, ``""`` where missing.

    Raises:
        DataError: a column is absent, or a cell is not of the column's kind.
    """
    X = as_frame(X)
    positions = {name: i for i, name in enumerate(X.columns)}
    _require_columns(columns, positions)
    numeric = [column for column in columns if column.kind != "categorical"]
    categorical = [column for column in columns if column.kind == "categorical"]
    numbers = np.empty((len(X), len(numeric)), dtype=np.float64)
    texts = np.empty((len(X), len(categorical)), dtype=object)
    for j, column in enumerate(numeric):
        numbers[:, j] = encode_numbers(X.iloc[:, positions[column.name]], column)
    for j, column in enumerate(categorical):
        texts[:, j] = encode_text(X.iloc[:, positions[column.name]])
    return numbers, texts


def encode_numbers(cells: pd.Series[Any], column: Column) -> np.ndarray[Any, Any]:
    """Return the cells of a numeric, boolean or date column as float64 of shape (n,), nan where missing."""
    if isinstance(cells.dtype, pd.CategoricalDtype):
        categories = encode_numbers(cells.cat.categories.to_series(), column)
        return np.append(categories, np.nan)[cells.cat.codes]
    if column.kind == "date":
        return _days(cells, column.name)
    if pd.api.types.is_datetime64_any_dtype(cells.dtype):
        raise DataError(f'Column "{column.name}" must be {column.kind}, but holds dates.')
    if pd.api.types.is_numeric_dtype(cells.dtype) and not pd.api.types.is_complex_dtype(cells.dtype):
        numbers = cells.to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        numbers = _parse(cells, column)
    if column.kind == "boolean":
        _refuse(~(np.isnan(numbers) | (numbers == 0) | (numbers == 1)), cells, column, "True, False, 0 or 1")
    return numbers


def encode_text(cells: pd.Series[Any]) -> np.ndarray[Any, Any]:
    """Return the cells of a categorical column as str in an object array of shape (n,), ``""`` where missing.

    >>> encode_text(pd.Series([1, 2.0, "1.0", " b ", None, "?"], dtype=object)).tolist()
    ['1', '2', '1', 'b', '', '']
    """
    if isinstance(cells.dtype, pd.CategoricalDtype):
        categories = [*map(canonical_text, cells.cat.categories), ""]
        return np.array(categories, dtype=object)[cells.cat.codes]
    if cells.dtype == object:  # no factorize: it would merge True with 1
        return np.array([*map(canonical_text, cells), ""], dtype=object)[:-1]
    codes, distinct = pd.factorize(cells)
    return np.array([*map(canonical_text, distinct), ""], dtype=object)[codes]


def canonical_text(value: Any) -> str:
    """Return the text of a category: 1, 1.0 and "1.0" agree, blanks around are cut, ``""`` for a missing value."""
    if isinstance(value, str):
        text = value.strip()
        if text in MISSING_TEXT:
            return ""
        return text.partition(".")[0] if _WHOLE.fullmatch(text) else text
    if is_missing(value):
        return ""
    if isinstance(value, float | np.floating | Decimal):
        return str(int(value)) if np.isfinite(float(value)) and value == int(value) else repr(float(value))
    return str(value)


def is_missing(value: Any) -> bool:
    """Tell whether a single cell has no value: None, nan, NaT, NA."""
    return value is None or value is pd.NA or value is pd.NaT or bool(value != value)


def closest(name: str, names: Iterable[str]) -> str:
    """Return `` Did you mean "…"?`` for the name nearest to a mistyped one, or nothing."""
    folded = {str(other).casefold(): str(other) for other in names}
    match = difflib.get_close_matches(name.casefold(), list(folded), n=1, cutoff=0.6)
    return f' Did you mean "{folded[match[0]]}"?' if match else ""


def _array_frame(X: Any) -> pd.DataFrame:
    """Wrap anything like an array of shape (n, d), sparse ones too."""
    X = X.toarray() if hasattr(X, "toarray") else np.asarray(X)
    if X.ndim != 2:
        raise DataError(f"The table must have two dimensions (rows, columns), but has {X.ndim}.")
    return pd.DataFrame(X, columns=[f"x{i}" for i in range(X.shape[1])])


def _require_columns(columns: Iterable[Column], names: Iterable[str]) -> None:
    needed, there = [column.name for column in columns], list(names)
    if missing := [name for name in needed if name not in there]:
        spare = [name for name in there if name not in needed]
        raise DataError(f'The data has no column "{missing[0]}", which the model needs.{closest(missing[0], spare)}')


def _is_text_or_object(dtype: Any) -> bool:
    return (
        pd.api.types.is_object_dtype(dtype) or pd.api.types.is_string_dtype(dtype) or isinstance(dtype, pd.ArrowDtype)
    )


def _distinct(cells: pd.Series[Any]) -> list[Any]:
    """Return the values that occur, missing ones left out; for objects all of them, since some cannot be hashed."""
    if cells.dtype == object or (
        isinstance(cells.dtype, pd.ArrowDtype) and not pd.api.types.is_string_dtype(cells.dtype)
    ):
        return [
            value
            for value in cells
            if isinstance(value, list | tuple | dict | set | np.ndarray) or not is_missing(value)
        ]
    return cells.dropna().unique().tolist()


def _kind_of_objects(values: list[Any], name: str) -> ColumnKind:
    for kind in set(map(type, values)):
        if not issubclass(kind, _SCALARS) or issubclass(kind, np.complexfloating):
            raise DataError(
                f'Column "{name}" holds values of type {kind.__name__}, which cannot be used: drop or split it.'
            )
    texts = {value.strip() for value in values if isinstance(value, str)}
    others = {type(value) for value in values if not isinstance(value, str)}
    if texts <= MISSING_TEXT and not others:
        return "numeric"
    if all(issubclass(kind, bool | np.bool_) for kind in others) and _are_booleans(texts - MISSING_TEXT):
        return "boolean"
    texts = texts - MISSING_NUMBER_TEXT
    if all(issubclass(kind, _DATE_TYPES) for kind in others) and _are_dates(texts):
        return "date"
    numbers = all(issubclass(kind, int | float | Decimal | np.number) and kind is not bool for kind in others)
    return "numeric" if numbers and _are_numbers(texts) else "categorical"


def _are_booleans(texts: set[str]) -> bool:
    return all(text.lower() in _BOOLEAN_TEXT for text in texts)


def _are_numbers(texts: set[str]) -> bool:
    return not pd.to_numeric(pd.Series(list(texts), dtype=object), errors="coerce").isna().any()


def _are_dates(texts: set[str]) -> bool:
    if not all(_ISO_DATE.fullmatch(text) for text in texts):
        return False
    return not _parse_dates(pd.Series(list(texts), dtype=object)).isna().any()


def _parse_dates(cells: pd.Series[Any]) -> pd.Series[Any]:
    """Parse ISO dates, and date objects, to UTC timestamps; NaT where it is neither."""
    cells = cells.map(lambda value: value.strip().replace("/", "-") if isinstance(value, str) else value)
    return pd.to_datetime(cells, format="ISO8601", utc=True, errors="coerce")


def _days(cells: pd.Series[Any], name: str) -> np.ndarray[Any, Any]:
    """Return days since 1970-01-01 UTC, exact to the microsecond, nan where missing."""
    if not pd.api.types.is_datetime64_any_dtype(cells.dtype):
        if pd.api.types.is_numeric_dtype(cells.dtype) and cells.notna().any():
            raise DataError(f'Column "{name}" must hold dates such as 2024-01-31, but holds numbers.')
        objects = _blank_to_none(cells)
        cells = _parse_dates(objects)
        _refuse((cells.isna() & objects.notna()).to_numpy(), objects, Column(name, "date"), "a date such as 2024-01-31")
    utc = pd.to_datetime(cells, utc=True).dt.tz_localize(None).to_numpy(dtype="datetime64[us]")
    return np.where(np.isnat(utc), np.nan, utc.astype(np.int64) / _EPOCH_DAY_US)


def _blank_to_none(cells: pd.Series[Any]) -> pd.Series[Any]:
    """Return the cells as objects, with None for all that means "no value" among numbers and dates."""
    objects = cells.astype(object)
    blank = objects.isna() | objects.map(lambda value: isinstance(value, str) and value.strip() in MISSING_NUMBER_TEXT)
    return objects.mask(blank.astype(bool), None)


def _parse(cells: pd.Series[Any], column: Column) -> np.ndarray[Any, Any]:
    """Read numbers, and true/false, from text and objects."""
    objects = _blank_to_none(cells)
    simple = objects.map(_simplify)
    numbers = pd.to_numeric(simple, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    wanted = "True, False, 0 or 1" if column.kind == "boolean" else "a number"
    _refuse(np.isnan(numbers) & objects.notna().to_numpy(), objects, column, wanted)
    return numbers


def _simplify(value: Any) -> Any:
    if isinstance(value, str):
        text = value.strip()
        return _BOOLEAN_TEXT.get(text.lower(), text)
    if isinstance(value, _DATE_TYPES):
        return "a date"
    return float(value) if isinstance(value, bool | np.bool_ | Decimal) else value


def _refuse(wrong: np.ndarray[Any, Any], cells: pd.Series[Any], column: Column, wanted: str) -> None:
    """Raise a DataError for the first wrong cell, if there is one."""
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(f'Column "{column.name}", row {row + 1}: {str(cells.iloc[row])[:50]!r} is not {wanted}.')

"""A data frame of any dtypes -> numbers and symbols, the only two kinds of column that a metafeature knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
HashArray = NDArray[np.uint64]


@dataclass(frozen=True)
class Columns:
    """The columns of a table, by kind; n rows, p numeric and q categorical columns. Names and index are forgotten."""

    numeric: FloatArray
    """``(n, p)``; missing and infinite cells are nan. Dates are seconds since 1970."""
    symbols: IntArray
    """``(n, q)``; codes of the categories of each column, -1 where missing."""
    labels: tuple[HashArray, ...]
    """For each of the q columns the hash of each of its categories, so that cells compare across tables."""

    @property
    def n_columns(self) -> int:
        """How many columns of both kinds."""
        return int(self.numeric.shape[1] + self.symbols.shape[1])

    def rows(self, index: IntArray | NDArray[np.bool_]) -> Columns:
        """The same columns at the rows ``index``."""
        return Columns(self.numeric[index], self.symbols[index], self.labels)

    def missing(self) -> NDArray[np.bool_]:
        """Which cells are missing: ``(n, p + q)``, numeric columns first."""
        numeric = np.isnan(self.numeric)
        return np.hstack([numeric, self.symbols < 0]) if self.symbols.shape[1] else numeric


def read_columns(X: pd.DataFrame) -> Columns:
    """Sort the columns of ``X`` into numeric and categorical ones.

    Numbers, dates and durations are numeric; booleans, categories, strings and everything else are categorical.
    A column of objects counts as what its objects are.
    """
    plain = [j for j, dtype in enumerate(X.dtypes) if isinstance(dtype, np.dtype) and dtype.kind in "iuf"]
    matrices: list[FloatArray] = [_plain_matrix(X, plain)]
    codes: list[IntArray] = []
    labels: list[HashArray] = []
    for j in sorted(set(range(X.shape[1])) - set(plain)):
        column = X.iloc[:, j]
        numbers = _numbers(column)
        if numbers is not None:
            matrices.append(numbers[:, None])
        else:
            code, label = _symbols(column)
            codes.append(code)
            labels.append(label)
    numeric = matrices[0] if len(matrices) == 1 else np.hstack(matrices)
    symbols = np.column_stack(codes) if codes else np.empty((len(X), 0), dtype=np.int64)
    return Columns(_finite_or_nan(numeric), symbols, tuple(labels))


def _plain_matrix(X: pd.DataFrame, positions: list[int]) -> FloatArray:
    """The columns of NumPy number types as one matrix, without a copy where pandas holds them as one block."""
    part = X if len(positions) == X.shape[1] else X.iloc[:, positions]
    with np.errstate(over="ignore"):
        return np.asarray(part.to_numpy(dtype=np.float64)).reshape(len(X), len(positions))


def _finite_or_nan(values: FloatArray) -> FloatArray:
    infinite = np.isinf(values)
    return np.where(infinite, np.nan, values) if infinite.any() else values


def _numbers(column: pd.Series[Any]) -> FloatArray | None:
    """The column as numbers, or None when it is categorical."""
    dtype = column.dtype
    kind = pd.api.types.infer_dtype(column, skipna=True) if dtype.kind == "O" else ""
    try:
        if pd.api.types.is_bool_dtype(dtype) or isinstance(dtype, pd.CategoricalDtype):
            return None
        if pd.api.types.is_complex_dtype(dtype):
            return np.asarray(np.abs(column.to_numpy()), dtype=np.float64)
        if pd.api.types.is_numeric_dtype(dtype) or kind in {"integer", "floating", "mixed-integer-float", "decimal"}:
            return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))
        if pd.api.types.is_datetime64_any_dtype(dtype) or kind in {"datetime", "datetime64", "date"}:
            return _seconds(pd.to_datetime(column, utc=True, errors="coerce").dt.tz_localize(None), "datetime64[us]")
        if pd.api.types.is_timedelta64_dtype(dtype) or kind in {"timedelta", "timedelta64"}:
            return _seconds(pd.to_timedelta(column, errors="coerce"), "timedelta64[us]")
    except (TypeError, ValueError, OverflowError, ArithmeticError):
        return None
    return None


def _seconds(times: pd.Series[Any], dtype: str) -> FloatArray:
    values = times.to_numpy(dtype=dtype)
    return np.where(np.isnat(values), np.nan, values.astype(np.int64) / 1e6)


def _symbols(column: pd.Series[Any]) -> tuple[IntArray, HashArray]:
    """Codes of the categories (-1 = missing) and the hash of each category's text."""
    if column.dtype.kind == "O" and pd.api.types.infer_dtype(column, skipna=True) not in {"string", "boolean"}:
        column = column.map(repr, na_action="ignore")  # lists cannot be hashed, and 1 would equal True
    codes, categories = pd.factorize(column)
    texts = np.array([str(category) for category in categories] + [""], dtype=object)[:-1]
    return codes.astype(np.int64), pd.util.hash_array(texts, categorize=False)

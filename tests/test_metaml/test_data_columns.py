"""What kind a column is, and how its cells become numbers and text."""

import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from metaml.data.columns import Column, as_frame, encode_columns, infer_columns
from metaml.errors import DataError

ARROW_DATES = pd.Series([datetime.date(1970, 1, 2), None], dtype="date32[pyarrow]")


@pytest.mark.parametrize(
    ("cells", "kind", "encoded"),
    [
        ([1, 2], "numeric", [1, 2]),
        (["1", " 2.5 ", "NA", "-"], "numeric", [1, 2.5, np.nan, np.nan]),
        ([np.inf, -np.inf], "numeric", [np.inf, -np.inf]),
        ([Decimal("0.5"), None], "numeric", [0.5, np.nan]),
        (pd.array([1, None], dtype="Int64"), "numeric", [1, np.nan]),
        (pd.arrays.SparseArray([0.0, 1.0]), "numeric", [0, 1]),
        ([None, None], "numeric", [np.nan, np.nan]),
        ([True, False], "boolean", [1, 0]),
        (["True", "false", None], "boolean", [1, 0, np.nan]),
        (pd.array([True, None], dtype="boolean"), "boolean", [1, np.nan]),
        (pd.Categorical([True, False]), "boolean", [1, 0]),
        (["1970-01-02", "1970-01-01T12:00:00Z", ""], "date", [1, 0.5, np.nan]),
        (["0001-01-01", "9999-12-31"], "date", [-719162, 2932896]),
        ([datetime.date(1970, 1, 2), None], "date", [1, np.nan]),
        (pd.to_datetime(["1970-01-02 09:00"]).tz_localize("Asia/Tokyo"), "date", [1]),
        (ARROW_DATES, "date", [1, np.nan]),
        (["a", " a ", "?", None], "categorical", ["a", "a", "", ""]),
        ([1, 2.0, "1.0", "x", True], "categorical", ["1", "2", "1", "x", "True"]),
        (pd.Categorical([1, 2, None]), "categorical", ["1", "2", ""]),
        (["1_000", "0x10"], "categorical", ["1_000", "0x10"]),
        (["None", "stone"], "categorical", ["None", "stone"]),
    ],
)
def test_kind_and_code(cells, kind, encoded):
    frame = pd.DataFrame({"c": cells})
    columns = infer_columns(frame)
    assert columns == (Column("c", kind),)
    numbers, texts = encode_columns(frame, columns)
    assert numbers.dtype == np.float64
    assert texts.dtype == object
    got = texts if kind == "categorical" else numbers
    np.testing.assert_array_equal(got[:, 0], np.array(encoded, dtype=got.dtype))


@pytest.mark.parametrize(
    "cells",
    [
        [[1, 2]] * 2,
        [{}] * 2,
        [b"a"] * 2,
        [1j] * 2,
        np.array([1j, 2]),
        [object()] * 2,
        pd.to_timedelta([1, 2], "D"),
        pd.period_range("2020-01", periods=2, freq="M"),
    ],
)
def test_refuses_by_name(cells):
    with pytest.raises(DataError, match='Column "odd"'):
        infer_columns(pd.DataFrame({"odd": cells}))


@pytest.mark.parametrize(
    ("column", "cells", "message"),
    [
        (Column("age", "numeric"), ["1", "old"], r"""Column "age", row 2: 'old' is not a number\."""),
        (Column("age", "numeric"), pd.to_datetime(["2020-01-01"]), "holds dates"),
        (Column("age", "numeric"), [datetime.date(2020, 1, 1)], "is not a number"),
        (Column("paid", "boolean"), ["true", "maybe"], "row 2: 'maybe' is not True"),
        (Column("paid", "boolean"), [0, 1, 2], "row 3: '2' is not True"),
        (Column("day", "date"), ["2020-01-01", "soon"], "row 2: 'soon' is not a date"),
        (Column("day", "date"), [3, 4], "holds numbers"),
        (Column("aeg", "numeric"), [1], 'no column "aeg", which the model needs'),
    ],
)
def test_cells_of_another_kind(column, cells, message):
    name = "age" if column.name == "aeg" else column.name
    with pytest.raises(DataError, match=message):
        encode_columns(pd.DataFrame({name: cells}), (column,))


def test_missing_column_has_a_suggestion():
    with pytest.raises(DataError, match='Did you mean "ages"?'):
        encode_columns(pd.DataFrame({"ages": [1]}), (Column("age", "numeric"),))


def test_order_and_further_columns_do_not_matter():
    columns = (Column("n", "numeric"), Column("c", "categorical"), Column("b", "boolean"))
    frame = pd.DataFrame({"b": [1, 0], "more": [b"x", b"y"], "c": [1.0, 2.0], "n": ["3", "4"]})
    numbers, texts = encode_columns(frame, columns)
    np.testing.assert_array_equal(numbers, [[3, 1], [4, 0]])
    assert texts.tolist() == [["1"], ["2"]]
    assert encode_columns(frame.iloc[:0], columns)[0].shape == (0, 2)


def test_names_are_unique_strings():
    frame = pd.DataFrame(np.zeros((1, 4)), columns=["a", "a", 1, "a.1"])
    assert list(as_frame(frame).columns) == ["a", "a.1", "1", "a.1.1"]
    assert list(frame.columns) == ["a", "a", 1, "a.1"]
    assert list(as_frame(np.zeros((1, 2))).columns) == ["x0", "x1"]

"""What becomes of a table in memory: target types, refusals, notes, fingerprints."""

import numpy as np
import pandas as pd
import pytest

from metaml.data import make_task
from metaml.data.task import MAX_COLUMNS, TableShape
from metaml.errors import DataError

N = 40
X = pd.DataFrame({"g": np.arange(N) * 0.5, "h": np.arange(N) % 3})


@pytest.mark.parametrize(
    ("y", "type", "classes"),
    [
        (["a", "b"] * 20, "binary", ("a", "b")),
        (["b", "a", "c", "c"] * 10, "multiclass", ("a", "b", "c")),
        ([True, False] * 20, "binary", (False, True)),
        (["true", "false"] * 20, "binary", ("false", "true")),
        (["1", "2"] * 20, "binary", ("1", "2")),
        ([1.0, 0.0] * 20, "binary", (0, 1)),
        ([-1, 1] * 20, "binary", (-1, 1)),
        ([3, 4, 5, 5] * 10, "multiclass", (3, 4, 5)),
        (pd.Categorical([30, 4, 5, 5] * 10), "multiclass", (4, 5, 30)),
        (pd.array([1, 2] * 20, dtype="Int64"), "binary", (1, 2)),
        (np.array(["a", "b"] * 20).reshape(-1, 1), "binary", ("a", "b")),
        (np.arange(N), "regression", ()),
        ([0.5, 1.5, 2.5, 3.5] * 10, "regression", ()),
        ([f"{i}.5" for i in range(N)], "regression", ()),
        (list(range(20)) * 2, "regression", ()),  # two rows for each number are too few for classes
    ],
)
def test_type_of_target(y, type, classes):
    task = make_task(X, y)
    assert (task.type, task.classes) == (type, classes)
    assert task.y.dtype == (np.float64 if type == "regression" else np.int64)
    assert all(isinstance(label, str | int | bool) for label in task.classes)


def test_balanced_codes_are_classes():
    many = np.tile(np.arange(1, 31), 10)
    frame = pd.DataFrame({"g": np.random.default_rng(0).normal(size=300)})
    assert make_task(frame, many).type == "multiclass"
    assert make_task(frame, np.where(many == 30, 29, many)).type == "regression"  # 29 twice as often as the others


def test_labels_are_the_users_own():
    task = make_task(X, ["x y", "Ünique"] * 20)
    assert [task.classes[code] for code in task.y[:2]] == ["x y", "Ünique"]


def test_guessed_classes_are_noted_and_can_be_overruled():
    y = [1, 2, 3, 4] * 10
    assert '4 different numbers, taken as classes; ask for the type "regression"' in make_task(X, y).notes[0]
    assert make_task(X, y, type="regression").type == "regression"
    assert make_task(X, y, type="classification").notes == ()


@pytest.mark.parametrize(
    ("y", "arguments", "message"),
    [
        (["a"] * N, {}, 'has the same value \\("a"\\) in every row'),
        ([3.0] * N, {}, "has the same value"),
        ([f"name {i}" for i in range(N)], {}, "40 different values in 40 rows, too many to be classes"),
        ([None] * N, {}, "0 rows with a target: at least 10"),
        (["a"] * 20 + [None] * 20, {}, "nothing to learn. 20 rows without a value"),
        (["a"] * 39 + ["b"], {}, "only one class with more than one row"),
        (["a", "b"] * 20, {"type": "regression"}, "is not numeric"),
        (["a", "b", "c", "c"] * 10, {"type": "binary"}, "has 3 classes"),
        (pd.date_range("2020", periods=N), {}, "holds dates"),
        (np.zeros((N, 2)), {}, r"has shape \(40, 2\)"),
        (["a"] * 39, {}, "40 rows, but the target has 39"),
        ([[1]] * N, {}, "values of type list"),
        ([1j, 2j] * 20, {}, "complex"),
        (["inf"] + [f"{i}.5" for i in range(39)], {}, "no finite numbers"),
    ],
)
def test_refuses_targets(y, arguments, message):
    with pytest.raises(DataError, match=message) as caught:
        make_task(X, y, **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (X[:0], "the target has 40 values"),
        (X[[]], "no column besides the target"),
        (X * np.nan, 'no usable column besides the target. Left out, no values at all: "g", "h"'),
        (np.zeros((N, 2, 2)), "two dimensions"),
        (np.lib.stride_tricks.as_strided(np.zeros(1), (N, MAX_COLUMNS + 1), (0, 0)), "more than 100,000"),
    ],
)
def test_refuses_tables(table, message):
    with pytest.raises(DataError, match=message):
        make_task(table, ["a", "b"] * 20)


@pytest.mark.parametrize("n_rows", [0, 1, 9])
def test_refuses_few_rows(n_rows):
    with pytest.raises(DataError, match="at least 10 are needed"):
        make_task(X[:n_rows], np.arange(n_rows))


def test_useless_columns_are_left_out_with_a_note():
    n = 300
    frame = pd.DataFrame(
        {
            "id": np.arange(1, n + 1),
            "empty": [None] * n,
            "constant": ["x"] * n,
            "name": [f"Mr {i}" for i in range(n)],
            "code": [f"c{i % 7}" for i in range(n)],
            "flag": [None, "yes"] * (n // 2),
        }
    )
    task = make_task(frame, ["a", "b", "b"] * 100)
    assert [column.name for column in task.columns] == ["code", "flag"]
    assert list(task.X.columns) == ["code", "flag"]
    notes = "\n".join(task.notes)
    for words in (
        'number of the row: "id"',
        'no values at all: "empty"',
        'every row: "constant"',
        'ids or free text): "name"',
    ):
        assert words in notes


def test_repeated_names_are_noted():
    task = make_task(pd.DataFrame(np.random.default_rng(0).normal(size=(N, 2)), columns=["a", "a"]), ["a", "b"] * 20)
    assert [column.name for column in task.columns] == ["a", "a.1"]
    assert 'more than once got a number behind: "a"' in task.notes[0]


@pytest.mark.parametrize("y", [["a", "b", "b", "c"] * 10, np.arange(N) * 1.5])
def test_copy_of_target_is_noted(y):
    assert "Tells the target exactly" in make_task(X.assign(leak=y), y).notes[-1]
    assert not any("Tells" in note for note in make_task(X, y).notes)


def test_rows_without_target_are_left_out():
    task = make_task(X, [np.nan, np.inf, *np.arange(38)])
    assert len(task.X) == len(task.y) == 38
    assert task.X["g"].iloc[0] == 1.0
    assert task.notes[0] == '2 rows without a value of "target" left out.'


def test_shape_counts_kinds():
    frame = X.assign(c=["x", "y"] * 20, b=[True, False, True, True] * 10, d=pd.date_range("2020", periods=N))
    assert make_task(frame, ["a", "b", "c", "c"] * 10).shape == TableShape(N, 4, 1, 3)
    assert make_task(frame, np.arange(N) / 7).shape.n_outputs == 1


def test_arguments_are_not_changed():
    frame, y = X.assign(c=[" x", None] * 20), pd.Series([1, None] * 20, name="t")
    before = frame.copy(), y.copy()
    with pytest.raises(DataError):
        make_task(frame, y)
    pd.testing.assert_frame_equal(frame, before[0])
    pd.testing.assert_series_equal(y, before[1])


class TestFingerprint:
    frame = X.assign(c=["x", "y"] * 20, d=pd.date_range("2020-01-01 03:00", periods=N, freq="D"))
    y = ["a", "b", "c", "c"] * 10

    def fingerprint(self, frame, y=y, **arguments):
        return make_task(frame, y, **arguments).fingerprint

    def test_dtypes_and_name_do_not_matter(self):
        expected = self.fingerprint(self.frame)
        assert len(expected) == 32
        assert self.fingerprint(self.frame, name="other", source="x.csv") == expected
        assert self.fingerprint(self.frame.astype({"c": "category", "h": "Int64", "g": "float32"})) == expected
        assert self.fingerprint(self.frame.astype(str)) == expected
        assert self.fingerprint(make_task(self.frame, self.y).X, pd.Categorical(self.y)) == expected

    def test_content_matters(self):
        changed = self.frame.copy()
        changed.loc[7, "h"] += 1
        variants = [
            self.fingerprint(self.frame),
            self.fingerprint(changed),
            self.fingerprint(self.frame.rename(columns={"g": "k"})),
            self.fingerprint(self.frame[["h", "g", "c", "d"]]),
            self.fingerprint(self.frame.iloc[::-1]),
            self.fingerprint(self.frame.astype({"h": "category"})),
            self.fingerprint(self.frame, [*self.y[1:], "a"]),
            self.fingerprint(self.frame, np.arange(N) % 2),
            self.fingerprint(self.frame, np.arange(N) % 2, type="regression"),
        ]
        assert len(set(variants)) == len(variants)

    def test_pinned(self):
        """Stores refer to tasks by it: it must not change with the code."""
        frame = pd.DataFrame({"n": [1.5, np.nan] * 6, "c": ["x", "y", None] * 4})
        assert self.fingerprint(frame, [0, 1, 1] * 4) == "43669467915312ade5c5ac73c81a0638"

"""The face of the package: `describe`, its limits and its extremes."""

import numpy as np
import pandas as pd
import pytest

import metafeatures
from metafeatures.target import infer_task_type


def random_table(n, d, k=3, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(rng.normal(size=(n, d))), pd.Series(rng.integers(0, k, n))


def test_same_seed_same_vector_and_another_seed_another_sample():
    X, y = random_table(600, 3)
    vectors = [metafeatures.describe(X, y, seed=seed, max_rows=100) for seed in (0, 0, 1)]
    pd.testing.assert_series_equal(vectors[0], vectors[1])
    assert vectors[0]["mean.mean"] != vectors[2]["mean.mean"]
    assert vectors[0]["nr_inst"] == vectors[2]["nr_inst"] == 600


def test_the_vector_says_what_it_is_based_on():
    vector = metafeatures.describe(*random_table(300, 4), max_rows=120)
    assert vector.attrs["version"] == metafeatures.VERSION
    assert (vector.attrs["rows"], vector.attrs["columns"]) == (120, 4)
    assert set(vector.attrs["seconds"]) == set(metafeatures.DEFAULT_GROUPS)
    assert vector.attrs["unfinished"] == []


def test_duplicated_rows_do_not_spoil_the_sample():
    X, y = random_table(4, 2, seed=3)
    many = metafeatures.describe(pd.concat([X] * 500), pd.concat([y] * 500), max_rows=400)
    few = metafeatures.describe(X, y)
    assert many["mean.mean"] == pytest.approx(few["mean.mean"], abs=0.2)


def test_without_time_all_is_nan_under_the_same_names():
    X, y = random_table(50, 3)
    vector = metafeatures.describe(X, y, time_limit=0)
    assert list(vector.index) == list(metafeatures.describe(X, y).index)
    assert vector.isna().all()
    assert vector.attrs["unfinished"] == list(metafeatures.DEFAULT_GROUPS)


def test_groups_can_be_chosen():
    vector = metafeatures.describe(*random_table(20, 2), groups=["pca", "general"])
    assert list(vector.index) == metafeatures.feature_names(["general", "pca"])
    with pytest.raises(ValueError, match="groups must be some of general, .*however: generall"):
        metafeatures.describe(*random_table(20, 2), groups=["generall"])


def test_lengths_must_match():
    with pytest.raises(ValueError, match="3 and 2 rows"):
        metafeatures.describe(pd.DataFrame({"a": [1, 2, 3]}), pd.Series([0, 1]))


def test_rows_without_target_are_left_out():
    X = pd.DataFrame({"a": [1.0, 2.0, 99.0]})
    vector = metafeatures.describe(X, pd.Series(["x", "y", None]))
    assert vector["nr_inst"] == 2
    assert vector["max.mean"] == 2.0


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        (pd.Series([0, 1, 2]), "classification"),
        (pd.Series([0.0, 1.0]), "classification"),
        (pd.Series([0.1, 0.2]), "regression"),
        (pd.Series(range(101)), "regression"),
        (pd.Series(range(100)), "classification"),
        (pd.Series(["0.1", "0.2"]), "classification"),
        (pd.Series([0.5, 0.7], dtype="category"), "classification"),
        (pd.Series([True, False]), "classification"),
        (pd.Series([1, None], dtype="Int64"), "classification"),
    ],
)
def test_task_type_is_inferred(y, expected):
    assert infer_task_type(y) == expected


def test_task_type_can_be_said():
    X, y = random_table(60, 2)
    assert metafeatures.describe(X, y)["nr_class"] == 3
    said = metafeatures.describe(X, y, task_type="regression")
    assert np.isnan(said["nr_class"])
    assert said["is_regression"] == 1
    assert np.isfinite(said["target_skewness"])


def wide():
    return random_table(40, 10_000)


def many_categories():
    n = 100_000
    return pd.DataFrame({"id": [f"row {i}" for i in range(n)], "x": np.arange(n) % 7}), pd.Series(np.arange(n) % 2)


def one_row_per_class():
    X, _ = random_table(60, 3)
    return X, pd.Series([f"class {i}" for i in range(60)])


def all_missing():
    return pd.DataFrame({"a": [np.nan] * 9, "b": [None] * 9}), pd.Series([0, 1, 2] * 3)


def constant():
    return pd.DataFrame({"a": [0.1] * 9, "b": ["x"] * 9}), pd.Series([0, 1, 2] * 3)


def one_class():
    X, _ = random_table(30, 2)
    return X, pd.Series(["only"] * 30)


def nothing():
    return pd.DataFrame(), pd.Series(dtype=float)


@pytest.mark.parametrize(
    "make",
    [wide, many_categories, one_row_per_class, all_missing, constant, one_class, nothing],
    ids=lambda f: f.__name__,
)
def test_extreme_tables(make, caplog):
    X, y = make()
    vector = metafeatures.describe(X, y, groups=metafeatures.ALL_GROUPS, time_limit=60)
    assert caplog.records == []
    assert vector["nr_inst"] == len(X)
    assert not np.isinf(vector).any()


def test_the_symmetries_of_a_board_do_not_matter():
    cells = np.indices((2,) * 9).reshape(9, -1).T  # all boards of 3 x 3 with two marks
    lines = [(0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6)]
    won = pd.Series(np.any([cells[:, line].all(axis=1) for line in lines], axis=0))
    X = pd.DataFrame(cells)
    one = metafeatures.describe(X, won, groups=metafeatures.ALL_GROUPS, max_rows=100)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        rows, columns = rng.permutation(len(X)), rng.permutation(9)
        other = metafeatures.describe(
            X.iloc[rows, columns], won.iloc[rows], groups=metafeatures.ALL_GROUPS, max_rows=100
        )
        pd.testing.assert_series_equal(one, other, check_exact=True)

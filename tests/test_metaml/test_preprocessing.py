"""Preprocessing: what the eye can check, and laws."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from metaml.preprocessing import TablePreprocessor
from metaml.preprocessing.table import LIMIT, MAX_CATEGORIES


def raw(numeric=None, categorical=None) -> dict:
    n = len(numeric if numeric is not None else categorical)
    numeric = np.empty((n, 0)) if numeric is None else np.asarray(numeric, dtype=float)
    categorical = np.empty((n, 0), dtype=object) if categorical is None else np.asarray(categorical, dtype=object)
    return {"numeric": numeric, "categorical": categorical}


def fit(numeric=None, categorical=None, kind="robust") -> TablePreprocessor:
    return TablePreprocessor.fit(raw(numeric, categorical), kind)


def test_median_and_quartiles_by_hand():
    column = np.array([[1.0], [2.0], [3.0], [4.0], [5.0]])  # median 3, quartiles 2 and 4
    features = fit(column).transform(raw(column))
    assert features.numeric[:, 0].tolist() == [-1.0, -0.5, 0.0, 0.5, 1.0]


def test_missing_values_become_the_median_and_are_marked():
    column = np.array([[1.0, 7.0], [np.nan, 8.0], [3.0, 9.0]])
    features = fit(column).transform(raw(column))
    assert features.numeric.shape == (3, 3)  # one indicator: the second column has no hole
    assert features.numeric[:, 2].tolist() == [0, 1, 0]
    assert features.numeric[1, 0] == 0


def test_codes_are_numbered_over_all_columns_most_frequent_first():
    text = [["b", "x"], ["b", "y"], ["a", "x"], ["a", "x"], ["b", "y"], ["z", ""]]
    preprocessor = fit(categorical=text)
    assert preprocessor.vocabularies == (("b", "a"), ("x", "y"))
    assert preprocessor.cardinalities == (4, 4)
    rows = np.array([["a", "y"], ["never", ""], ["b", "x"]], dtype=object)
    features = preprocessor.transform(raw(categorical=rows))
    assert features.codes.tolist() == [[3, 4 + 3], [1, 4 + 0], [2, 4 + 2]]


def test_many_categories_are_cut():
    words = np.repeat([f"w{i:04d}" for i in range(600)], 2)[:, None]
    assert fit(categorical=words).cardinalities == (MAX_CATEGORIES + 2,)


@given(
    arrays(np.float64, (12, 2), elements=st.floats(allow_nan=True, allow_infinity=True)),
    st.sampled_from(["robust", "quantile"]),
)
def test_features_are_always_finite(numeric, kind):
    features = fit(numeric, kind=kind).transform(raw(numeric))
    assert np.isfinite(features.numeric).all()
    assert np.abs(features.numeric).max() <= LIMIT


@given(st.floats(0.01, 100), st.floats(-1e3, 1e3))
def test_scale_and_offset_of_a_column_do_not_matter(scale, offset):
    column = np.linspace(-3, 9, 13)[:, None] ** 3
    moved = scale * column + offset
    np.testing.assert_allclose(
        fit(column).transform(raw(column)).numeric, fit(moved).transform(raw(moved)).numeric, rtol=1e-3, atol=1e-3
    )


def test_quantile_scores_of_a_skewed_column_are_normal():
    column = np.exp(2 * np.random.default_rng(0).normal(size=4000))[:, None]
    scores = fit(column, kind="quantile").transform(raw(column)).numeric[:, 0]
    expected = np.log(column[:, 0]) / 2  # the normal numbers that the column was made of
    assert abs(scores.mean()) < 0.02
    assert abs(scores.std() - 1) < 0.03
    assert np.corrcoef(scores, expected)[0, 1] > 0.995


def test_quantile_scores_stop_at_the_training_rows_and_holes_are_medians():
    column = np.arange(1.0, 1002.0)[:, None]
    preprocessor = fit(column, kind="quantile")
    rows = np.array([[1.0], [-np.inf], [501.0], [np.nan], [1001.0], [1e300]])
    scores = preprocessor.transform(raw(rows)).numeric[:, 0]
    np.testing.assert_allclose(scores, [-3, -3, 0, 0, 3, 3], atol=1e-6)


def test_a_frequent_number_has_the_mean_of_its_scores():
    column = np.array([[0.0]] * 60 + [[1.0]] * 40)  # ranks 0 … 0.6: scores from -3 to 0.25
    scores = fit(column, kind="quantile").transform(raw(column)).numeric[:, 0]
    assert np.unique(scores).size == 2
    assert -1.6 < scores[0] < -1.2
    assert 1.5 < scores[-1] < 1.8


@settings(max_examples=30)
@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=40))
def test_quantile_scores_keep_the_order(numbers):
    column = np.sort(numbers)[:, None]
    scores = fit(column, kind="quantile").transform(raw(column)).numeric[:, 0]
    assert np.diff(scores).min() >= -1e-6


def test_an_unknown_kind_is_told():
    with pytest.raises(ValueError, match="robust, quantile, however: log"):
        fit([[1.0]], kind="log")

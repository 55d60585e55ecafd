"""What every metafeature must do, on every table that is legal."""

import logging
from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import metafeatures
from metafeatures.similarity import SIMILARITIES, ClassNormals, TaskView, class_normals, cloud_of, dataset2vec
from metafeatures.target import infer_task_type

GROUPS = (*metafeatures.ALL_GROUPS, "fusi")
RELAXED = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))

NUMBERS = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, 1.0, 2.0, -3.5, 1e300, 1e-300, 7e15]
WORDS = [None, "", "a", "b", "ä€", "a b", "nan", "very long " * 20]
DATES = [pd.NaT, pd.Timestamp("1600-01-01"), pd.Timestamp("2020-02-29"), pd.Timestamp("2020-03-01")]
MIXED = [None, 1, 2.5, "x", (1, 2), [3, 4], date(2020, 1, 1), True]


def column(values, dtype):
    return st.tuples(st.just(dtype), st.just(values))


COLUMN_KINDS = st.one_of(
    column(NUMBERS, "float64"),
    column(NUMBERS[:1] + NUMBERS[3:9], "float32"),
    column([0, 1, 2, -7, 2**53], "int64"),
    column([0, 1, 255], "uint8"),
    column([True, False], "bool"),
    column([True, False, None], "boolean"),
    column([1, 2, None], "Int64"),
    column([1.5, 2.5, None], "double[pyarrow]"),
    column(WORDS, "object"),
    column(WORDS, "str"),
    column(["a", "b", None], "string[pyarrow]"),
    column(WORDS, "category"),
    column(DATES, "datetime64[us]"),
    column(DATES[2:], "datetime64[us, UTC]"),
    column([pd.NaT, pd.Timedelta("1h"), pd.Timedelta("-3D")], "timedelta64[us]"),
    column(MIXED, "object"),
    column([1 + 2j, 0j], "complex128"),
)
TARGETS = st.one_of(
    column(["yes", "no", "perhaps"], "str"),
    column(["yes", None], "object"),
    column([0, 1, 2], "int64"),
    column([0.5, 1.0, -2.25, np.nan, np.inf], "float64"),
    column([True, False], "bool"),
    column([None, "a"], "category"),
)


@st.composite
def tables(draw, min_rows=0):
    n = draw(st.integers(min_rows, 20))
    kinds = draw(st.lists(COLUMN_KINDS, max_size=6))
    names = draw(st.lists(st.sampled_from(["a", "a", "ü", 1, None]), min_size=len(kinds), max_size=len(kinds)))
    X = pd.concat([draw(series(n, kind)) for kind in kinds], axis=1) if kinds else pd.DataFrame(index=range(n))
    if kinds:
        X.columns = pd.Index(names, dtype=object)
        if draw(st.booleans()):
            X = pd.concat([X, X.iloc[:, :1]], axis=1)  # the same column twice
    return X, draw(series(n, draw(TARGETS)))


@st.composite
def series(draw, n, kind):
    dtype, values = kind
    cells = draw(st.lists(st.sampled_from(values), min_size=n, max_size=n))
    return pd.Series(cells, dtype=object).astype(dtype)


@RELAXED
@given(table=tables(), seed=st.integers(-3, 3))
def test_any_table_gives_finite_values_or_nan_and_no_feature_fails(table, seed):
    X, y = table
    before = X.copy(deep=True), y.copy(deep=True)
    with pytest.MonkeyPatch.context() as patch:
        failures = []
        patch.setattr(logging.getLogger("metafeatures.vector"), "warning", lambda *args, **_: failures.append(args))
        vector = metafeatures.describe(X, y, groups=GROUPS, seed=seed)
    assert failures == []
    assert list(vector.index) == metafeatures.feature_names(GROUPS)
    assert not np.isinf(vector).any()
    pd.testing.assert_frame_equal(X, before[0])
    pd.testing.assert_series_equal(y, before[1])


@RELAXED
@given(table=tables(min_rows=2), data=st.data())
def test_order_and_names_do_not_matter(table, data):
    X, y = table
    rows = data.draw(st.permutations(range(len(X))))
    columns = data.draw(st.permutations(range(X.shape[1])))
    Z = X.iloc[list(rows), list(columns)]
    Z.columns = range(Z.shape[1])
    z = y.iloc[list(rows)]
    if infer_task_type(y) == "classification":
        values = [value for value in pd.unique(y) if not pd.isna(value)]
        z = z.astype(object).map(dict(zip(values, [f"class {v}" for v in values[::-1]], strict=True)))
    for max_rows in (5000, 5):
        one = metafeatures.describe(X, y, groups=GROUPS, max_rows=max_rows)
        other = metafeatures.describe(Z, z, groups=GROUPS, max_rows=max_rows)
        pd.testing.assert_series_equal(one, other, check_exact=True)


@pytest.mark.parametrize("name", list(metafeatures.REGISTRY))
def test_every_metafeature_says_where_it_comes_from(name):
    feature = metafeatures.REGISTRY[name]
    assert feature.source
    assert feature.function.__doc__
    assert feature.group in (*GROUPS, "autosklearn")


@RELAXED
@given(table=tables())
def test_any_table_has_a_place_among_others(table):
    X, y = table
    read = metafeatures.Table(X, y)
    cloud = cloud_of(read)
    normals = class_normals(cloud)
    vector = normals.to_vector()
    assert np.isfinite(vector).all()
    assert normals.weights.sum() == pytest.approx(float(len(cloud.points) > 0))
    assert ClassNormals.from_vector(vector).weights.tolist() == normals.weights.tolist()
    place = dataset2vec.embed(read)
    assert np.isfinite(place).all() or place.isna().all()
    view = TaskView(cloud=cloud, vectors={"normals": vector, "dataset2vec": place})
    for name in ("transport", "normals", "dataset2vec"):
        distance = SIMILARITIES[name]().fit({"itself": view}).distances(view)["itself"]
        assert np.isnan(distance) or distance == pytest.approx(0, abs=1e-5)

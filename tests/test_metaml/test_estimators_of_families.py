"""What the families extra_trees and knn compute, by hand."""

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.tree import DecisionTreeClassifier

from hw_cost.onnx_writer import to_model
from metaml.models import FAMILIES, TabularShape
from metaml.models.extra_trees import MOST_BYTES, shrink
from metaml.models.stored_rows import EXACT, StoredRows, code_vectors, exact_unit
from metaml.models.trees import float32_below
from metaml.space import SPACES

NUMBERS = TabularShape(2, (), n_outputs=2, is_regression=False)
MIXED = TabularShape(1, (3, 20), n_outputs=1, is_regression=True)


def stored(shape, design, y, **options) -> StoredRows:
    values = {"n_neighbors": 3, "max_rows": 100, "sharpness": 0.0, "relevance": 0.0, "seed": 0} | options
    return StoredRows(shape, **values).fit(design, y)


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6, width=32))
def test_a_rounded_threshold_splits_float32_as_before(threshold, x):
    assert (np.float64(x) <= threshold) == bool(np.float32(x) <= float32_below(np.array([threshold]))[0])


def test_leaves_lean_on_the_nodes_above():
    model = DecisionTreeClassifier(max_depth=1).fit([[0], [0], [0], [1]], [0, 0, 0, 1])
    shrink(model.tree_, 4.0)  # a root of 4 rows with shares 3/4 and 1/4: each step counts half
    assert model.predict_proba([[0], [1]]).tolist() == [[0.875, 0.125], [0.375, 0.625]]


def test_trees_of_many_classes_have_fewer_leaves_for_the_file_to_stay_small():
    family = FAMILIES["extra_trees"]
    most = {**SPACES["tabular"].default("extra_trees"), "n_estimators": 384, "max_leaf_nodes": 4096}
    for n_outputs, n_rows in ((2, None), (100, None), (2, 150)):
        shape = TabularShape(4, (), n_outputs=n_outputs, is_regression=False, n_rows=n_rows)
        (trees,) = [op for op in family.graph(most, shape) if op.op == "TreeEnsembleRegressor"]
        assert trees.attributes["n_leaves"] * (64 + 13 * trees.attributes["n_votes"]) <= MOST_BYTES
        if n_rows:
            assert trees.attributes["n_leaves"] == 384 * 75  # at least two rows in a leaf


def test_foretold_rows_are_those_there_are_and_never_more_than_allowed():
    family, default = FAMILIES["knn"], SPACES["tabular"].default("knn")
    for n_rows, width, n_stored in ((150, 3, 150), (10**6, 3, 4096), (None, 3, 4096), (10**6, 4000, 1000)):
        shape = TabularShape(width, (), n_outputs=2, is_regression=False, n_rows=n_rows)
        (gemm,) = [op for op in family.graph(default, shape) if op.op == "Gemm"]
        assert gemm.output[-1] == n_stored


def test_neighbours_vote_and_the_shares_of_all_classes_count_as_one_more():
    design = np.array([[0, 0], [0.1, 0], [0.2, 0], [3, 3], [3.1, 3]], dtype=np.float32)
    model = stored(NUMBERS, design, np.array([0, 0, 1, 1, 1]))
    expected = [(2 + 0.4) / 4, (1 + 0.6) / 4]
    np.testing.assert_allclose(model.predict_proba(design[:1]), [expected], atol=1e-6)


def test_the_first_stored_row_wins_a_tie():
    design = np.array([[0, 0], [1, 0], [1, 0], [0, 2], [-1, 0]], dtype=np.float32)
    shape = TabularShape(2, (), n_outputs=1, is_regression=True)
    model = stored(shape, design, np.array([5.0, 1.0, 2.0, 3.0, 4.0]), n_neighbors=2)
    assert model.predict(np.array([[1, 0]], dtype=np.float32)).tolist() == [1.5]
    assert model.predict(np.array([[0, 0]], dtype=np.float32)).tolist() == [3.0]  # itself, and the first of three


def test_irrelevant_features_count_less():
    random = np.random.default_rng(0)
    design = random.normal(size=(600, 2)).astype(np.float32)
    y = (design[:, 0] > 0).astype(int)
    model = stored(NUMBERS, design, y, relevance=1.0)
    spread = model.rows.std(axis=0)
    assert spread[0] > 5 * spread[1]
    assert stored(NUMBERS, design, y).rows.std(axis=0) == pytest.approx([spread.max()] * 2, rel=0.5)


def test_frequent_categories_are_equally_far():
    vectors = code_vectors(MIXED)
    distances = ((vectors[:, None] - vectors[None]) ** 2).sum(axis=2)
    first = distances[3 : 3 + 16, 3 : 3 + 16]
    assert set(first[~np.eye(16, dtype=bool)]) == {32.0}
    assert distances[3:, 3:][~np.eye(20, dtype=bool)].min() > 0


@settings(max_examples=30)
@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=300))
def test_sums_stay_exact(largest):
    bounds = np.rint(exact_unit(np.array(largest)) * np.array(largest))
    assert 3 * np.square(bounds).sum() <= EXACT


@pytest.mark.parametrize("sharpness", [0.0, 4.0])
def test_a_row_alone_is_predicted_as_among_others_even_where_many_are_equally_far(sharpness):
    random = np.random.default_rng(1)
    design = np.column_stack([random.integers(0, 3, 500), random.integers(0, 3, 500), random.integers(3, 23, 500)])
    design, y = design.astype(np.float32), random.normal(size=500)
    config = {**SPACES["tabular"].default("knn"), "sharpness": sharpness, "n_neighbors": 7}
    family = FAMILIES["knn"]
    model = family.build(config, MIXED, 0)
    family.fit(model, design, y, None, seconds=60.0)
    exported = family.export(model, config, MIXED)
    session = ort.InferenceSession(to_model(exported.graph, exported.tensors, {}).SerializeToString())
    feeds = {"numeric_features": design[:, :1], "codes": design[:, 1:].astype(np.int64)}
    together = session.run(None, feeds)[0]
    alone = np.vstack([session.run(None, {k: v[i : i + 1] for k, v in feeds.items()})[0] for i in range(500)])
    np.testing.assert_allclose(alone, together, atol=1e-6)
    np.testing.assert_allclose(model.predict(design), together[:, 0], atol=1e-5)

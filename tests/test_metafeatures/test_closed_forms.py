"""Values that can be worked out by hand, or from another definition, for each group."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import LinearRegression
from sklearn.tree import DecisionTreeClassifier

import metafeatures
from metafeatures.contingency import Contingency
from metafeatures.discriminant import classify, log_homogeneity
from metafeatures.learners import LEARNERS, Landmarks
from metafeatures.normality import shapiro_wilk
from metafeatures.tree import Tree


def describe(X, y, **options):
    return metafeatures.describe(pd.DataFrame(X), pd.Series(y), groups=metafeatures.ALL_GROUPS, **options)


def test_general_and_structure():
    X = pd.DataFrame(
        {
            "a": [1.0, np.nan, 3.0, 4.0],
            "b": [0, 0, 1, 1],  # binary
            "c": ["x", "x", "x", "y"],  # binary, 3/4 the same
            "d": [None, "u", "v", "w"],  # three categories, each once
        }
    )
    v = describe(X, ["p", "q", "q", "q"])
    assert (v["nr_inst"], v["nr_attr"], v["nr_num"], v["nr_cat"], v["nr_bin"]) == (4, 4, 2, 2, 2)
    assert (v["freq_class.min"], v["freq_class.max"]) == (0.25, 0.75)
    assert (v["nr_missing"], v["missing_share"]) == (2, 2 / 16)
    assert (v["nr_inst_missing"], v["nr_attr_missing"]) == (2, 2)
    assert (v["symbols.mean"], v["symbols.max"], v["symbols_sum"]) == (2.5, 3, 5)
    assert v["category_top_share.mean"] == pytest.approx((3 / 4 + 1 / 3) / 2)
    assert v["category_singletons.max"] == 3 / 4


def test_class_imbalance_is_0_for_balanced_classes_and_grows():
    X = np.arange(12.0)
    balanced, skewed, extreme = (describe(X, [0] * a + [1] * (12 - a))["class_imbalance"] for a in (6, 9, 11))
    assert balanced == 0
    assert 0 < skewed < extreme < 1


def test_entropies_of_a_column_that_is_the_class_and_one_that_is_not():
    codes = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    table = Contingency.count(codes, np.array([0, 0, 1, 1]))
    assert table.class_entropy == 1
    np.testing.assert_allclose(table.attribute_entropies, [1, 1])
    np.testing.assert_allclose(table.joint_entropies, [1, 2])
    np.testing.assert_allclose(table.mutual_information, [1, 0])
    np.testing.assert_allclose(table.concentration, [1, 0])


def test_sparse_and_dense_contingency_agree(monkeypatch):
    rng = np.random.default_rng(0)
    codes, classes = rng.integers(0, 9, (50, 4)), rng.integers(0, 3, 50)
    dense = Contingency.count(codes, classes)
    monkeypatch.setattr("metafeatures.contingency.MAX_DENSE_CELLS", 0)
    sparse = Contingency.count(codes, classes)
    np.testing.assert_array_equal(dense.mutual_information, sparse.mutual_information)
    np.testing.assert_array_equal(dense.concentration, sparse.concentration)


def test_canonical_correlations_of_iris_are_those_of_the_literature():
    v = describe(*load_iris(return_X_y=True))
    assert v["can_cor.mean"] * 2 == pytest.approx(0.98482 + 0.47120, abs=1e-5)
    assert v["w_lambda"] == pytest.approx(0.023439, abs=1e-6)
    assert v["p_trace"] == pytest.approx(1.191899, abs=1e-6)
    assert v["lh_trace"] == pytest.approx(32.47732, abs=1e-5)
    assert v["roy_root"] == pytest.approx(32.19193, abs=1e-5)


def test_canonical_correlation_of_a_numeric_target_is_the_multiple_correlation():
    X, y = load_diabetes(return_X_y=True)
    r2 = LinearRegression().fit(X, y).score(X, y)
    assert describe(X, y)["can_cor.mean"] == pytest.approx(np.sqrt(r2))


def test_canonical_correlations_survive_columns_that_depend_on_each_other():
    X, y = load_iris(return_X_y=True)
    wider = np.hstack([X, X @ [[1.0], [2.0], [0.0], [1.0]], X[:, :1]])
    assert describe(wider, y)["can_cor.mean"] == pytest.approx(describe(X, y)["can_cor.mean"])


def test_gravity_averages_over_equally_large_classes():
    X = np.array([0.0, 0.0, 3.0, 3.0, 9.0, 9.0])
    assert describe(X, [0, 0, 1, 1, 2, 2])["gravity"] == pytest.approx((3 + 6 + 9) / 3)
    assert describe(X, [0, 0, 0, 0, 2, 2])["gravity"] == pytest.approx(9 - 1.5)


def test_covariances_that_are_equal_have_homogeneity_1_whatever_the_class_sizes():
    X = np.random.default_rng(0).normal(size=(40, 3))
    both = np.vstack([X, X + 5, X + 5])
    assert log_homogeneity(both, np.repeat([0, 1, 1], 40), 2) == pytest.approx(0, abs=0.02)
    spread = np.vstack([X, 10 * X])
    assert np.exp(log_homogeneity(spread, np.repeat([0, 1], 40), 2)) > 2


def test_homogeneity_is_box_m():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(30, 2)), rng.normal(size=(20, 2)) * [1, 3]
    s, t = np.cov(a.T), np.cov(b.T)
    pooled = (29 * s + 19 * t) / 48
    gamma = 1 - (2 * 4 + 3 * 2 - 1) / (6 * 3 * 1) * (1 / 29 + 1 / 19 - 1 / 48)
    m = gamma * (48 * np.log(np.linalg.det(pooled)) - 29 * np.log(np.linalg.det(s)) - 19 * np.log(np.linalg.det(t)))
    computed = log_homogeneity(np.vstack([a, b]), np.repeat([0, 1], [30, 20]), 2)
    assert computed == pytest.approx(m / (2 * 48))


@pytest.mark.parametrize("n", [3, 4, 5, 6, 11, 12, 50, 500, 5000])
def test_shapiro_wilk_equals_scipy(n):
    rng = np.random.default_rng(n)
    X = np.sort(np.column_stack([rng.normal(size=n), rng.lognormal(size=n), rng.uniform(size=n)]), axis=0)
    expected = [stats.shapiro(column).pvalue for column in X.T]
    np.testing.assert_allclose(shapiro_wilk(X, np.full(3, n)), expected, rtol=1e-5, atol=1e-12)


def test_missing_cells_do_not_count_in_statistics_of_one_column():
    X = np.random.default_rng(0).lognormal(size=50)
    y = [0, 1] * 25
    whole, holed = describe(X, y), describe(np.r_[X, np.nan, np.inf], [*y, 0, 1])
    names = ["mean", "median", "t_mean", "min", "max", "range", "iq_range", "sd", "var", "mad", "g_mean", "h_mean"]
    for name in [f"{name}.mean" for name in [*names, "skewness", "kurtosis"]]:
        assert holed[name] == pytest.approx(whole[name]), name


def test_dates_are_numbers():
    dates = pd.Series(pd.date_range("2020-01-01", periods=4, freq="D"))
    v = describe(dates, [0, 1, 0, 1])
    assert (v["nr_num"], v["nr_cat"]) == (1, 0)
    assert v["range.mean"] == 3 * 24 * 3600


def test_regression_target():
    v = describe(np.arange(8.0), np.arange(8.0) ** 3 + 0.5)
    assert v["target_cor_max"] == pytest.approx(1)  # Spearman
    assert v["target_distinct"] == 1
    assert v["target_skewness"] == pytest.approx(stats.skew(np.arange(8.0) ** 3))
    assert np.isnan(v["nr_class"])


def test_components_of_two_copies_of_a_column():
    x = np.random.default_rng(0).normal(size=100)
    v = describe(np.column_stack([x, -2 * x]), np.arange(100) % 2)
    assert v["pca_first_share"] == pytest.approx(1)
    assert v["pca_fraction_95"] == 0.5
    assert v["pca_effective_rank"] == pytest.approx(0.5)
    assert v["pca_skewness"] == pytest.approx(abs(stats.skew(x)))


def test_a_tree_by_hand():
    # x0 <= 0.5 -> class 0 (2 rows); x1 <= 0.5 -> class 1 (1 row), else class 0 (1 row)
    X, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 0, 1, 0])
    tree = Tree.grow(X.astype(float), y, classify=True)
    assert sorted(tree.leaf_depth) == [1, 2, 2]
    np.testing.assert_allclose(sorted(tree.shape), [0.5, 0.5, 0.5])
    np.testing.assert_array_equal(np.sort(tree.n_rows), [1, 1, 2, 2, 4])
    assert tree.importance.sum() == pytest.approx(1)


def test_a_tree_without_columns_is_a_leaf():
    v = describe(np.empty((6, 0)), [0, 1] * 3)
    assert (v["leaves"], v["nodes"]) == (1, 0)


def test_landmarkers_on_a_checkerboard():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(800, 2))
    v = describe(X, (X[:, 0] > 0) ^ (X[:, 1] > 0))
    assert v["one_nn.mean"] > 0.9
    assert max(v["linear_discr.mean"], v["best_node.mean"], v["elite_nn.mean"]) < 0.7
    assert v["one_nn_rank"] == 1


def test_landmarkers_of_a_numeric_target():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 3))
    v = describe(X, X @ [1.0, 2.0, 0.0])
    assert v["linear_discr.mean"] > 0.999
    assert 0.2 < v["best_node.mean"] < 0.8
    assert v["worst_node.mean"] < 0.1
    assert np.isnan(v["naive_bayes.mean"])


def test_linear_discriminant_finds_the_classes_and_survives_too_many_of_them():
    rng = np.random.default_rng(0)
    classes = np.repeat([3.0, 7.0], 50)
    X = rng.normal(size=(100, 2)) + classes[:, None]
    assert np.mean(classify(X, classes, X) == classes) > 0.95
    alone = np.arange(20.0)
    np.testing.assert_array_equal(classify(alone[:, None], alone, alone[:, None]), alone)


@pytest.mark.parametrize("learner", list(LEARNERS))
def test_learners_do_not_see_the_fold_that_they_predict(learner):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 3)), rng.integers(0, 2, 60).astype(float)
    landmarks = Landmarks(X, y, classify=True)
    before = LEARNERS[learner](landmarks, 3)
    scrambled = y.copy()
    scrambled[landmarks.test(3)] = 1 - scrambled[landmarks.test(3)]
    landmarks.target = scrambled
    landmarks._best_splits.clear()
    np.testing.assert_array_equal(before, LEARNERS[learner](landmarks, 3))


def test_best_node_is_a_tree_of_depth_one():
    X, y = load_iris(return_X_y=True)
    landmarks = Landmarks(X, y.astype(float), classify=True)
    train, test = landmarks.train(0), landmarks.test(0)
    stump = DecisionTreeClassifier(max_depth=1, random_state=0).fit(X[train], y[train])
    assert landmarks.scores("best_node")[0] == stump.score(X[test], y[test])

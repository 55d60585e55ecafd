"""Metrics against scikit-learn and values that can be computed by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from metaml.errors import UsageError
from metaml.metrics import constant_prediction, evaluate_prediction, metric_for, normalised_error


def test_class_metrics_agree_with_scikit_learn():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 60)
    probabilities = rng.dirichlet(np.ones(3), 60)
    scores = evaluate_prediction(y, probabilities)
    hard = probabilities.argmax(axis=1)
    assert scores["log_loss"] == pytest.approx(sk.log_loss(y, probabilities))
    assert scores["error_rate"] == pytest.approx(1 - sk.accuracy_score(y, hard))
    assert scores["balanced_error"] == pytest.approx(1 - sk.balanced_accuracy_score(y, hard))
    assert scores["roc_auc"] == pytest.approx(sk.roc_auc_score(y, probabilities, multi_class="ovr"))


def test_regression_metrics_agree_with_scikit_learn():
    rng = np.random.default_rng(1)
    y, values = rng.normal(size=50), rng.normal(size=50)
    scores = evaluate_prediction(y, values)
    assert scores["rmse"] == pytest.approx(sk.root_mean_squared_error(y, values))
    assert scores["mae"] == pytest.approx(sk.mean_absolute_error(y, values))
    assert scores["r2"] == pytest.approx(sk.r2_score(y, values))


@pytest.mark.parametrize(("task_type", "like"), [("binary", 2), ("multiclass", 4), ("regression", 0)])
def test_constant_prediction_has_error_one(task_type, like):
    rng = np.random.default_rng(2)
    y = rng.integers(0, like, 80) if like else rng.normal(size=80)
    shape = np.empty((80, like)) if like else np.empty(80)
    constant = evaluate_prediction(y, constant_prediction(y, shape))
    assert normalised_error(metric_for(task_type), [constant], [constant]) == pytest.approx(1.0)


def test_perfect_prediction_has_error_zero():
    y = np.array([0, 1, 1, 0, 1])
    perfect = evaluate_prediction(y, np.eye(2)[y])
    constant = evaluate_prediction(y, constant_prediction(y, np.eye(2)[y]))
    assert normalised_error(metric_for("binary"), [perfect], [constant]) == 0
    assert perfect["log_loss"] == pytest.approx(0, abs=1e-6)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=5), st.floats(1e-3, 1e3))
def test_error_is_within_its_range_and_does_not_depend_on_the_unit(losses, unit):
    metric = metric_for("regression")
    scores, constants = [{"rmse": loss} for loss in losses], [{"rmse": 5.0}] * len(losses)
    error = normalised_error(metric, scores, constants)
    assert 0 <= error <= 2
    in_unit = [[{"rmse": unit * row["rmse"]} for row in rows] for rows in (scores, constants)]
    assert normalised_error(metric, *in_unit) == pytest.approx(error)


def test_folds_where_the_metric_is_undefined_are_left_out():
    one_class = evaluate_prediction(np.zeros(4, dtype=int), np.full((4, 2), 0.5))
    assert "roc_auc" not in one_class
    two = {"roc_auc": 0.75}
    half = {"roc_auc": 0.5}
    assert normalised_error(metric_for("binary"), [one_class, two], [one_class, half]) == pytest.approx(0.5)


def test_metric_that_does_not_fit_is_refused_with_those_that_do():
    with pytest.raises(UsageError, match="rmse, mae, r2"):
        metric_for("regression", "roc_auc")

"""Linear model: logistic regression or ridge regression on squashed numeric and one-hot categorical features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ConfigSpace import ConfigurationSpace, OrdinalHyperparameter
from scipy import sparse
from sklearn.linear_model import LogisticRegression, Ridge

from hw_cost.graph import BATCH, OpGraph, Parameter, constant
from metaml.models.base import Exported, TabularShape, Tensors, emit_dense, emit_squash, squash
from metaml.models.estimator_family import EstimatorFamily

L2_STEPS = [1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 1.0]


class Linear(EstimatorFamily):
    """One dense layer; a category's one-hot column is a lookup of its weights."""

    name = "linear"
    gains_by_bagging = False

    def space(self) -> ConfigurationSpace:
        """Return the strength of the l2 penalty, per training row, in steps: finer ones change next to nothing."""
        space = ConfigurationSpace()
        space.add(OrdinalHyperparameter("l2", L2_STEPS, default_value=1e-2))
        return space

    def design(self, numeric: np.ndarray, codes: np.ndarray, shape: TabularShape) -> Any:
        """Return squashed numeric columns beside one-hot columns; sparse when there are many of these."""
        dense = squash(numeric)
        if not shape.n_categorical:
            return dense
        n = len(codes)
        rows = np.repeat(np.arange(n), shape.n_categorical)
        ones = np.ones(n * shape.n_categorical, dtype=np.float32)
        one_hot = sparse.csr_matrix((ones, (rows, codes.ravel())), shape=(n, shape.n_codes))
        if shape.n_codes <= 256:
            return np.hstack([dense, one_hot.toarray()])
        return sparse.hstack([sparse.csr_matrix(dense), one_hot], format="csr")

    def build(self, config: Mapping[str, Any], shape: TabularShape, seed: int) -> Any:
        """Return an unfitted estimator; the penalty is scaled by the number of rows in `fit`."""
        if shape.is_regression:
            return Ridge(alpha=config["l2"], solver="lsqr", random_state=seed)
        return LogisticRegression(C=1 / config["l2"], max_iter=300, tol=1e-4, random_state=seed)

    def fit(self, estimator: Any, design: Any, y: np.ndarray, weight: np.ndarray | None, *, seconds: float) -> None:
        """Fit with the penalty per row turned into scikit-learn's penalty per data set."""
        n = design.shape[0]
        if isinstance(estimator, Ridge):
            estimator.set_params(alpha=estimator.alpha * n)
        else:
            estimator.set_params(C=estimator.C / n)
        super().fit(estimator, design, y, weight, seconds=seconds)

    def emit(self, graph: OpGraph, inputs: Mapping[str, str], config: Mapping[str, Any], shape: TabularShape) -> str:
        """Append a dense layer for the numeric part and a sum of looked-up rows for the categorical part."""
        scores = (BATCH, shape.n_outputs)
        parts = []
        if "numeric_features" in inputs:
            squashed = emit_squash(graph, inputs["numeric_features"], shape.n_numeric)
            parts.append(emit_dense(graph, squashed, "numeric", shape.n_numeric, shape.n_outputs))
        if "codes" in inputs:
            table = Parameter("categorical.weight", (shape.n_codes, shape.n_outputs))
            looked_up = (BATCH, shape.n_categorical, shape.n_outputs)
            rows = graph.add("Gather", table, inputs["codes"], output=looked_up, axis=0)
            parts.append(graph.add("ReduceSum", rows, constant(1), output=scores, keepdims=0))
        return graph.add("Add", *parts, output=scores) if len(parts) == 2 else parts[0]

    def export(self, estimator: Any, config: Mapping[str, Any], shape: TabularShape) -> Exported:
        """Split the coefficients into the numeric and the categorical part."""
        weight, bias = np.atleast_2d(estimator.coef_), np.atleast_1d(estimator.intercept_)
        if not shape.is_regression and shape.n_outputs == 2:  # scikit-learn keeps one row for two classes
            weight, bias = np.vstack([0 * weight, weight]), np.concatenate([[0.0], bias])
        categorical = weight[:, shape.n_numeric :].T
        if not shape.n_numeric:  # the bias is folded into the first column's rows: one code of each is always taken
            categorical = categorical.copy()
            categorical[: shape.cardinalities[0]] += bias
        tensors: Tensors = {
            "numeric.weight": weight[:, : shape.n_numeric].astype(np.float32),
            "numeric.bias": bias.astype(np.float32),
            "categorical.weight": categorical.astype(np.float32),
        }
        return Exported(self.graph(config, shape), tensors, {})

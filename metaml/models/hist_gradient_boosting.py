"""Histogram gradient boosting by scikit-learn, exported as one ONNX tree ensemble."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ConfigSpace import ConfigurationSpace, Float, Integer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from hw_cost.graph import BATCH, OpGraph, Parameter
from metaml.models.base import Exported, TabularShape
from metaml.models.estimator_family import EstimatorFamily
from metaml.models.trees import EnsembleSize, Tree, emit_trees, ensemble_attributes, fit_trees, tree_features


class HistGradientBoosting(EstimatorFamily):
    """Boosted trees; categories enter as their codes, which are ordered by frequency."""

    name = "hist_gradient_boosting"

    def space(self) -> ConfigurationSpace:
        """Return the hyperparameters of the boosting; the number of trees is fixed, never stopped early."""
        space = ConfigurationSpace()
        space.add(
            Float("learning_rate", (0.01, 0.5), default=0.1, log=True),
            Integer("max_iter", (16, 512), default=96, log=True),
            Integer("max_leaf_nodes", (4, 64), default=24, log=True),
            Integer("min_samples_leaf", (2, 128), default=16, log=True),
            Float("l2_regularization", (1e-6, 1e2), default=1e-2, log=True),
            Float("max_features", (0.2, 1.0), default=0.8),
        )
        return space

    def design(self, numeric: np.ndarray, codes: np.ndarray, shape: TabularShape) -> np.ndarray:
        """Return numeric columns beside codes, float32 ``(n, n_numeric + n_categorical)``."""
        return tree_features(numeric, codes)

    def build(self, config: Mapping[str, Any], shape: TabularShape, seed: int) -> Any:
        """Return an unfitted estimator."""
        kind = HistGradientBoostingRegressor if shape.is_regression else HistGradientBoostingClassifier
        names = ("learning_rate", "max_iter", "max_leaf_nodes", "min_samples_leaf", "l2_regularization", "max_features")
        return kind(**{name: config[name] for name in names}, early_stopping=False, random_state=seed)

    def fit(self, estimator: Any, design: Any, y: np.ndarray, weight: np.ndarray | None, *, seconds: float) -> None:
        """Fit in place, in two steps: see `fit_trees`.

        Raises:
            TimeoutError: the whole fit would take longer than `seconds`.
        """
        fit_trees(estimator, "max_iter", design, y, weight, seconds)

    def emit(self, graph: OpGraph, inputs: Mapping[str, str], config: Mapping[str, Any], shape: TabularShape) -> str:
        """Append the ensemble with the most trees and leaves that `config` allows."""
        n_trees = config["max_iter"] * _n_scores(shape)
        leaves = config["max_leaf_nodes"]
        return _emit(graph, inputs, shape, EnsembleSize(n_trees, n_trees * leaves, max_depth(leaves)))

    def export(self, estimator: Any, config: Mapping[str, Any], shape: TabularShape) -> Exported:
        """Turn scikit-learn's trees into the attributes of one ``TreeEnsembleRegressor``."""
        nodes = [(tree.nodes, k) for iteration in estimator._predictors for k, tree in enumerate(iteration)]
        trees = [_tree(nodes_of_tree, k) for nodes_of_tree, k in nodes]
        depth = max(int(nodes_of_tree["depth"].max()) for nodes_of_tree, _ in nodes)
        size = EnsembleSize(len(trees), sum(len(tree.weights) for tree in trees), depth)
        graph = OpGraph()
        _emit(graph, shape.declare_inputs(graph), shape, size)
        base = np.broadcast_to(np.ravel(estimator._baseline_prediction), _n_scores(shape))
        return Exported(graph, {"zero": np.zeros(1, dtype=np.float32)}, ensemble_attributes(trees, base))


def max_depth(n_leaves: int) -> int:
    """Return a typical depth of a leaf-wise grown tree: twice that of a balanced one.

    >>> max_depth(16)
    8
    """
    return max(1, 2 * (n_leaves - 1).bit_length())


def _n_scores(shape: TabularShape) -> int:
    """Trees of an iteration: one for values and for two classes, else one for each class."""
    return 1 if shape.is_regression or shape.n_outputs == 2 else shape.n_outputs


def _emit(graph: OpGraph, inputs: Mapping[str, str], shape: TabularShape, size: EnsembleSize) -> str:
    scores = emit_trees(graph, inputs, shape, _n_scores(shape), size)
    if shape.is_regression or shape.n_outputs > 2:
        return scores
    zero = graph.add("Mul", scores, Parameter("zero", (1,)), output=(BATCH, 1))
    return graph.add("Concat", zero, scores, output=(BATCH, 2), axis=1)


def _tree(nodes: np.ndarray, target: int) -> Tree:
    """Return a tree of scikit-learn's, which adds to one score."""
    is_leaf = nodes["is_leaf"].astype(bool)
    return Tree(
        feature=nodes["feature_idx"],
        threshold=nodes["num_threshold"],
        left=nodes["left"],
        right=nodes["right"],
        is_leaf=is_leaf,
        targets=np.array([target]),
        weights=nodes["value"][is_leaf][:, None],
    )

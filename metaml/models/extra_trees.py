"""Extremely randomised trees (Geurts et al. 2006) with shrunken leaves, exported as one ONNX tree ensemble."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ConfigSpace import ConfigurationSpace, Float, Integer
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

from hw_cost.graph import BATCH, OpGraph, Parameter
from metaml.models.base import Exported, TabularShape
from metaml.models.estimator_family import EstimatorFamily
from metaml.models.trees import EnsembleSize, Tree, emit_trees, ensemble_attributes, fit_trees, tree_features

MOST_BYTES = 16_000_000
"""Size that a model's file is kept below, by fewer leaves."""
LEAF_BYTES, VOTE_BYTES = 64, 13
"""Of the file, for each leaf with the branch above it, and for each score that it adds to."""


class ExtraTrees(EstimatorFamily):
    """The mean of trees that split at random; categories enter as their codes, which are ordered by frequency."""

    name = "extra_trees"
    gains_by_bagging = False
    scores = "probabilities"

    def space(self) -> ConfigurationSpace:
        """Return the number and the size of the trees, and how much their leaves lean on the nodes above."""
        space = ConfigurationSpace()
        space.add(
            Integer("n_estimators", (16, 384), default=96, log=True),
            Float("max_features", (0.1, 1.0), default=0.9),
            Integer("max_leaf_nodes", (16, 4096), default=1024, log=True),
            Integer("min_samples_leaf", (1, 64), default=2, log=True),
            Float("shrinkage", (0.05, 50.0), default=0.5, log=True),
        )
        return space

    def design(self, numeric: np.ndarray, codes: np.ndarray, shape: TabularShape) -> np.ndarray:
        """Return numeric columns beside codes, float32 ``(n, n_numeric + n_categorical)``."""
        return tree_features(numeric, codes)

    def build(self, config: Mapping[str, Any], shape: TabularShape, seed: int) -> Any:
        """Return an unfitted estimator."""
        kind = ExtraTreesRegressor if shape.is_regression else ExtraTreesClassifier
        estimator = kind(
            n_estimators=config["n_estimators"],
            max_features=config["max_features"],
            max_leaf_nodes=_leaves_allowed(config, shape),
            min_samples_leaf=config["min_samples_leaf"],
            random_state=seed,
        )
        estimator.shrinkage = config["shrinkage"]
        return estimator

    def fit(self, estimator: Any, design: Any, y: np.ndarray, weight: np.ndarray | None, *, seconds: float) -> None:
        """Fit in place, in two steps (see `fit_trees`), and shrink the leaves.

        Raises:
            TimeoutError: the whole fit would take longer than `seconds`.
        """
        if estimator.max_leaf_nodes >= len(y) // estimator.min_samples_leaf:  # no limit; trees grow faster without
            estimator.set_params(max_leaf_nodes=None)
        fit_trees(estimator, "n_estimators", design, y, weight, seconds)
        for tree in estimator.estimators_:
            shrink(tree.tree_, estimator.shrinkage)

    def emit(self, graph: OpGraph, inputs: Mapping[str, str], config: Mapping[str, Any], shape: TabularShape) -> str:
        """Append the ensemble with the most leaves that `config` and the training rows allow."""
        n_trees, leaves = config["n_estimators"], _leaves_allowed(config, shape)
        if shape.n_rows is not None:
            leaves = min(leaves, max(1, shape.n_rows // config["min_samples_leaf"]))
        size = EnsembleSize(n_trees, n_trees * leaves, max_depth(leaves), _n_votes(shape))
        return _emit(graph, inputs, shape, size)

    def export(self, estimator: Any, config: Mapping[str, Any], shape: TabularShape) -> Exported:
        """Turn scikit-learn's trees into the attributes of one ``TreeEnsembleRegressor``."""
        fitted = [tree.tree_ for tree in estimator.estimators_]
        trees = [_tree(tree, shape, 1 / len(fitted)) for tree in fitted]
        n_leaves, depth = sum(len(tree.weights) for tree in trees), max(tree.max_depth for tree in fitted)
        graph = OpGraph()
        _emit(graph, shape.declare_inputs(graph), shape, EnsembleSize(len(trees), n_leaves, depth, _n_votes(shape)))
        tensors = {"one": np.ones(1, dtype=np.float32)}
        return Exported(graph, tensors, ensemble_attributes(trees, np.zeros(_n_votes(shape))))


def max_depth(n_leaves: int) -> int:
    """Return a typical depth of a randomly split tree: three times that of a balanced one.

    >>> max_depth(16)
    12
    """
    return max(1, 3 * (n_leaves - 1).bit_length())


def shrink(tree: Any, strength: float) -> None:
    """Shrink every node of a fitted scikit-learn tree towards its ancestors, in place (Agarwal et al. 2022, eq. 2).

    Each step from a parent of n rows to its child counts 1 / (1 + strength / n): leaves of few rows lean on the nodes
    above, and none says that a class is impossible.

    Args:
        tree: its ``value`` is ``(nodes, 1, k)``: class shares, or the mean.
        strength: 0 changes nothing.
    """
    original, shrunken = tree.value.copy(), tree.value
    left, right, n_rows = tree.children_left, tree.children_right, tree.weighted_n_node_samples
    parents = np.flatnonzero(left[:1] >= 0)
    while parents.size:
        share = 1 / (1 + strength / n_rows[parents])
        for children in (left[parents], right[parents]):
            step = original[children] - original[parents]
            shrunken[children] = shrunken[parents] + share[:, None, None] * step
        below = np.concatenate([left[parents], right[parents]])
        parents = below[left[below] >= 0]


def _leaves_allowed(config: Mapping[str, Any], shape: TabularShape) -> int:
    """Leaves of a tree: as configured, or fewer where the file would be too large."""
    for_file = MOST_BYTES / (config["n_estimators"] * (LEAF_BYTES + VOTE_BYTES * _n_votes(shape)))
    return max(2, min(int(config["max_leaf_nodes"]), int(for_file)))


def _n_votes(shape: TabularShape) -> int:
    """Scores of a leaf: the value, the probability of the second of two classes, or those of all classes."""
    return 1 if shape.n_outputs == 2 else shape.n_outputs


def _emit(graph: OpGraph, inputs: Mapping[str, str], shape: TabularShape, size: EnsembleSize) -> str:
    scores = emit_trees(graph, inputs, shape, size.n_votes, size)
    if shape.n_outputs != 2:
        return scores
    other = graph.add("Sub", Parameter("one", (1,)), scores, output=(BATCH, 1))
    return graph.add("Concat", other, scores, output=(BATCH, 2), axis=1)


def _tree(tree: Any, shape: TabularShape, share: float) -> Tree:
    """Return a tree of scikit-learn's with its leaves times `share`."""
    is_leaf = tree.children_left < 0
    values = tree.value[is_leaf, 0]
    return Tree(
        feature=tree.feature,
        threshold=tree.threshold,
        left=tree.children_left,
        right=tree.children_right,
        is_leaf=is_leaf,
        targets=np.arange(_n_votes(shape)),
        weights=share * (values[:, 1:] if shape.n_outputs == 2 else values),
    )

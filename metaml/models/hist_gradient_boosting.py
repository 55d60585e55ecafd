"""Histogram gradient boosting by scikit-learn, exported as one ONNX tree ensemble."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from ConfigSpace import ConfigurationSpace, Float, Integer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from hw_cost.graph import BATCH, OpGraph, Parameter
from metaml.models.base import Exported, TabularShape
from metaml.models.estimator_family import EstimatorFamily

PROBE = 0.1
"""Share of the trees after which the time for all of them is foreseen."""


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
        return np.hstack([numeric, codes.astype(np.float32)])

    def build(self, config: Mapping[str, Any], shape: TabularShape, seed: int) -> Any:
        """Return an unfitted estimator."""
        kind = HistGradientBoostingRegressor if shape.is_regression else HistGradientBoostingClassifier
        names = ("learning_rate", "max_iter", "max_leaf_nodes", "min_samples_leaf", "l2_regularization", "max_features")
        return kind(**{name: config[name] for name in names}, early_stopping=False, random_state=seed)

    def fit(self, estimator: Any, design: Any, y: np.ndarray, weight: np.ndarray | None, *, seconds: float) -> None:
        """Fit a tenth of the trees, foresee the time of all, and go on only if it is allowed.

        Raises:
            TimeoutError: the whole fit would take longer than `seconds`.
        """
        n_trees, started = estimator.max_iter, time.monotonic()
        n_probe = max(1, int(PROBE * n_trees))
        estimator.set_params(max_iter=n_probe, warm_start=True).fit(design, y, sample_weight=weight)
        foreseen = (time.monotonic() - started) * n_trees / n_probe
        if foreseen > seconds:
            raise TimeoutError(f"{n_trees} iterations would take about {foreseen:.0f} s, allowed are {seconds:.0f} s")
        estimator.set_params(max_iter=n_trees).fit(design, y, sample_weight=weight)

    def emit(self, graph: OpGraph, inputs: Mapping[str, str], config: Mapping[str, Any], shape: TabularShape) -> str:
        """Append the ensemble with the most trees and leaves that `config` allows."""
        n_trees = config["max_iter"] * (1 if shape.is_regression or shape.n_outputs == 2 else shape.n_outputs)
        leaves = config["max_leaf_nodes"]
        return _emit_trees(graph, inputs, shape, n_trees, n_trees * leaves, max_depth(leaves))

    def export(self, estimator: Any, config: Mapping[str, Any], shape: TabularShape) -> Exported:
        """Turn scikit-learn's trees into the attributes of one ``TreeEnsembleRegressor``."""
        attributes = _tree_attributes(estimator._predictors, estimator._baseline_prediction)
        n_leaves = attributes["nodes_modes"].count("LEAF")
        depth = max(int(tree.nodes["depth"].max()) for trees in estimator._predictors for tree in trees)
        graph = OpGraph()
        n_trees = sum(len(trees) for trees in estimator._predictors)
        _emit_trees(graph, shape.declare_inputs(graph), shape, n_trees, n_leaves, depth)
        zero = np.zeros(1, dtype=np.float32)
        return Exported(graph, {"zero": zero}, attributes)


def max_depth(n_leaves: int) -> int:
    """Return a typical depth of a leaf-wise grown tree: twice that of a balanced one.

    >>> max_depth(16)
    8
    """
    return max(1, 2 * (n_leaves - 1).bit_length())


def _emit_trees(
    graph: OpGraph,
    inputs: Mapping[str, str],
    shape: TabularShape,
    n_trees: int,
    n_leaves: int,
    depth: int,
) -> str:
    parts = [inputs["numeric_features"]] if "numeric_features" in inputs else []
    if "codes" in inputs:
        parts.append(graph.add("Cast", inputs["codes"], output=(BATCH, shape.n_categorical), to=1))
    width = shape.n_numeric + shape.n_categorical
    features = graph.add("Concat", *parts, output=(BATCH, width), axis=1) if len(parts) == 2 else parts[0]
    binary = not shape.is_regression and shape.n_outputs == 2
    scores = graph.add(
        "TreeEnsembleRegressor",
        features,
        output=(BATCH, 1 if binary else shape.n_outputs),
        n_trees=n_trees,
        n_leaves=n_leaves,
        depth=depth,
    )
    if not binary:
        return scores
    zero = graph.add("Mul", scores, Parameter("zero", (1,)), output=(BATCH, 1))
    return graph.add("Concat", zero, scores, output=(BATCH, 2), axis=1)


def _float32_below(threshold: np.ndarray) -> np.ndarray:
    """Return the largest float32 at or below each float64: ``x <= t`` stays the same for every float32 x."""
    rounded = threshold.astype(np.float32)
    lower = np.nextafter(rounded, np.float32(-np.inf))
    below: np.ndarray = np.where(rounded > threshold, lower, rounded)
    return below


def _tree_attributes(predictors: list[list[Any]], baseline: np.ndarray) -> dict[str, Any]:
    """Return the ONNX attributes (ai.onnx.ml 3) of all trees; tree k of an iteration adds to score k."""
    columns: dict[str, list[np.ndarray]] = {}

    def put(name: str, values: np.ndarray) -> None:
        columns.setdefault(name, []).append(values)

    trees = [(tree.nodes, target) for iteration in predictors for target, tree in enumerate(iteration)]
    for tree_id, (nodes, target) in enumerate(trees):
        leaf = nodes["is_leaf"].astype(bool)
        ids = np.arange(len(nodes))
        put("nodes_treeids", np.full(len(nodes), tree_id))
        put("nodes_nodeids", ids)
        put("nodes_featureids", np.where(leaf, 0, nodes["feature_idx"]))
        put("nodes_values", np.where(leaf, np.float32(0), _float32_below(nodes["num_threshold"])))
        put("nodes_truenodeids", np.where(leaf, 0, nodes["left"]))
        put("nodes_falsenodeids", np.where(leaf, 0, nodes["right"]))
        put("leaf", leaf)
        put("target_treeids", np.full(leaf.sum(), tree_id))
        put("target_nodeids", ids[leaf])
        put("target_ids", np.full(leaf.sum(), target))
        put("target_weights", nodes["value"][leaf].astype(np.float32))
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    leaf = joined.pop("leaf")
    n_targets = len(predictors[0])
    return {
        **{name: values.tolist() for name, values in joined.items()},
        "nodes_modes": np.where(leaf, "LEAF", "BRANCH_LEQ").tolist(),
        "base_values": np.broadcast_to(np.asarray(baseline, dtype=np.float32).ravel(), n_targets).tolist(),
        "n_targets": n_targets,
    }

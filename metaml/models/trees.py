"""What the families of trees share: their features, their fit in two steps, and their ONNX tree ensemble."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hw_cost.graph import BATCH, OpGraph
from metaml.models.base import TabularShape

PROBE = 0.1
"""Share of the trees after which the time for all of them is foreseen."""


@dataclass(frozen=True)
class EnsembleSize:
    """What decides how long an ensemble takes."""

    n_trees: int
    n_leaves: int
    """Leaves of all trees together."""
    depth: int
    """Levels of the deepest tree."""
    n_votes: int = 1
    """Scores that each leaf adds to."""


@dataclass(frozen=True)
class Tree:
    """One tree as arrays of its m nodes, the root first; a row goes left where feature <= threshold."""

    feature: np.ndarray
    """Position of the feature, ``(m,)``; anything at a leaf."""
    threshold: np.ndarray
    """float64 ``(m,)``."""
    left: np.ndarray
    """Node of each left child, ``(m,)``; anything at a leaf."""
    right: np.ndarray
    is_leaf: np.ndarray
    """bool ``(m,)``."""
    targets: np.ndarray
    """Scores that its leaves add to, int ``(v,)``."""
    weights: np.ndarray
    """What each leaf adds to them, ``(n_leaves, v)``, leaves in the order of nodes."""


def tree_features(numeric: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return numeric columns beside codes, float32 ``(n, n_numeric + n_categorical)``; codes are frequency ranks."""
    return np.hstack([numeric, codes.astype(np.float32)])


def fit_trees(
    estimator: Any, n_trees: str, design: np.ndarray, y: np.ndarray, weight: np.ndarray | None, seconds: float
) -> None:
    """Fit a tenth of the trees, foresee the time of all, and go on only if it is allowed.

    Args:
        estimator: it can be fitted further (``warm_start``).
        n_trees: name of its parameter that says how many trees, or rounds of trees, there are.
        design: features ``(n, d)``.
        y: targets ``(n,)``.
        weight: weights of the rows ``(n,)``.
        seconds: time allowed.

    Raises:
        TimeoutError: the whole fit would take longer than `seconds`.
    """
    wanted, started = getattr(estimator, n_trees), time.monotonic()
    n_probe = max(1, int(PROBE * wanted))
    estimator.set_params(**{n_trees: n_probe}, warm_start=True).fit(design, y, sample_weight=weight)
    foreseen = (time.monotonic() - started) * wanted / n_probe
    if foreseen > seconds:
        raise TimeoutError(f"{wanted} rounds of trees would take about {foreseen:.0f} s, allowed are {seconds:.0f} s")
    estimator.set_params(**{n_trees: wanted}).fit(design, y, sample_weight=weight)


def emit_trees(
    graph: OpGraph, inputs: Mapping[str, str], shape: TabularShape, n_targets: int, size: EnsembleSize
) -> str:
    """Append an ensemble on `tree_features`; node of its scores, float32 ``(batch, n_targets)``."""
    parts = [inputs["numeric_features"]] if "numeric_features" in inputs else []
    if "codes" in inputs:
        parts.append(graph.add("Cast", inputs["codes"], output=(BATCH, shape.n_categorical), to=1))
    width = shape.n_numeric + shape.n_categorical
    features = graph.add("Concat", *parts, output=(BATCH, width), axis=1) if len(parts) == 2 else parts[0]
    return graph.add(
        "TreeEnsembleRegressor",
        features,
        output=(BATCH, n_targets),
        n_trees=size.n_trees,
        n_leaves=size.n_leaves,
        n_votes=size.n_votes,
        depth=size.depth,
    )


def float32_below(threshold: np.ndarray) -> np.ndarray:
    """Return the largest float32 at or below each float64: ``x <= t`` stays the same for every float32 x."""
    rounded = threshold.astype(np.float32)
    lower = np.nextafter(rounded, np.float32(-np.inf))
    below: np.ndarray = np.where(rounded > threshold, lower, rounded)
    return below


def ensemble_attributes(trees: Sequence[Tree], base: np.ndarray) -> dict[str, Any]:
    """Return the ONNX attributes (ai.onnx.ml 3) of trees whose leaves are added to ``base``, ``(n_targets,)``."""
    columns: dict[str, list[np.ndarray]] = {}
    for number, tree in enumerate(trees):
        for name, values in _tree_columns(tree, number).items():
            columns.setdefault(name, []).append(values)
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    is_leaf = joined.pop("is_leaf")
    return {
        **{name: values.tolist() for name, values in joined.items()},
        "nodes_modes": np.where(is_leaf, "LEAF", "BRANCH_LEQ").tolist(),
        "base_values": base.astype(np.float32).tolist(),
        "n_targets": len(base),
    }


def _tree_columns(tree: Tree, number: int) -> dict[str, np.ndarray]:
    leaf, nodes = tree.is_leaf, np.arange(len(tree.is_leaf))
    n_leaves, n_votes = tree.weights.shape
    return {
        "is_leaf": leaf,
        "nodes_treeids": np.full(len(nodes), number),
        "nodes_nodeids": nodes,
        "nodes_featureids": np.where(leaf, 0, tree.feature),
        "nodes_values": np.where(leaf, np.float32(0), float32_below(tree.threshold)),
        "nodes_truenodeids": np.where(leaf, 0, tree.left),
        "nodes_falsenodeids": np.where(leaf, 0, tree.right),
        "target_treeids": np.full(n_leaves * n_votes, number),
        "target_nodeids": np.repeat(nodes[leaf], n_votes),
        "target_ids": np.tile(tree.targets, n_leaves),
        "target_weights": tree.weights.astype(np.float32).ravel(),
    }
